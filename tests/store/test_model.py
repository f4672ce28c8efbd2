"""Whatever is done to a store, in whatever order, it answers as a dict would."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cas_store import BlobMissing, Delete, Insert, Put, PutBlob, Store, Table, digest_of

tables = st.sampled_from([Table.RECORDS, Table.NODES])
keys = st.sampled_from([b"\x00", b"a", b"aa", b"ab", b"b", b"\xff", b"\xff\xff"])
values = st.binary(max_size=40)
contents = st.builds(lambda seed, size: bytes([seed]) * size, st.integers(0, 3), st.sampled_from([0, 5, 70_000]))
writes = st.one_of(
    st.builds(Put, tables, keys, values), st.builds(Insert, tables, keys, values), st.builds(Delete, tables, keys)
)


class StoreAsDict(RuleBasedStateMachine):
    @initialize()
    def found(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cas-run-"))
        self.store = Store.open(self.folder / "store", map_size=1 << 18)
        self.rows: dict[tuple[Table, bytes], bytes] = {}
        self.blobs: dict[bytes, bytes] = {}

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    def apply(self, batch: Any) -> None:
        for write in batch:
            if isinstance(write, Put):
                self.rows[write.table, write.key] = write.value
            elif isinstance(write, Insert):
                self.rows.setdefault((write.table, write.key), write.value)
            else:
                self.rows.pop((write.table, write.key), None)

    @rule(batch=st.lists(writes, max_size=6))
    def commit(self, batch: Any) -> None:
        self.store.commit(batch)
        self.apply(batch)

    @rule(batches=st.lists(st.lists(writes, max_size=4), max_size=5))
    def submit(self, batches: Any) -> None:
        futures = [self.store.submit(batch) for batch in batches]
        for batch, future in zip(batches, futures, strict=True):
            future.result(10)
            self.apply(batch)

    @rule(some=st.lists(contents, max_size=3))
    def put_blobs(self, some: Any) -> None:
        prepared = [self.store.prepare([content[:3], content[3:]]) for content in some]
        self.store.commit([PutBlob(blob) for blob in prepared])
        self.blobs.update(zip((blob.digest for blob in prepared), some, strict=True))

    @rule(some=st.lists(contents, max_size=3))
    def look_for_blobs(self, some: Any) -> None:
        digests = [digest_of(content) for content in some]
        assert self.store.find_missing(digests) == set(digests) - self.blobs.keys()
        for digest in digests:
            if digest in self.blobs:
                assert self.store.get_blob(digest) == self.blobs[digest]
            else:
                with pytest.raises(BlobMissing):
                    self.store.get_blob(digest)

    @rule()
    def close(self) -> None:
        self.store.close()

    @rule(table=tables, prefix=st.sampled_from([b"", b"a", b"aa", b"\xff", b"c"]), reverse=st.booleans())
    def scan(self, table: Any, prefix: bytes, reverse: bool) -> None:
        expected = sorted((key, value) for (where, key), value in self.rows.items() if where is table)
        expected = [(key, value) for key, value in expected if key.startswith(prefix)]
        with self.store.snapshot() as snap:
            assert list(snap.scan(table, prefix, reverse=reverse)) == (expected[::-1] if reverse else expected)

    @invariant()
    def every_row_is_as_expected(self) -> None:
        with self.store.snapshot() as snap:
            for (table, key), value in self.rows.items():
                assert snap.get(table, key) == value
                assert snap.has(table, key)
        assert self.store.damage == []


StoreAsDict.TestCase.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestStoreAsDict = StoreAsDict.TestCase
