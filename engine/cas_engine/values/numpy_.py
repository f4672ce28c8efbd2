"""What NumPy's values are made of: dtype, shape and elements, wherever in memory these lie."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from cas_engine.values.instances import PAYLOAD, visible_state
from cas_engine.values.pieces import Branch, CodeOf, Digested, Order, Rule, Unfolded, fields, listed
from cas_store.digest import Digest, digest_of

# Elements are digested as the digests of their chunks: one pass, no copy, no running state.
_CHUNK = 1 << 20
# Codes of the dtypes whose text has three characters and whose bytes are all content: numbers of up to 8 bytes.
_COMMON = frozenset("?bBhHiIlLqQefd")
# Attributes of masked arrays in which NumPy keeps what `masked_rule` tells, and what it was asked for.
MASKED_OWN = frozenset(
    ["_mask", "_fill_value", "_hardmask", "_sharedmask", "_isfield", "_baseclass", "_optinfo", "_basedict"]
)


def rule_for(kind: type) -> Rule | None:
    """The rule for a type of NumPy, or one derived from it."""
    np = sys.modules["numpy"]
    if issubclass(kind, np.ndarray):
        masked = sys.modules.get("numpy.ma")
        if masked is not None and issubclass(kind, masked.MaskedArray):
            return _with_state(kind, masked.MaskedArray, masked_rule)
        # Where the array of a memmap lies is no part of what it holds.
        base = np.memmap if issubclass(kind, np.memmap) else np.ndarray
        return array_rule if kind is base else _with_state(kind, base, array_rule)
    if issubclass(kind, np.generic):
        exact = kind.__module__.partition(".")[0] == "numpy"
        return _scalar if exact else _with_state(kind, kind.__base__ or object, _scalar)
    if issubclass(kind, np.dtype):
        return lambda value: listed("dtype", dtype_parts(value))
    if issubclass(kind, np.ufunc):
        return CodeOf
    if kind is np.busdaycalendar:
        return lambda value: fields(kind, ["weekmask", value.weekmask, "holidays", value.holidays])
    return _random_rule(kind, np)


def _with_state(kind: type, base: type, rule: Rule) -> Rule:
    # Never by __reduce__, which tells the memory layout.
    if kind is base:
        return rule
    state = visible_state(kind, base)

    def with_state(value: Any) -> Branch:
        named = iter(state(value))
        own = [each for pair in zip(named, named, strict=True) if pair[0] not in MASKED_OWN for each in pair]
        return fields(kind, [PAYLOAD, rule(value), *own])

    return with_state


def _random_rule(kind: type, np: Any) -> Rule | None:
    random = np.random
    if issubclass(kind, random.Generator):
        return lambda value: listed("Generator", value.bit_generator)
    if issubclass(kind, random.BitGenerator):
        # From NumPy 2 on with the seed sequence, from which `spawn` draws; before, no copy keeps it.
        return lambda value: listed("BitGenerator", CodeOf(kind), value.__getstate__())
    if issubclass(kind, random.RandomState):
        # NumPy's own is in another state in every process, and is the same to whoever draws from it.
        own = getattr(random.mtrand, "_rand", None)
        return lambda value: listed("RandomState", None if value is own else value.get_state(legacy=False))
    if issubclass(kind, random.SeedSequence):
        return lambda value: listed("SeedSequence", value.state)
    return None


# Arrays ----------------------------------------------------------------------------------------------------


def array_rule(value: Any) -> Branch:
    """An array as dtype, shape and elements in C order."""
    np = sys.modules["numpy"]
    array = value.view(np.ndarray) if type(value) is not np.ndarray else value
    return listed("ndarray", dtype_parts(array.dtype), array.shape, elements(array))


def dtype_parts(dtype: Any) -> object:
    """A dtype as plain values; what compares equal has equal parts."""
    if dtype.char in _COMMON:
        return str(dtype.str)
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return ("subarray", dtype_parts(base), shape)
    own = dtype.type.__module__.partition(".")[0] == "numpy" and dtype.type.__name__ != "record"
    told = None if own else (dtype.type.__module__, dtype.type.__qualname__)
    if dtype.names is not None:
        # Of a member: its dtype, its offset, and its title if it has one.
        members = tuple((name, dtype_parts(of[0]), *of[1:]) for name, of in _members(dtype))
        return ("structure", dtype.itemsize, members, told)
    if dtype.kind == "T":
        return ("StringDType", dtype.coerce, ("na", dtype.na_object) if hasattr(dtype, "na_object") else None)
    return dtype.str if told is None else (dtype.str, told)


def _members(dtype: Any) -> list[tuple[str, Any]]:
    return [(name, dtype.fields[name]) for name in dtype.names]


def elements(array: Any) -> Unfolded:
    """The elements of an array in C order, whatever its memory layout."""
    dtype = array.dtype
    if dtype.char in _COMMON:
        return Digested(_digest_bytes(array))
    if dtype.names is not None and not _is_packed(dtype):
        return Branch(
            b"columns\0", Order.LISTED, [elements(array[name]) for name in dtype.names], _by_name(dtype.names)
        )
    if dtype.hasobject or dtype.kind == "T":
        step = _by_position if array.ndim == 1 else _by_flat_position
        return Branch(b"elements\0", Order.LISTED, array.reshape(-1).tolist(), step)
    if _is_padded_float(dtype):
        return Digested(_digest_bytes(_without_padding(array)))
    return Digested(_digest_bytes(array))


def _by_position(_parts: Sequence[object], i: int) -> str:
    return f"[{i}]"


def _by_flat_position(_parts: Sequence[object], i: int) -> str:
    return f".flat[{i}]"


def _by_name(names: Sequence[str]) -> Any:
    return lambda _parts, i: f'["{names[i]}"]'


def _is_packed(dtype: Any) -> bool:
    """Whether all bytes of an element are content: padding holds whatever was in memory before."""
    if dtype.subdtype is not None:
        return _is_packed(dtype.subdtype[0])
    if dtype.names is None:
        return not dtype.hasobject and dtype.kind != "T" and not _is_padded_float(dtype)
    end = 0
    for _, (member, offset, *_) in _members(dtype):
        if offset != end or not _is_packed(member):
            return False
        end = offset + member.itemsize
    return bool(end == dtype.itemsize and end > 0)


def _is_padded_float(dtype: Any) -> bool:
    """Whether this is x87's long double: 10 bytes of number in 12 or 16."""
    return dtype.kind in "fc" and dtype.char in "gG" and sys.modules["numpy"].finfo(dtype).nmant == 63


