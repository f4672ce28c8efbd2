"""Doing it: hits are taken, misses run, and what came of each is recorded."""
