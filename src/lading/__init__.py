"""Lading delivers governed data exports."""

__version__ = "0.1.0"
