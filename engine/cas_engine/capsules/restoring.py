"""What the user's modules had put into packages when code was recorded is there again while that code runs.

It is put back into the packages themselves, for the whole process: there it stays only for as long as the code runs,
and one such call runs at a time. Where the choice is ours, they are made in worker processes: see `runners`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

from cas_engine.errors import CapsuleError
from cas_engine.fingerprint.patches import Extension, Patch, put_back
from cas_store import forks

_turn = forks.free_rlock()
_ABSENT = object()


@contextmanager
def restored(brought: Sequence[Patch]) -> Iterator[None]:
    """Around what runs, and what looks at, the code that this was brought to. Raises CapsuleError."""
    if not brought:
        yield
        return
    with _turn, ExitStack() as undone:
        for patch in brought:
            try:
                undone.callback(_put(patch))
            except Exception as error:  # whatever the package says to it
                raise CapsuleError(
                    f"`{patch.shown}` cannot be set as it was when the code was recorded: "
                    f"{type(error).__name__}: {error}\n"
                    "  -> compare the installed packages with those that were recorded"
                ) from error
            if not isinstance(patch, Extension):  # which shows by itself
                put_back.append(patch)
                undone.callback(put_back.remove, patch)
        yield


def _put(patch: Patch) -> Callable[[], None]:
    """Set it; what sets it to what it was."""
    holder: Any = importlib.import_module(patch.path[0])
    for attr in patch.path[1:]:
        holder = getattr(holder, attr)
    name = patch.name
    if patch.is_item:
        before = holder.get(name, _ABSENT) if hasattr(holder, "get") else holder[name]
        holder[name] = patch.value
        patch.value = holder[name]  # what the package has made of it
        return lambda: holder.__delitem__(name) if before is _ABSENT else holder.__setitem__(name, before)
    own = vars(holder) if isinstance(holder, (ModuleType, type)) else None
    before = getattr(holder, name, _ABSENT) if own is None else own.get(name, _ABSENT)
    setattr(holder, name, patch.value)
    patch.value = vars(holder)[name] if own is not None else getattr(holder, name)
    return lambda: delattr(holder, name) if before is _ABSENT else setattr(holder, name, before)
