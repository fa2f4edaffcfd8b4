"""The version of this program, in a file of its own so that nothing imports the package to learn it."""

__version__ = "0.1.0"
