"""Stale, wasted and error counts on the corpus of tests/identity, cas-run's and its peers' side by side."""

from benchmarks.identity.comparison import run

__all__ = ["run"]
