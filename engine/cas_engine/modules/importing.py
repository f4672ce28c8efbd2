"""Imports from the top down, so that threads which load parts of one package wait for each other.

`import package.part` takes the lock of the part, then waits for the package; a thread that imports the package, which
imports the part, waits the other way round. Python resolves that by giving one of them a half-made module, and C
extensions refuse it (see `_DeadlockError` in importlib._bootstrap). Parents first, nobody waits crosswise.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from types import ModuleType
from typing import Any


def imported(name: str) -> ModuleType:
    """The module, its parents imported before it. Raises what importing raises."""
    known = sys.modules.get(name)
    if known is not None and not getattr(getattr(known, "__spec__", None), "_initializing", False):
        return known
    parts = name.split(".")
    for end in range(1, len(parts)):
        importlib.import_module(".".join(parts[:end]))
    return importlib.import_module(name)


class Unpickler(pickle.Unpickler):
    """Finds what a stream names in modules imported so; ours where they are now."""

    def find_class(self, module: str, name: str, /) -> Any:
        if module.startswith("cas_engine."):
            from cas_engine.modules import moved

            module = moved.now(module)
        imported(module)
        return super().find_class(module, name)
