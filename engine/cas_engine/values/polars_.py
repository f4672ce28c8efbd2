"""What polars' values are made of: by value, whatever the chunks and the bytes under nulls."""

from __future__ import annotations

import functools
import io
import pickle
import re
import sys
from collections.abc import Sequence
from typing import Any

from cas_engine.values import instances
from cas_engine.values.columns import MISSING, joined_texts
from cas_engine.values.pieces import Branch, Order, Refusal, Rule, Unfolded, listed

_NUMBERS = frozenset(["Float32", "Float64", *(f"{sign}{size}" for sign in ("Int", "UInt") for size in (8, 16, 32, 64))])

_PICKLED = b"\x80\x05\x95"  # how a pickle of the fifth protocol begins
FUNCTION = b"PLPYFN"  # what stands before it, in a state of polars
_LENGTH = re.compile(rb"(?:\xfc.{4}|\xfb..|.)(?=PLPYFN)", re.DOTALL)  # of a pickle, which differs with the file's path


def rule_for(kind: type) -> Rule | None:
    """The rule for a type of polars; None for what is an object like others."""
    pl = sys.modules["polars"]
    if issubclass(kind, pl.DataFrame):
        return _frame
    if issubclass(kind, pl.Series):
        return lambda value: listed("polars.Series", value.name, _dtype(value.dtype), _content(value, pl))
    if issubclass(kind, pl.LazyFrame):
        return _refuse_lazy
    if issubclass(kind, (pl.DataType, type(pl.DataType))):
        return lambda value: listed("polars dtype", _dtype(value))
    if issubclass(kind, pl.Expr):
        plain = instances.rule_for(kind)
        return lambda value: _expression(value) or plain(value)
    return None


def _expression(value: Any) -> Branch | None:
    """An expression with Python functions in it: polars keeps those as pickles, which would name the user's only."""
    state = value.__getstate__()
    parts = opened(state) if isinstance(state, bytes) else ()
    return listed("polars expression", *parts) if parts else None


@functools.lru_cache(64)
def opened(state: bytes) -> tuple[object, ...]:
    """The state of an expression, with what is pickled in it as objects, always the same; nothing if that fails."""
    if _PICKLED not in state:
        return ()
    found: list[object] = []
    rest = io.BytesIO(state)
    end = 0
    while (start := state.find(_PICKLED, end)) >= 0:
        rest.seek(start)
        try:
            held = pickle.load(rest)
        except Exception:  # noqa: BLE001 - no pickle, or one of what can't be loaded: told by its bytes
            return ()
        found += [_LENGTH.sub(b"", state[end:start]), held]
        end = rest.tell()
    return (*found, state[end:])


def _frame(value: Any) -> Branch:
    columns = value.get_columns()
    return Branch(b"polars.DataFrame\0", Order.LISTED, [value.height, *columns], _by_column)


def _by_column(parts: Sequence[object], i: int) -> str:
    return f'["{parts[i].name}"]' if i else ""  # type: ignore[attr-defined]


def _refuse_lazy(_value: Any) -> Unfolded:
    raise Refusal("pass what it results in: collect() it first")


def _dtype(dtype: Any) -> object:
    """A dtype as plain values, in full: the repr of a long one is cut."""
    name = str(dtype.base_type())
    parameters = ("time_unit", "time_zone", "precision", "scale", "shape")
    told: list[object] = [name, *(getattr(dtype, parameter, None) for parameter in parameters)]
    if hasattr(dtype, "categories") and name == "Enum":
        told.append(dtype.categories.to_list())
    if hasattr(dtype, "inner") and dtype.inner is not None:
        told.append(_dtype(dtype.inner))
    if hasattr(dtype, "fields"):
        told += [(one.name, _dtype(one.dtype)) for one in dtype.fields]
    return told


def _content(value: Any, pl: Any) -> Unfolded:
    """The elements of a series; its dtype is told elsewhere."""
    dtype = value.dtype
    nulls = value.is_null().to_numpy()
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        value = value.cast(pl.String)
        lengths = value.str.len_bytes().cast(pl.Int64).fill_null(MISSING).to_numpy()
        return joined_texts(lengths, value.str.join("").to_list()[0].encode())
    if dtype == pl.Struct:
        return listed("structures", nulls, *(_content(value.struct.field(f.name), pl) for f in dtype.fields))
    if dtype == pl.List:
        lengths = value.list.len().fill_null(0).to_numpy()
        return listed("lists", nulls, lengths, _content(value.explode(), pl))
    if dtype == pl.Boolean:
        return listed("numbers", nulls, value.fill_null(value=False).to_numpy())
    if dtype.is_temporal():
        value = value.to_physical()
    if str(value.dtype) in _NUMBERS:
        return listed("numbers", nulls, value.fill_null(0).to_numpy())
    return listed("elements", value.to_list())
