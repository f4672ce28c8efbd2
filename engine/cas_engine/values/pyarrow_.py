"""What Arrow's values are made of: by value, whatever the chunks, offsets and bytes under nulls."""

from __future__ import annotations

import sys
from typing import Any

from cas_engine.values.columns import MISSING, joined_texts
from cas_engine.values.pieces import Branch, Digested, Rule, Unfolded, listed
from cas_store.digest import digest_of


def rule_for(kind: type) -> Rule | None:
    """The rule for a type of pyarrow; None for what is an object like others."""
    pa = sys.modules["pyarrow"]
    known: tuple[tuple[type, Rule], ...] = (
        (pa.Table, lambda value: listed("pyarrow.Table", value.schema, *map(_column, value.columns))),
        (pa.RecordBatch, lambda value: listed("pyarrow.RecordBatch", value.schema, *map(_column, value.columns))),
        (pa.ChunkedArray, lambda value: listed("pyarrow.ChunkedArray", _type(value.type), _column(value))),
        (pa.Array, lambda value: listed("pyarrow.Array", _type(value.type), _column(value))),
        (pa.Scalar, lambda value: listed("pyarrow.Scalar", _type(value.type), _column(pa.repeat(value, 1)))),
        (pa.Schema, lambda value: listed("pyarrow.Schema", list(value), value.metadata)),
        (pa.Field, _field),
        (pa.DataType, lambda value: listed("pyarrow.DataType", _type(value))),
        (pa.Buffer, lambda value: listed("pyarrow.Buffer", Digested(digest_of(memoryview(value))))),
    )
    compute = sys.modules.get("pyarrow._compute")
    if compute is not None and issubclass(kind, compute.FunctionOptions):
        return lambda value: listed("pyarrow options", kind.__name__, value.serialize().to_pybytes())
    return next((rule for base, rule in known if issubclass(kind, base)), None)


def _field(value: Any) -> Branch:
    return listed("pyarrow.Field", value.name, _type(value.type), value.nullable, value.metadata)


def _type(kind: Any) -> object:
    """A type as its text, which tells all but the metadata of the fields in it."""
    inner = [kind.field(i) for i in range(kind.num_fields)]
    return [str(kind), *inner] if inner else str(kind)


def _column(value: Any) -> Unfolded:
    pa = sys.modules["pyarrow"]
    return _content(_in_one(value, pa), pa)


def _in_one(value: Any, pa: Any) -> Any:
    if isinstance(value, pa.ChunkedArray):
        value = value.combine_chunks()
        if isinstance(value, pa.ChunkedArray):  # in older versions, of no chunks or of one
            value = pa.concat_arrays(value.chunks) if value.num_chunks else pa.array([], value.type)
    return value


def arrow_texts(value: Any) -> Branch:
    """The texts of an array or chunked array, without making a str of each."""
    pa, np = sys.modules["pyarrow"], sys.modules["numpy"]
    one = _in_one(value, pa).cast(pa.large_string())
    lengths = np.full(len(one), MISSING, np.int64)
    there = one.is_valid().to_numpy(zero_copy_only=False)
    if one.null_count:
        one = one.drop_null()
    _, offsets, raw = one.buffers()
    if len(one) == 0 or raw is None:
        lengths[there] = 0
        return joined_texts(lengths, b"")
    ends = np.frombuffer(offsets, np.int64)[one.offset : one.offset + len(one) + 1]
    lengths[there] = np.diff(ends)
    return joined_texts(lengths, memoryview(raw)[int(ends[0]) : int(ends[-1])])


def _content(value: Any, pa: Any) -> Unfolded:
    """The elements of an array; its type is told elsewhere."""
    kinds, kind = pa.types, value.type
    if kinds.is_null(kind):
        return listed("nulls", len(value))
    if kinds.is_dictionary(kind):
        return _content(value.dictionary_decode(), pa)
    if isinstance(value, pa.ExtensionArray):
        return _content(value.storage, pa)
    if kinds.is_string(kind) or kinds.is_large_string(kind):
        return arrow_texts(value)
    nulls = value.is_null().to_numpy(zero_copy_only=False)
    if kinds.is_temporal(kind) and kind.bit_width in (32, 64):
        value, kind = value.view(pa.int64() if kind.bit_width == 64 else pa.int32()), pa.int64()
    if kinds.is_boolean(kind) or kinds.is_integer(kind) or kinds.is_float32(kind) or kinds.is_float64(kind):
        zero = False if kinds.is_boolean(kind) else 0
        filled = value.fill_null(zero) if value.null_count else value
        return listed("numbers", nulls, filled.to_numpy(zero_copy_only=False))
    if kinds.is_struct(kind):
        return listed("structures", nulls, *(_content(part, pa) for part in value.flatten()))
    if kinds.is_list(kind) or kinds.is_large_list(kind):
        lengths = value.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype("int64")
        return listed("lists", nulls, lengths, _content(value.flatten(), pa))
    return listed("elements", value.to_pylist())
