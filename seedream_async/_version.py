"""The version, as a literal: reading package metadata at import time is slow."""

__version__ = "0.1.0"
