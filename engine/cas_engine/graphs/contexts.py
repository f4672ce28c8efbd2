"""Context variables: a call sees those that were counted with its code, as they were where it was dispatched."""

from __future__ import annotations

from contextvars import Context, ContextVar, copy_context

_counted: set[ContextVar[object]] = set()


def note(var: ContextVar[object]) -> None:
    """Take note that code reads it: its value belongs to a fingerprint from now on."""
    _counted.add(var)


def context_for_call() -> Context:
    """A context with what this one holds of the variables that were counted.

    Not the whole of it: what libraries keep there (the precision of decimal, error states of NumPy) is in no
    fingerprint, so that each call begins with the library's own, as it would in any other process.
    """
    made = Context()
    if not _counted:
        return made
    here = copy_context()
    for var in list(_counted):
        if var in here:
            made.run(var.set, here[var])
    return made
