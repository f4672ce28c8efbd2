"""What a value is made of, and how the digests of its pieces become one. Pure.

Every digest is taken over a tag that ends in the first zero byte, then either the bytes of a leaf or the
digests of the parts, 16 bytes each. So no two kinds of values, and no two ways to cut one value into parts,
can be confused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from cas_store.digest import Digest, digest_of


class Order(Enum):
    """What the order of the parts means."""

    LISTED = 1  # it counts
    SET = 2  # it does not
    PAIRED = 3  # key, value, key, value, ...: that of the pairs does not
    PAIRED_LISTED = 4  # as PAIRED, and it counts
    FIELDS = 5  # the class first, then as PAIRED
    DICT = 6  # an exact dict: PAIRED or PAIRED_LISTED, as the digester was told


class Branch(NamedTuple):
    """A value as its parts. ``step`` spells the way from the whole to part ``i`` for error messages."""

    tag: bytes
    order: Order
    parts: Sequence[object]
    step: Callable[[Sequence[object], int], str] = lambda _parts, _i: ""


class CodeOf(NamedTuple):
    """Something that is identified as code, not as a value: a function, class, module, electron."""

    thing: object


class Digested(NamedTuple):
    """A part whose digest is known already."""

    digest: Digest


Unfolded: TypeAlias = "Branch | CodeOf | Digested"
# The parts of a value of a certain type. Raises Refusal.
Rule: TypeAlias = Callable[[Any], Unfolded]


class Refusal(Exception):  # not an error yet: it becomes Undigestible where the path is known
    """The value has no stable content. ``called``: a better name for its type than the type's own."""

    def __init__(self, advice: str = "", called: str = "") -> None:
        super().__init__(advice)
        self.advice, self.called = advice, called


def combined(tag: bytes, order: Order, digests: Sequence[bytes]) -> Digest:
    """The digest of a branch from those of its parts; DICT is decided by the caller."""
    if order is Order.LISTED:
        return digest_of(tag + b"".join(digests))
    if order is Order.SET:
        return digest_of(tag + b"".join(sorted(digests)))
    if order is Order.PAIRED_LISTED:
        return digest_of(b"listed " + tag + b"".join(digests))
    head = b""
    if order is Order.FIELDS:
        head, digests = digests[0], digests[1:]
    return digest_of(tag + head + b"".join(sorted(map(bytes.__add__, digests[::2], digests[1::2]))))


# How parts are reached --------------------------------------------------------------------------------------


def by_index(_parts: Sequence[object], i: int) -> str:
    return f"[{i}]"


def by_key(parts: Sequence[object], i: int) -> str:
    """Of PAIRED parts: ``["x"]`` for a value, ``.keys()[3]`` for a key."""
    if i % 2 == 0:
        return f".keys()[{i // 2}]"
    key = parts[i - 1]
    if type(key) is str:
        return f'["{key}"]'
    return f"[{key!r}]" if type(key) in (int, float, bool, bytes, type(None)) else f"[{type(key).__name__}]"


def by_field(parts: Sequence[object], i: int) -> str:
    """Of FIELDS: ``.x`` for what has a name."""
    name = parts[i - 1] if i and i % 2 == 0 else None
    return f".{name}" if type(name) is str else ""


def fields(cls: type, named: Iterable[object]) -> Branch:
    """An object as its class and its state: name, value, name, value, ..."""
    return Branch(b"object\0", Order.FIELDS, [CodeOf(cls), *named], by_field)


def listed(tag: str, *parts: object) -> Branch:
    """A value of a type that we know as its parts in order."""
    return Branch(tag.encode() + b"\0", Order.LISTED, parts)
