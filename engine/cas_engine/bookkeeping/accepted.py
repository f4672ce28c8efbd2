"""The fingerprints that go into keys, with what the user accepted as the same followed to what it is the same as."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from cas_engine.fingerprint.environment import effective_with
from cas_store.digest import Digest
from cas_store.store import Store
from cas_store.tables import Table

PREFIX = b"accepted:"  # in META, before a fingerprint: what it counts as, with who said so


class Accepted:
    """The effective fingerprint of code, here and now, with what was accepted followed.

    `recorded` are versions, by code, that count as they were recorded.
    """

    def __init__(self, store: Store, recorded: Mapping[Digest, Mapping[str, str]] | None = None) -> None:
        self._store = store
        self._recorded = recorded or {}
        self._known: dict[tuple[Digest, tuple[str, ...]], Digest] = {}

    def __call__(self, code: Digest, packages: tuple[str, ...]) -> Digest:
        """As `effective`, but that of the code which this is accepted to be the same as."""
        found = self._known.get((code, packages))
        if found is None:
            found = self._known[code, packages] = self._followed(
                effective_with(code, packages, self._recorded.get(code, {}))
            )
        return found

    def _followed(self, fingerprint: Digest) -> Digest:
        seen = {fingerprint}
        while (row := self._store.get(Table.META, PREFIX + fingerprint)) is not None:
            fingerprint = bytes.fromhex(json.loads(row)["old"])
            if fingerprint in seen:
                break
            seen.add(fingerprint)
        return fingerprint


def note_of(store: Store, fingerprint: Digest) -> str:
    """Who took code for the same as what it was before, when, and as in which dispatch; "" if nobody did."""
    row = store.get(Table.META, PREFIX + fingerprint)
    if row is None:
        return ""
    made = json.loads(row)
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(made["when"]))
    return f"counts as in {made['against'][:12]}: accepted by {made['who']}, {when}"
