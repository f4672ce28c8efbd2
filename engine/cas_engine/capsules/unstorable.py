"""Where in a value lies what cannot be stored: found by trying its parts one by one. Only for the message. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_DEPTH = 12
_PARTS = 10_000


def place_of(value: object, error: Exception, attempt: Callable[[object], None]) -> tuple[str, str, str]:
    """(type, why, path) of the innermost part that `attempt` refuses; the value itself if none is refused alone."""
    path = ""
    for _ in range(_DEPTH):
        for step, part in _parts(value):
            try:
                attempt(part)
            except Exception as deeper:  # noqa: BLE001 - any type may refuse in its own way
                path, value, error = path + step, part, deeper
                break
        else:
            break
    why = str(error).partition("\\n")[0] or type(error).__name__
    return type(value).__name__, why, path


def _parts(value: Any) -> Iterator[tuple[str, object]]:
    """The parts of a value with the step that leads to each."""
    if isinstance(value, Mapping):
        for key in list(value)[:_PARTS]:
            yield f"[{key!r}]", value[key]
        for key in list(value)[:_PARTS]:
            if not isinstance(key, (str, int)):
                yield ".keys()", key
    elif isinstance(value, (list, tuple)):
        for at, part in enumerate(value[:_PARTS]):
            yield f"[{at}]", part
    elif isinstance(value, (set, frozenset)):
        for part in list(value)[:_PARTS]:
            yield "{...}", part
    if isinstance(value, type):
        return
    names = list(getattr(value, "__dict__", None) or ())
    if dataclasses.is_dataclass(value):
        names += [field.name for field in dataclasses.fields(value) if field.name not in names]
    for name in names:
        try:
            part = getattr(value, name)
        except Exception:  # noqa: BLE001, S112 - a property may raise anything
            continue
        yield f".{name}", part
