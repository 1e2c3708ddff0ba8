"""The package's version: that of the library which it needs, exactly."""

__version__ = "0.1.0"
