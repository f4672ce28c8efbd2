"""What was decided of each node of a graph: hit, miss, same as an earlier node, or unknown. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from cas_engine.plans.records import Record
from cas_store.digest import Digest


class Hit(NamedTuple):
    """There is a result for the key."""

    key: Digest
    record: Record
    reason: str


class Miss(NamedTuple):
    """The key has no result, or `forced` says why it runs all the same."""

    key: Digest
    forced: str | None


class Same(NamedTuple):
    """The key of an earlier node of this dispatch: it runs once for both."""

    key: Digest
    first: int


class Unknown(NamedTuple):
    """The key hangs on a sample that is not drawn yet, that of `parent`."""

    parent: int


Decision = Hit | Miss | Same | Unknown
Found = tuple[int, Digest, Record]  # a node, its key, its result
TakeHits = Callable[[Sequence[Found], str], None]  # with the reason that they have in common
UNDECIDED, HIT, MISS, SAME, UNKNOWN = range(5)


class Decisions(Sequence[Decision]):
    """What was decided of each node, as columns: a million of them are not a million objects.

    `kinds` are UNDECIDED, HIT, MISS, SAME or UNKNOWN. Where hits are given to `take` as they are found, their records
    are not kept here, and they cannot be looked at any more.
    """

    def __init__(self, count: int, take: TakeHits | None = None) -> None:
        self.kinds = bytearray(count)
        self.keys: list[Digest | None] = [None] * count
        self.other = array("I", bytes(4 * count))  # the first of equal calls, the parent waited for, or a word's number
        self.words: list[str | None] = [None]
        self._numbers: dict[str | None, int] = {None: 0}
        self._take = take
        self._records: dict[int, Record] = {}

    def number(self, word: str | None) -> int:
        """That of a reason."""
        found = self._numbers.get(word)
        if found is None:
            found = self._numbers[word] = len(self.words)
            self.words.append(word)
        return found

    def hits(self, found: Sequence[Found], reason: str) -> None:
        """Note that nodes have results."""
        kinds, keys, other, number = self.kinds, self.keys, self.other, self.number(reason)
        for node, key, _ in found:
            kinds[node], keys[node], other[node] = HIT, key, number
        if self._take is not None:
            self._take(found, reason)
        else:
            self._records.update((node, record) for node, _, record in found)

    def forced(self, node: int) -> str | None:
        """Of a miss: why it runs whatever is there, if it does."""
        return self.words[self.other[node]]

    def is_forced(self, node: int) -> bool:
        """Of a miss: whether it runs whatever is there."""
        return bool(self.other[node])

    def let_go(self) -> None:
        """Whoever takes hits has all of them, and need not stay for that."""
        self._take = None

    def first_of(self, node: int) -> int | None:
        """The node that a node is the same call as."""
        return self.other[node] if self.kinds[node] == SAME else None

    def of_kind(self, kind: int) -> Iterator[int]:
        """The nodes of a kind, in order."""
        node = self.kinds.find(kind)
        while node >= 0:
            yield node
            node = self.kinds.find(kind, node + 1)

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        kind, key, other = self.kinds[index], self.keys[index], self.other[index]
        if kind == UNKNOWN:
            return Unknown(other)
        assert key is not None  # noqa: S101 - all others have one
        if kind == SAME:
            return Same(key, other)
        word = self.words[other]
        return Miss(key, word) if kind == MISS else Hit(key, self._records[index], word or "")

    def __setitem__(self, node: int, decision: Decision) -> None:
        self.keys[node] = None
        match decision:
            case Hit(key, record, reason):
                self.kinds[node], self.keys[node], self.other[node] = HIT, key, self.number(reason)
                self._records[node] = record
            case Miss(key, forced):
                self.kinds[node], self.keys[node], self.other[node] = MISS, key, self.number(forced)
            case Same(key, first):
                self.kinds[node], self.keys[node], self.other[node] = SAME, key, first
            case Unknown(parent):
                self.kinds[node], self.other[node] = UNKNOWN, parent
