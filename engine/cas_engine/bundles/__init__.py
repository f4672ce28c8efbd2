"""Dispatches as one file, for another store."""
