"""Parts of arguments that stay out of keys: `model.verbose`, `config['log']`, `steps[0].lock`. Pure."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, MutableMapping
from functools import lru_cache
from typing import Any

Step = tuple[str, Any]  # ("item", key) or ("attr", name)

_STEP = re.compile(r"\.([^\W\d]\w*)|\[([^\[\]]+)\]")
_NAME = re.compile(r"[^\W\d]\w*")


def parsed(text: str) -> tuple[str, tuple[Step, ...]] | None:
    """The parameter that an entry of `ignore` begins with, and the steps from there; None if it is no path."""
    head = _NAME.match(text)
    if head is None:
        return None
    steps: list[Step] = []
    at = head.end()
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            return None
        at = found.end()
        if found[1] is not None:
            steps.append(("attr", found[1]))
            continue
        try:
            key = ast.literal_eval(found[2])
        except (ValueError, SyntaxError):
            return None
        steps.append(("item", key))
    return head[0], tuple(steps)


@lru_cache(maxsize=1024)  # asked for each argument of each call
def omitted(ignore: tuple[str, ...], parameter: str) -> tuple[tuple[Step, ...], ...]:
    """The paths within one parameter that do not count; a parameter that is left out as a whole has none."""
    found = [one for text in ignore if (one := parsed(text)) is not None]
    return tuple(steps for name, steps in found if name == parameter and steps)


def replaced_part(value: Any, path: tuple[Step, ...], new: Callable[[Any], Any]) -> Any:
    """The value with what lies at a path replaced: copies along the path, the original untouched.

    What has no such part is given back as it is.
    """
    if not path:
        return new(value)
    kind, step = path[0]
    try:
        old = value[step] if kind == "item" else _own(value, str(step))
        part = replaced_part(old, path[1:], new)
        return value if part is old else _with(value, kind, step, part)
    except (LookupError, TypeError, AttributeError):
        return value


def _own(value: Any, name: str) -> Any:
    """What an instance itself holds under a name: not what its class does, and no property is run."""
    held = getattr(value, "__dict__", None)
    if isinstance(held, dict) and name in held:
        return held[name]
    if name in getattr(value, "_fields", ()) or any(name in _slots(cls) for cls in type(value).__mro__):
        return getattr(value, name)
    raise AttributeError(name)


def _slots(cls: type) -> tuple[str, ...]:
    slots = cls.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _with(value: Any, kind: str, step: Any, part: Any) -> Any:
    if kind == "attr" and isinstance(value, tuple):
        return value._replace(**{step: part})  # type: ignore[attr-defined]
    if kind == "item" and type(value) is tuple:
        at = range(len(value))[step]
        return (*value[:at], part, *value[at + 1 :])
    made = copy.copy(value)
    if kind == "attr":
        object.__setattr__(made, step, part)
    elif isinstance(made, (MutableMapping, list)):
        made[step] = part
    else:
        raise TypeError
    return made
