"""A function with defaults of its own for one call: what the call does to them reaches no other call."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from cas_engine.capsules import codec
from cas_engine.capsules.changeable import is_fixed
from cas_engine.capsules.live import Session


def with_own_defaults(fn: Callable[..., Any], session: Session) -> Callable[..., Any]:
    """The function with copies of those of its defaults that a call could change; itself if there are none."""
    if type(fn) is not types.FunctionType or not (fn.__defaults__ or fn.__kwdefaults__):
        return fn
    positional, keywords = fn.__defaults__ or (), fn.__kwdefaults__ or {}
    if all(map(is_fixed, positional)) and all(map(is_fixed, keywords.values())):
        return fn
    own = types.FunctionType(
        fn.__code__, fn.__globals__, fn.__name__, tuple(_copy(value, session) for value in positional), fn.__closure__
    )
    own.__kwdefaults__ = {name: _copy(value, session) for name, value in keywords.items()}
    own.__qualname__, own.__module__, own.__doc__ = fn.__qualname__, fn.__module__, fn.__doc__
    own.__annotations__ = fn.__annotations__
    vars(own).update(vars(fn))
    return own


def _copy(value: Any, session: Session) -> Any:
    """As it would come if the call had spelled it out; what cannot be stored has to do as it is."""
    if is_fixed(value):
        return value
    try:
        return codec.decode(codec.encode(value, session).copied(), session)
    except Exception:  # noqa: BLE001 - any type may refuse in its own way
        return value
