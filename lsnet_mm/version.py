"""The version, apart from the package's ``__init__`` so that set-up can read it without torch."""

__version__ = "0.1.0"