def _without_padding(array: Any) -> Any:
    np = sys.modules["numpy"]
    size = array.dtype.itemsize // (2 if array.dtype.kind == "c" else 1)
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(-1, size)
    # The padding is at the end of a little-endian number; the others have been swapped as a whole.
    big = array.dtype.byteorder == ">"
    return np.ascontiguousarray(raw[:, size - 10 :] if big else raw[:, :10])


def _digest_bytes(array: Any) -> Digest:
    """The digest of an array's bytes in C order, in chunks of whole elements."""
    np = sys.modules["numpy"]
    if array.nbytes == 0:
        return digest_of(b"")
    size = max(1, _CHUNK // array.itemsize) * array.itemsize
    if array.flags.c_contiguous:
        raw = memoryview(array.reshape(-1).view(np.uint8))
        digests = [digest_of(raw[at : at + size]) for at in range(0, len(raw), size)]
    else:
        digests = list(_digests_of_chunks(array, size // array.itemsize))
    return digest_of(b"".join(digests))


def _digests_of_chunks(array: Any, count: int) -> Any:
    """The digests of every ``count`` elements, copied chunk by chunk from wherever they are."""
    np = sys.modules["numpy"]
    chunk = np.empty(count, array.dtype)
    raw = memoryview(chunk.view(np.uint8))
    filled = 0
    flags = ["external_loop", "buffered", "zerosize_ok"]
    for piece in np.nditer(array, flags, ["readonly"], order="C", buffersize=1 << 13):
        at = 0
        while at < len(piece):
            taken = min(len(piece) - at, count - filled)
            chunk[filled : filled + taken] = piece[at : at + taken]
            at += taken
            filled += taken
            if filled == count:
                yield digest_of(raw)
                filled = 0
    if filled:
        yield digest_of(raw[: filled * array.itemsize])


def masked_rule(value: Any) -> Branch:
    """Data under the mask is no content; the value that would fill it is."""
    np, masked = sys.modules["numpy"], sys.modules["numpy.ma"]
    plain = value.view(masked.MaskedArray)
    mask = masked.getmaskarray(plain)
    fill = plain.fill_value
    if isinstance(fill, np.str_):  # what stands for an object by default; a str in one that was pickled
        fill = str(fill)
    fill = np.asarray(fill, plain.dtype)
    return listed("masked", _uncovered(plain, mask), array_rule(mask), array_rule(fill), plain.hardmask)


def _uncovered(plain: Any, mask: Any) -> Branch:
    """The array with zeros under the mask; a large one is never copied as a whole."""
    np, data = sys.modules["numpy"], plain.data.view(sys.modules["numpy"].ndarray)
    if data.dtype.char not in _COMMON or not (data.flags.c_contiguous and mask.flags.c_contiguous) or not data.size:
        return array_rule(plain.filled(np.zeros((), plain.dtype)[()]))
    count, flat, under = max(1, _CHUNK // data.itemsize), data.reshape(-1), mask.reshape(-1)
    digests = []
    for at in range(0, flat.size, count):
        chunk = flat[at : at + count].copy()
        chunk[under[at : at + count]] = 0
        digests.append(digest_of(memoryview(chunk.view(np.uint8))))
    whole = Digested(digest_of(b"".join(digests)))
    return listed("ndarray", dtype_parts(data.dtype), data.shape, whole)


# Scalars ---------------------------------------------------------------------------------------------------


def _scalar(value: Any) -> Unfolded:
    np = sys.modules["numpy"]
    dtype = value.dtype
    if dtype.char in _COMMON and value == value:  # noqa: PLR0124 - a nan is not
        return Digested(digest_of(b"numpy\0" + dtype.str.encode() + value.tobytes()))
    if dtype.kind == "c":
        return listed("numpy complex", dtype_parts(dtype), _scalar(value.real), _scalar(value.imag))
    if dtype.kind == "f" and np.isnan(value):
        return listed("numpy nan", dtype_parts(dtype))
    return listed("numpy scalar", dtype_parts(dtype), elements(np.asarray(value, dtype)))
