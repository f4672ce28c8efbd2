"""How expressions of polars with Python functions in them are written: the functions as objects, not as polars does.

Its pickles of them would name the user's functions, and so find whatever their modules have become.
"""

from __future__ import annotations

import pickle
from typing import Any, ClassVar

PROTOCOL = 5


def _expression(expression: Any) -> Any:
    from cas_engine.values.polars_ import FUNCTION, opened

    state = expression.__getstate__()
    parts = opened(state) if isinstance(state, bytes) else ()
    if not parts or not all(FUNCTION in part for part in parts[:-1:2] if isinstance(part, bytes)):
        return expression.__reduce_ex__(PROTOCOL)
    return _expression_again, (type(expression), parts)


def _expression_again(kind: Any, parts: tuple[Any, ...]) -> Any:
    from cas_engine.values.polars_ import FUNCTION

    state: bytes = parts[0]
    for held, rest in zip(parts[1::2], parts[2::2], strict=True):
        before, mark, options = state.rpartition(FUNCTION)
        function = mark + options + pickle.dumps(_Kept(held), PROTOCOL)
        state = before + _length(len(function)) + function + rest
    made = kind.__new__(kind)
    made.__setstate__(state)
    return made


class _Kept:
    """What polars pickles in the place of an object: recorded code has modules that no other pickle knows."""

    objects: ClassVar[list[object]] = []  # as long as the process lives: what an expression became is not known

    def __init__(self, held: object) -> None:
        self._held = held

    def __reduce__(self) -> Any:
        self.objects.append(self._held)
        return _kept, (len(self.objects) - 1,)


def _kept(number: int) -> object:
    return _Kept.objects[number]


def _length(count: int) -> bytes:
    """As polars writes numbers: small ones in one byte, others behind a mark for their size."""
    if count < 251:
        return bytes([count])
    return b"\xfb" + count.to_bytes(2, "little") if count < 1 << 16 else b"\xfc" + count.to_bytes(4, "little")


REDUCERS = {"polars.expr.expr.Expr": _expression}
