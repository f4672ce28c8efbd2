"""The types of the language itself: which are digested at once, and what the others are made of. Pure.

Each works on subclasses too, whatever they override: what counts is what the base class holds.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from itertools import chain
from typing import Any

from cas_engine.values.pieces import Branch, CodeOf, Digested, Order, Rule, by_index, by_key
from cas_store.digest import Digest, digest_of, digest_of_one

_LARGE = 1 << 16  # from here on a copy costs more than a second buffer
_double = struct.Struct("<d").pack
_NAN = _double(math.nan)  # one for all: which of its bit patterns a nan has is an accident of how it came about


def _int(value: int) -> Digest:
    size = (int.bit_length(value) >> 3) + 1
    return digest_of_one(b"int\0" + int.to_bytes(value, size, "little", signed=True))


def _float(value: float) -> Digest:
    return digest_of_one(b"float\0" + (_NAN if math.isnan(value) else _double(value)))


def _double_bytes(value: float) -> bytes:
    return _NAN if math.isnan(value) else _double(value)


def _complex(value: complex) -> Digest:
    real, imag = complex.real.__get__(value), complex.imag.__get__(value)
    return digest_of(b"complex\0" + _double_bytes(real) + _double_bytes(imag))


def _str(value: str) -> Digest:
    # Lone surrogates occur in file names; they are content like the rest.
    raw = str.encode(value, "utf-8", "surrogatepass")
    return digest_of_one(b"str\0" + raw) if len(raw) < _LARGE else digest_of(b"str\0", raw)


def _bytes(value: bytes) -> Digest:
    if bytes.__len__(value) < _LARGE:
        return digest_of_one(b"".join((b"bytes\0", value)))
    return digest_of(b"bytes\0", value)


def _always(tag: bytes) -> Callable[[object], Digest]:
    digest = digest_of(tag)
    return lambda _value: digest


_BOOL = (digest_of(b"bool\0" + b"\0"), digest_of(b"bool\0" + b"\1"))

# Digested at once: type -> digest. (Looked up by exact type: a bool is not an int here.)
LEAVES: dict[type, Callable[[Any], Digest]] = {
    int: _int,
    str: _str,
    float: _float,
    bool: _BOOL.__getitem__,
    type(None): _always(b"None\0"),
    bytes: _bytes,
    complex: _complex,
    type(...): _always(b"Ellipsis\0"),
    type(NotImplemented): _always(b"NotImplemented\0"),
    Digested: lambda part: part.digest,
}

LIST, TUPLE, DICT, SET, FROZENSET = b"list\0", b"tuple\0", b"dict\0", b"set\0", b"frozenset\0"


def _list(value: list[object]) -> Branch:
    return Branch(LIST, Order.LISTED, list.__getitem__(value, slice(None)), by_index)


def _tuple(value: tuple[object, ...]) -> Branch:
    return Branch(TUPLE, Order.LISTED, tuple.__getitem__(value, slice(None)), by_index)


def _dict(value: dict[object, object]) -> Branch:
    return Branch(DICT, Order.DICT, list(chain.from_iterable(dict.items(value))), by_key)


def _set(value: set[object]) -> Branch:
    return Branch(SET, Order.SET, list(set.__iter__(value)), by_index)


def _frozenset(value: frozenset[object]) -> Branch:
    return Branch(FROZENSET, Order.SET, list(frozenset.__iter__(value)), by_index)


def _bytearray(value: bytearray) -> Digested:
    return Digested(digest_of(b"bytearray\0", memoryview(value)))


def _memoryview(value: memoryview) -> Branch:
    whole = value.c_contiguous and value.nbytes > 0
    raw = digest_of(value.cast("B") if whole else value.tobytes())
    return Branch(b"memoryview\0", Order.LISTED, [value.format, value.shape, Digested(raw)])


def _slice(value: Any) -> Branch:
    return Branch(b"slice\0", Order.LISTED, [value.start, value.stop, value.step])


def _range(value: range) -> Branch:
    return Branch(b"range\0", Order.LISTED, [value.start, value.stop, value.step])


# What the others are made of: type -> rule. Our own three stand for themselves.
RULES: dict[type, Rule] = {
    list: _list,
    tuple: _tuple,
    dict: _dict,
    set: _set,
    frozenset: _frozenset,
    bytearray: _bytearray,
    memoryview: _memoryview,
    slice: _slice,
    range: _range,
    Branch: lambda branch: branch,
    CodeOf: lambda code: code,
}
