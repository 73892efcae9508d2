"""Data sets: the synthetic Shapes scenes with their writers, and ImageNet's robustness sets."""
