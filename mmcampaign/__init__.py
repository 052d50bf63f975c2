"""Email campaigns for edX MicroMasters programs."""

__version__ = "0.1.0"
