"""What pandas' values are made of: column by column, whatever blocks these lie in."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from cas_engine.values.columns import texts
from cas_engine.values.instances import PAYLOAD
from cas_engine.values.numpy_ import dtype_parts
from cas_engine.values.pieces import Branch, Order, Rule, fields, listed
from cas_engine.values.pyarrow_ import arrow_texts


def rule_for(kind: type) -> Rule | None:
    """The rule for a type of pandas, or one derived from it; None for what is an object like others."""
    pd = sys.modules["pandas"]
    known: tuple[tuple[type, Rule], ...] = (
        (pd.DataFrame, _frame),
        (pd.Series, _series),
        (pd.MultiIndex, _multi_index),
        (pd.Index, _index),
        (type(pd.NaT), lambda _value: listed("pandas.NaT")),
        (type(pd.NA), lambda _value: listed("pandas.NA")),
        (pd.Timestamp, _timestamp),
        (pd.Timedelta, lambda value: listed("Timedelta", value.unit, int(value.asm8.view("i8")))),
        (pd.Period, lambda value: listed("Period", value.ordinal, value.freqstr)),
        (pd.Interval, lambda value: listed("Interval", value.left, value.right, value.closed)),
        (pd.api.extensions.ExtensionDtype, _dtype),
        (pd.api.extensions.ExtensionArray, _extension_array),
    )
    for base, rule in known:
        if issubclass(kind, base):
            own = kind.__module__.partition(".")[0] == "pandas"
            return rule if own else lambda value: fields(kind, [PAYLOAD, rule(value), *_metadata(value)])  # noqa: B023
    return None


def _metadata(value: Any) -> list[object]:
    """What a derived class says it holds besides (https://pandas.pydata.org/docs/development/extending.html)."""
    named: list[object] = []
    for name in getattr(value, "_metadata", ()):
        named += (name, getattr(value, name, None))
    return named


# Tables ----------------------------------------------------------------------------------------------------


def _frame(value: Any) -> Branch:
    columns = value.columns
    # Not value.values, which would bring all columns to one dtype.
    held = [_held(series) for _, series in value.items()]
    parts = [value.index, columns, dict(value.attrs), value.flags.allows_duplicate_labels, *held]
    return Branch(b"pandas.DataFrame\0", Order.LISTED, parts, _by_column(columns))


def _by_column(columns: Any) -> Any:
    def step(_parts: Sequence[object], i: int) -> str:
        if i < 4:
            return (".index", ".columns", ".attrs", "")[i]
        name = columns[i - 4]
        return f'["{name}"]' if isinstance(name, str) else f"[{name!r}]"

    return step


def _series(value: Any) -> Branch:
    flag = value.flags.allows_duplicate_labels
    return listed("pandas.Series", value.index, value.name, dict(value.attrs), flag, _held(value))


def _held(value: Any) -> Any:
    """The array behind a Series or Index: NumPy's own where it is one."""
    array = value.array
    return value.to_numpy() if _is_numpy_extension(array) else array


def _is_numpy_extension(array: Any) -> bool:
    arrays = sys.modules["pandas"].arrays
    # Exactly: arrays of texts are derived from it.
    return type(array) is arrays.NumpyExtensionArray


# Indexes ---------------------------------------------------------------------------------------------------


def _index(value: Any) -> Branch:
    # A RangeIndex too: pandas calls it a memory-saving special case, and turns one into the other as it sees fit.
    return listed("pandas.Index", value.name, getattr(value, "freqstr", None), _held(value))


def _multi_index(value: Any) -> Branch:
    # What a selection left without use is no content. The order of the levels is: unstack goes by it.
    used = value.remove_unused_levels()
    codes = [code.astype("int64") for code in map(sys.modules["numpy"].asarray, used.codes)]
    return listed("pandas.MultiIndex", list(used.names), [_held(level) for level in used.levels], codes)


# Arrays ----------------------------------------------------------------------------------------------------


def _extension_array(value: Any) -> Branch:
    pd: Any = sys.modules["pandas"]
    np = sys.modules["numpy"]
    arrays, dtype = pd.arrays, value.dtype
    if isinstance(value, (arrays.IntegerArray, arrays.FloatingArray, arrays.BooleanArray)):
        # What lies under the mask is no content.
        filled = value.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        return listed("masked column", str(dtype), np.asarray(value.isna()), filled)
    if isinstance(dtype, pd.StringDtype):
        if dtype.storage.startswith("pyarrow"):
            return listed("text column", dtype, arrow_texts(value.__arrow_array__()))
        return listed("text column", dtype, texts(value.to_numpy(dtype=object, na_value=None).tolist()))
    if isinstance(value, pd.Categorical):
        return listed("Categorical", value.dtype, np.asarray(value.codes))
    if isinstance(value, (arrays.DatetimeArray, arrays.TimedeltaArray, arrays.PeriodArray)):
        return listed("times", _any_dtype(dtype), value.asi8)
    if isinstance(value, arrays.IntervalArray):
        return listed("IntervalArray", value.closed, _held(value.left), _held(value.right))
    if isinstance(value, arrays.SparseArray):
        at = value.sp_index.to_int_index().indices
        return listed("SparseArray", dtype, len(value), np.asarray(at), value.sp_values)
    if isinstance(dtype, pd.ArrowDtype):
        return listed("Arrow column", value.__arrow_array__())
    if _is_numpy_extension(value):
        return listed("NumpyExtensionArray", value.to_numpy())
    # Another library's: element by element.
    reference = getattr(value, "crs", None)  # of a column of places, in which coordinates they are told
    told = reference if reference is None else reference.to_wkt()
    return listed("extension array", type(value), str(dtype), list(value), told)


def _any_dtype(dtype: Any) -> object:
    return dtype_parts(dtype) if isinstance(dtype, sys.modules["numpy"].dtype) else dtype


def _dtype(value: Any) -> Branch:
    pd: Any = sys.modules["pandas"]
    name = type(value).__name__
    if isinstance(value, pd.CategoricalDtype):
        return listed(name, value.categories, value.ordered)
    if isinstance(value, pd.DatetimeTZDtype):
        return listed(name, value.unit, value.tz)
    if isinstance(value, pd.IntervalDtype):
        return listed(name, _any_dtype(value.subtype), value.closed)
    if isinstance(value, pd.StringDtype):
        return listed(name, value.na_value)  # not where it is kept: Python and Arrow hold the same texts
    if isinstance(value, pd.SparseDtype):
        return listed(name, _any_dtype(value.subtype), value.fill_value)
    if name == "ArrowDtype":
        return listed(name, value.pyarrow_dtype)
    return listed("pandas dtype", name, str(value))


def _timestamp(value: Any) -> Branch:
    return listed("Timestamp", value.unit, int(value.asm8.view("i8")), value.tzinfo, value.fold)
