"""Digests of values: equal content, equal digest, in every process.

Two passes give the same digests. The quick one recurses, remembers no paths and stops at whatever is in its
way; what it stops at (a cycle, great depth, a refusal) is the affair of the thorough one in `tangles`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Literal

from cas_engine.values.pieces import Branch, CodeOf, Digested, Order, combined
from cas_engine.values.plain import DICT, LEAVES, LIST, TUPLE
from cas_engine.values.rules import rule_of
from cas_engine.values.tangles import Tangle
from cas_store.digest import Digest

_DEEP = 60  # levels; at three frames each this stays clear of the recursion limit under any ordinary caller
_SMALL = 16  # parts; digesting so few leaves again costs no more than remembering that it was done

# What has been digested, by id; the objects are kept so that no id is given to another meanwhile.
_Memo = dict[int, tuple[Digest, object]]


class _TooDeep(Exception):  # goes no further than this module
    """Deeper than the quick pass goes, perhaps without end."""


class Digester:
    """Digests values. ``code`` gives the digest of functions, classes, modules and other code.

    ``code`` is called with the thing and the path to it; the path is only right in the second call, which is
    made when the first one raised. With ``ordered_dicts`` the order of an exact dict counts.
    """

    def __init__(self, code: Callable[[object, str], Digest], *, ordered_dicts: bool = False) -> None:
        self._code = code
        self._dict_order = Order.PAIRED_LISTED if ordered_dicts else Order.PAIRED

    def digest(self, value: object, where: str = "") -> Digest:
        """The digest of a value; ``where`` is how errors name it. Raises Undigestible."""
        leaf = LEAVES.get(type(value))
        if leaf is not None:
            return leaf(value)
        try:
            return self._quick(value, {}, 0)
        except Exception:  # noqa: BLE001 - the thorough pass meets it again, and knows the path
            return Tangle(self._code, self._dict_order).digest(value, where)

    def part_digests(self, value: object, where: str = "") -> PartDigests | None:
        """The digests of the parts of a tuple, list or dict, such that composed they give that of the whole.

        Those of a dict are key, value, key, value, ... None for other types, and for a container that
        contains itself.
        """
        kind = type(value)
        if not isinstance(value, (tuple, list, dict)) or kind not in (tuple, list, dict):
            return None
        parts = list(chain.from_iterable(value.items())) if isinstance(value, dict) else list(value)
        memo: _Memo = {}
        try:
            return tuple(self._quick(part, memo, 1) for part in parts)
        except Exception:  # noqa: BLE001 - as above
            whole = self.digest(value, where)
            digests = tuple(self.digest(part, where) for part in parts)
        if kind is dict:
            composed = combined(DICT, self._dict_order, digests)
        else:
            composed = compose("list" if kind is list else "tuple", digests)
        return digests if composed == whole else None

    def _quick(self, value: object, memo: _Memo, depth: int) -> Digest:
        kind = type(value)
        leaf = LEAVES.get(kind)
        if leaf is not None:
            return leaf(value)
        seen = memo.get(id(value))
        if seen is not None:
            return seen[0]
        if depth > _DEEP:
            raise _TooDeep
        parts: Iterable[object]
        if kind is list:
            tag, order, parts = LIST, Order.LISTED, value  # type: ignore[assignment]
        elif kind is tuple:
            tag, order, parts = TUPLE, Order.LISTED, value  # type: ignore[assignment]
        elif kind is dict:
            tag, order, parts = DICT, self._dict_order, chain.from_iterable(value.items())  # type: ignore[attr-defined]
        else:
            made = rule_of(kind)(value)
            if isinstance(made, CodeOf):
                return self._quick_code(made.thing, memo)
            if isinstance(made, Digested):
                memo[id(value)] = (made.digest, value)
                return made.digest
            tag, order, parts = made.tag, made.order, made.parts
            if order is Order.DICT:
                order = self._dict_order
        digests: list[Digest] = []
        deep = False
        for part in parts:
            leaf = LEAVES.get(type(part))
            if leaf is not None:
                digests.append(leaf(part))
            elif type(part) is CodeOf:
                digests.append(self._quick_code(part.thing, memo))
            else:
                deep = True
                digests.append(self._quick(part, memo, depth + 1))
        digest = combined(tag, order, digests)
        # Without this, a list that holds a list twice, which holds a list twice, ... would take for ever.
        if (deep or len(digests) > _SMALL) and kind is not Branch:
            memo[id(value)] = (digest, value)
        return digest

    def _quick_code(self, thing: object, memo: _Memo) -> Digest:
        seen = memo.get(id(thing))
        if seen is None:
            seen = memo[id(thing)] = (self._code(thing, ""), thing)
        return seen[0]


PartDigests = tuple[Digest, ...]


def leaf_digest(value: object) -> Digest | None:
    """The digest of a value that has no parts, such as a number or a text; None of another."""
    leaf = LEAVES.get(type(value))
    return None if leaf is None else leaf(value)


def compose(kind: Literal["list", "tuple"], digests: Sequence[Digest]) -> Digest:
    """The digest of a list or tuple from those of its items, in order."""
    return combined(LIST if kind == "list" else TUPLE, Order.LISTED, digests)


def compose_dict(pairs: Iterable[tuple[Digest, Digest]], *, ordered: bool = False) -> Digest:
    """The digest of a dict from those of its keys and values, in any order unless ``ordered``."""
    order = Order.PAIRED_LISTED if ordered else Order.PAIRED
    return combined(DICT, order, list(chain.from_iterable(pairs)))
