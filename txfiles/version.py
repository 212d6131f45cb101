"""The release, for `txfiles.__version__` and for the log."""

__version__ = "0.1.0"
LIBRARY = f"txfiles/{__version__}"
