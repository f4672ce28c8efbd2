"""The electrons that a store knows: those of every dispatch in its history, found without loading any of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.answers import load_manifest
from cas_engine.errors import AmbiguousElectron, CapsuleError, UnknownElectron
from cas_engine.graphs.graph import Row
from cas_engine.plans.policy import nearest
from cas_store.errors import BlobDamaged, BlobMissing
from cas_store.store import Store
from cas_store.tables import Table

_SHORTEST = 8  # digits of a fingerprint that stand for it


@dataclass(frozen=True, slots=True)
class Known:
    """An electron as one dispatch recorded it: to be given to `redispatch` in the place of a function."""

    row: Row
    dispatch_id: str

    @property
    def fingerprint(self) -> str:
        """That of its code, in hex."""
        return self.row.code.hex()


class KnownElectrons:
    """An index that is brought up to date when it is asked. One thread at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: set[bytes] = set()  # rows of the order of time
        self._manifests: set[str] = set()
        self._found: dict[tuple[str, str], Known] = {}  # by name and fingerprint, as the newest dispatch has it

    def all(self) -> list[Known]:
        """Each name with each code that it has had, the newest first."""
        self._refresh()
        return [*reversed(self._found.values())]

    def named(self, text: str) -> Known:
        """The one of this name, or fingerprint, or beginning of one. Raises UnknownElectron, AmbiguousElectron."""
        found = self._matching(text)
        gone = [one for one in found if not self._is_there(one)]
        if gone:
            self._forget()
            found = [one for one in self._matching(text) if self._is_there(one)]
        if not found:
            names = {one.row.name for one in self._found.values()}
            raise UnknownElectron(text, nearest(text, names), sorted(names))
        if len({one.fingerprint for one in found}) > 1:
            places = [f"{one.fingerprint} in dispatch {one.dispatch_id[:12]}" for one in found]
            raise AmbiguousElectron(text, places)
        return found[0]

    def _matching(self, text: str) -> list[Known]:
        everything = self.all()
        named = [one for one in everything if one.row.name == text]
        if named or len(text) < _SHORTEST or text.strip("0123456789abcdef"):
            return named
        return [one for one in everything if one.fingerprint.startswith(text)]

    def _is_there(self, one: Known) -> bool:
        is_known = self._store.get(Table.DISPATCHES, bytes.fromhex(one.dispatch_id)) is not None
        return is_known and not self._store.find_missing([one.row.capsule])

    def _refresh(self) -> None:
        with self._store.snapshot() as snapshot:
            keys = [key for key, _ in snapshot.scan(Table.TIMELINE)]
        new = [key for key in keys if key not in self._seen]
        for key in new:  # in the order of time: what is later replaces what was
            self._seen.add(key)
            row = self._store.get(Table.DISPATCHES, key[8:])
            if row is not None and (entry := ledger.loads(row)).manifest not in self._manifests:
                self._manifests.add(entry.manifest)
                try:
                    manifest = load_manifest(self._store, entry)
                except (BlobMissing, BlobDamaged, CapsuleError):
                    continue
                self._enter([*manifest.graph.rows, *manifest.replaced], entry.id)

    def _enter(self, rows: Iterable[Row], dispatch_id: str) -> None:
        for row in rows:
            key = (row.name, row.code.hex())
            self._found.pop(key, None)
            self._found[key] = Known(row, dispatch_id)

    def _forget(self) -> None:
        self._seen, self._manifests, self._found = set(), set(), {}


def known_in(store: Store, dispatch_id: str, name: str, fingerprint: str) -> Known:
    """The electron that a dispatch recorded. Raises UnknownElectron."""
    manifest = load_manifest(store, ledger.get(store, dispatch_id))
    for row in [*manifest.graph.rows, *manifest.replaced]:
        if row.name == name and row.code.hex() == fingerprint:
            return Known(row, dispatch_id)
    raise UnknownElectron(name)
