"""Data sets: the synthetic Shapes scenes and their writers. Needs neither torch nor mm packages."""
