"""What a store holds, blob by blob: what names it, when it was last of use, what it cost. Changes nothing.

In columns, for there may be millions: one number each, and one dictionary from digests to places in them.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.ledger import Entry, Status
from cas_engine.bookkeeping.pins import pinned
from cas_engine.bookkeeping.references import named_by
from cas_engine.errors import CapsuleError, UnknownDispatch
from cas_engine.plans import records
from cas_store.digest import Digest
from cas_store.errors import BlobDamaged, BlobMissing
from cas_store.store import Store
from cas_store.tables import Table

_NOBODY, _SEVERAL = -1, -2  # in the column of lattices


class Kind(IntEnum):
    """What a blob is to whatever names it."""

    UNNAMED = 0
    RESULTS = 1
    INPUTS = 2
    CODE = 3
    MANIFESTS = 4  # and outcomes

    @property
    def word(self) -> str:
        """As shown."""
        return self.name.lower()


class Keep(IntEnum):
    """Whether a blob may go."""

    MAY_GO = 0
    FOR_NOW = 1  # a result that a kept dispatch needs
    ALWAYS = 2  # nothing can bring it back


@dataclass(slots=True)
class Survey:
    """The blobs, in columns, and what else was seen on the way.

    `place` tells where in the columns a digest is; `members` what a blob in parts is made of. `uses` counts what names
    one: dispatches and records, which are one together, and each blob in parts that it is a part of. `gone` are blobs
    that the history names and that are not there.
    `unread` are dispatches of which nobody can tell what they name.
    """

    place: dict[Digest, int] = field(default_factory=dict)
    size: array[int] = field(default_factory=lambda: array("Q"))
    kind: bytearray = field(default_factory=bytearray)
    keep: bytearray = field(default_factory=bytearray)
    last: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    lattice: array[int] = field(default_factory=lambda: array("l"))
    electron: array[int] = field(default_factory=lambda: array("l"))
    named: bytearray = field(default_factory=bytearray)  # 1: as a whole, not only as a part of another
    uses: array[int] = field(default_factory=lambda: array("L"))
    members: dict[int, array[int]] = field(default_factory=dict)
    lattices: list[str] = field(default_factory=list)
    electrons: list[str] = field(default_factory=list)
    gone: set[Digest] = field(default_factory=set)
    strays: list[Digest] = field(default_factory=list)
    dispatches: set[str] = field(default_factory=set)  # of the history, with those of sublattices that belong to it
    unfinished: set[str] = field(default_factory=set)  # those whose nodes are rows still
    orphans: list[str] = field(default_factory=list)  # of sublattices that belong to nothing any more
    unread: list[str] = field(default_factory=list)
    entries: int = 0  # rows of records
    tombstones: int = 0  # of those, whose blobs are not there
    logical: int = 0  # bytes of all results, were each key's stored by itself

    def lattice_of(self, at: int) -> str:
        """The lattice that alone names a blob, "" if several do or none."""
        return self.lattices[self.lattice[at]] if self.lattice[at] >= 0 else ""

    def with_parts(self, at: int) -> int:
        """The bytes that a blob takes with all it is made of."""
        members = self.members.get(at)
        return self.size[at] + (sum(self.size[member] for member in members) if members else 0)

    def is_remembered(self, at: int) -> bool:
        """Whether a dispatch of the history names a blob as a whole."""
        return bool(self.named[at]) and self.lattice[at] != _NOBODY

    def is_shared(self, at: int) -> bool:
        """Whether several lattices name a blob."""
        return self.lattice[at] == _SEVERAL

    def electron_of(self, at: int) -> str:
        """The electron whose result a blob is, "" if that is not known."""
        return self.electrons[self.electron[at]] if self.electron[at] >= 0 else ""

    @property
    def bytes(self) -> int:
        """What all blobs take."""
        return sum(self.size)


def survey_of(store: Store, keep_last: int) -> Survey:
    """Look at a whole store. What is written meanwhile may or may not be in it."""
    survey = Survey()
    in_parts: dict[int, tuple[Digest, ...]] = {}
    for digest, size, members in store.inventory():
        if members:
            in_parts[len(survey.size)] = members
        survey.place[digest] = len(survey.size)
        survey.size.append(size)
    for at, members in in_parts.items():
        survey.members[at] = array("l", (survey.place[member] for member in members if member in survey.place))
    survey.strays = list(store.stray_blobs())
    count = len(survey.size)
    survey.kind, survey.keep, survey.named = bytearray(count), bytearray(count), bytearray(count)
    survey.last, survey.seconds = array("d", bytes(8 * count)), array("d", bytes(8 * count))
    survey.lattice, survey.electron = array("l", [_NOBODY]) * count, array("l", [_NOBODY]) * count
    _History(store, survey, keep_last).read()
    _read_records(store, survey)
    survey.uses = array("L", list(survey.named))
    for at in survey.members:
        if survey.kind[at] != Kind.UNNAMED:
            _pass_on(survey, at)
    return survey


def _pass_on(survey: Survey, at: int) -> None:
    """What a blob in parts is made of is at least what it is itself."""
    for member in survey.members[at]:
        survey.uses[member] += 1
        survey.kind[member] = max(survey.kind[member], survey.kind[at])
        survey.keep[member] = max(survey.keep[member], survey.keep[at])
        survey.last[member] = max(survey.last[member], survey.last[at])
        if survey.electron[member] == _NOBODY:
            survey.electron[member] = survey.electron[at]
        if survey.lattice[member] != survey.lattice[at] != _NOBODY:
            survey.lattice[member] = survey.lattice[at] if survey.lattice[member] == _NOBODY else _SEVERAL


class _History:
    """Goes through the dispatches, those to be kept first, and marks what they name."""

    def __init__(self, store: Store, survey: Survey, keep_last: int) -> None:
        self._store = store
        self._survey = survey
        self._keep_last = keep_last
        self._place_of_lattice: dict[str, int] = {}
        self._marked: set[tuple[str, str]] = set()

    def read(self) -> None:
        kept, others, inner = list[str](), list[str](), dict[str, str]()
        to_keep, count = set(pinned(store=self._store)), Counter[str]()
        running = set[str]()
        for entry in ledger.newest_first(self._store, inner=True):
            if entry.status is Status.RUNNING:
                running.add(entry.id)
            if entry.outer:
                inner[entry.id] = entry.outer
                continue
            count[entry.lattice] += 1
            keeps = entry.id in to_keep or entry.id in running or count[entry.lattice] <= self._keep_last
            (kept if keeps else others).append(entry.id)
        # A running one has no outcome yet that would tell which sublattices belong to it.
        within: dict[str, list[str]] = {}
        for one, outer in inner.items():
            within.setdefault(outer, []).append(one)
        for ids, keep in ((kept, Keep.FOR_NOW), (others, Keep.MAY_GO)):
            todo = ids[::-1]
            while todo:
                one = todo.pop()
                if one not in self._survey.dispatches:
                    self._survey.dispatches.add(one)
                    todo += [*within.get(one, ()), *self._mark(one, keep)]
        orphans = [one for one in inner if one not in self._survey.dispatches]
        for one in orphans:
            if one in running:
                self._mark(one, Keep.FOR_NOW)
                self._survey.dispatches.add(one)
        self._survey.orphans = [one for one in orphans if one not in running]

    def _mark(self, dispatch_id: str, keep: Keep) -> tuple[str, ...]:
        """Mark what one dispatch names; the dispatches of its sublattices."""
        try:
            entry = ledger.get(self._store, dispatch_id)
        except UnknownDispatch:  # removed meanwhile, or that of a sublattice, before
            self._survey.dispatches.discard(dispatch_id)
            return ()
        if not entry.outcome:
            self._survey.unfinished.add(dispatch_id)
        # Dispatches that were answered as a whole share both with the one that answers them.
        if entry.outcome and (entry.manifest, entry.outcome) in self._marked:
            return ()
        self._marked.add((entry.manifest, entry.outcome))
        lattice = self._lattice(entry.lattice)
        for hexed in (entry.manifest, entry.outcome):
            if hexed:
                self._name(bytes.fromhex(hexed), Kind.MANIFESTS, Keep.ALWAYS, lattice, entry)
        try:
            named = named_by(self._store, entry)
        except (BlobMissing, BlobDamaged, CapsuleError, ValueError, KeyError, IndexError, struct.error):
            self._survey.unread.append(dispatch_id)
            return ()
        for blob in named.code:
            self._name(blob, Kind.CODE, Keep.ALWAYS, lattice, entry)
        for blob in named.inputs:
            self._name(blob, Kind.INPUTS, Keep.ALWAYS, lattice, entry)
        for node in named.results:
            how = Keep.ALWAYS if node.is_sample else keep
            self._name(node.blob, Kind.RESULTS, how, lattice, entry)
        return named.inner

    def _name(self, blob: Digest, kind: Kind, keep: Keep, lattice: int, entry: Entry) -> None:
        survey = self._survey
        at = survey.place.get(blob)
        if at is None:
            survey.gone.add(blob)
            return
        survey.named[at] = 1
        survey.kind[at] = max(survey.kind[at], kind)
        survey.keep[at] = max(survey.keep[at], keep)
        survey.last[at] = max(survey.last[at], entry.started)
        if survey.lattice[at] != lattice:
            survey.lattice[at] = lattice if survey.lattice[at] == _NOBODY else _SEVERAL

    def _lattice(self, name: str) -> int:
        at = self._place_of_lattice.setdefault(name, len(self._survey.lattices))
        if at == len(self._survey.lattices):
            self._survey.lattices.append(name)
        return at


def _read_records(store: Store, survey: Survey) -> None:
    place, named, electron = survey.place, survey.named, survey.electron
    place_of: dict[str, int] = {}
    with store.snapshot() as snapshot:
        for table in (Table.RECORDS, Table.CONTENTS):
            is_record = table is Table.RECORDS
            for _, row in snapshot.scan(table):
                survey.entries += is_record
                at = place.get(records.blob_in(row))
                if at is None:
                    survey.tombstones += is_record
                    continue
                if not is_record and named[at] and electron[at] != _NOBODY:
                    continue  # seen as the record of a key already
                head = records.head(row)
                named[at] = 1
                survey.logical += head.size if is_record else 0
                survey.kind[at] = max(survey.kind[at], Kind.RESULTS)
                survey.seconds[at] = max(survey.seconds[at], head.seconds)
                survey.last[at] = max(survey.last[at], head.created)
                if head.is_sample and survey.unread:
                    survey.keep[at] = Keep.ALWAYS  # it may be one of theirs
                if electron[at] == _NOBODY:
                    electron[at] = place_of.setdefault(records.electron_in(row), len(place_of))
    survey.electrons = list(place_of)
