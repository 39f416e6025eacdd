"""The project's version, the one place that says it; setup.py reads this file without importing the package."""

VERSION = "0.1.0"
