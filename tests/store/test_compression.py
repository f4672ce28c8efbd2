"""Large blobs that shrink may be kept compressed: what comes out, and what it is called, stays what it was."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cas_store import BlobDamaged, CompressionMissing, Delete, PutBlob, Store, StoreError, Table, digest_of
from cas_store.mending import enter_strays

pytest.importorskip("zstandard" if sys.version_info < (3, 14) else "compression.zstd")

SHRINKS, STAYS = np.arange(100_000).tobytes(), os.urandom(300_000)
SIZES = [65_536, 65_537, 5_000_000]

# As if no package were there.
WITHOUT = "sys.modules['zstandard'] = sys.modules['compression.zstd'] = sys.modules['compression'] = None"


def stored(store: Store, *content: bytes, compress: bool) -> Path:
    store.compress = compress
    blob = store.prepare(content)
    store.commit([PutBlob(blob)])
    assert blob.digest == digest_of(*content)
    assert blob.size == len(b"".join(content))
    return store.path / "blobs" / blob.digest.hex()[:2] / blob.digest.hex()


def read(store: Store, path: Path) -> bytes:
    return bytes(store.get_blob(bytes.fromhex(path.name)))


def test_what_shrinks_is_compressed_and_what_does_not_is_mapped(store: Store) -> None:
    small, large = stored(store, SHRINKS, compress=True), stored(store, STAYS, compress=True)
    assert small.stat().st_size < len(SHRINKS) / 2
    assert large.read_bytes() == STAYS
    for _ in range(2):
        assert (read(store, small), read(store, large)) == (SHRINKS, STAYS)
        assert store.find_missing([digest_of(SHRINKS), digest_of(STAYS)]) == set()
        store.close()
    view = store.get_blob(digest_of(SHRINKS))
    view[:4] = b"mine"
    assert read(store, small) == SHRINKS
    assert dict(store.blob_sizes()) == {digest_of(c): p.stat().st_size for c, p in [(SHRINKS, small), (STAYS, large)]}
    assert list((store.path / "tmp").iterdir()) == []


def test_what_shrinks_only_at_its_start_and_end_is_left_as_it_is(store: Store) -> None:
    content = bytes(200_000) + os.urandom(4_000_000) + bytes(200_000)
    assert stored(store, content, compress=True).read_bytes() == content
    assert list((store.path / "tmp").iterdir()) == []


@pytest.mark.parametrize("size", SIZES)
def test_content_of_every_size_comes_back(store: Store, size: int) -> None:
    content = (b"0123456789" * size)[:size]
    path = stored(store, content[:10], b"", content[10:], compress=True)
    assert bytes(store.get_blob(digest_of(content))) == content
    assert path.exists() == (size > 65_536)
    store.close()
    assert bytes(store.get_blob(digest_of(content))) == content


@pytest.mark.parametrize("first", [True, False])
def test_one_blob_is_kept_in_the_form_that_it_came_in_first(store: Store, first: bool) -> None:
    path = stored(store, SHRINKS, compress=first)
    size = path.stat().st_size
    assert stored(store, SHRINKS, compress=not first) == path
    assert path.stat().st_size == size
    assert read(store, path) == SHRINKS


@pytest.mark.parametrize("first", [True, False])
def test_two_that_write_one_blob_in_two_forms_leave_one_that_can_be_read(store: Store, first: bool) -> None:
    store.compress = first
    one = store.prepare([SHRINKS])
    store.compress = not first
    two = store.prepare([SHRINKS])
    futures = [store.submit([PutBlob(blob)]) for blob in (one, two, one)]
    assert bytes(store.get_blob(one.digest)) == SHRINKS
    for future in futures:
        future.result(10)
    assert bytes(store.get_blob(one.digest)) == SHRINKS
    del one, two, futures
    assert list((store.path / "tmp").iterdir()) == []
    store.close()
    assert bytes(store.get_blob(digest_of(SHRINKS))) == SHRINKS
    assert store.damage == []


def test_damage_is_found_before_anything_is_unpacked_and_mended_by_writing_again(store: Store) -> None:
    for at in (0, 5, 1000, -1):
        path = stored(store, SHRINKS, compress=True)
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.chmod(0o600)
        path.write_bytes(content)
        with pytest.raises(BlobDamaged):
            read(store, path)
        assert store.find_missing([digest_of(SHRINKS)]) == {digest_of(SHRINKS)}
    path = stored(store, SHRINKS, compress=True)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BlobDamaged):
        read(store, path)
    assert read(store, stored(store, SHRINKS, compress=False)) == SHRINKS


def test_parts_shrink_each_for_itself(store: Store) -> None:
    store.compress = True
    blob = store.prepare([b"head"], [SHRINKS, STAYS])
    store.commit([PutBlob(blob)])
    assert list(map(bytes, store.get_pieces(blob.digest))) == [b"head", SHRINKS, STAYS]
    sizes = [path.stat().st_size for path in (store.path / "blobs").rglob("*") if path.is_file()]
    assert max(sizes) == len(STAYS)
    assert min(sizes) < len(SHRINKS) / 2


def test_without_the_package_it_says_what_to_install_and_hurts_nothing(store: Store, run: Any) -> None:
    path = stored(store, SHRINKS, compress=True)
    plain = stored(store, STAYS, compress=True)
    told = run(
        f"""
        {WITHOUT}
        store = Store.open(sys.argv[1])
        assert len(store.get_blob(bytes.fromhex(sys.argv[3]))) == 300_000
        assert store.find_missing([bytes.fromhex(sys.argv[2])]) == set()
        try:
            store.get_blob(bytes.fromhex(sys.argv[2]))
        except CompressionMissing as error:
            print(error)
        try:
            store.compress = True
        except StoreError as error:
            print(error)
        """,
        path.name,
        plain.name,
    ).stdout
    assert told.count("pip install 'cas-run[zstd]'") == 2
    assert path.name[:12] in told
    assert issubclass(CompressionMissing, StoreError)
    assert read(store, path) == SHRINKS
    assert store.damage == []


def test_a_killed_writer_leaves_nothing_that_is_taken_for_damage(store: Store) -> None:
    """Between the rename and the commit the file is there without its row, which says that it is compressed."""
    path = stored(store, SHRINKS, compress=True)
    packed = path.read_bytes()
    store.commit([Delete(Table.BLOBS, digest_of(SHRINKS) + b"\x01")])
    assert store.find_missing([digest_of(SHRINKS)]) == {digest_of(SHRINKS)}
    with pytest.raises(StoreError, match="not in the store"):
        read(store, path)
    assert path.read_bytes() == packed
    assert read(store, stored(store, SHRINKS, compress=True)) == SHRINKS
    assert store.damage == []


def test_one_whose_row_was_lost_is_entered_again_if_it_is_whole(store: Store) -> None:
    whole, torn = stored(store, SHRINKS, compress=True), stored(store, SHRINKS * 2, compress=True)
    plain = stored(store, STAYS, compress=False)
    store.commit([Delete(Table.BLOBS, bytes.fromhex(path.name) + b"\x01") for path in (whole, plain, torn)])
    torn.chmod(0o600)
    os.truncate(torn, torn.stat().st_size - 1)
    assert len(store.find_missing([digest_of(SHRINKS), digest_of(STAYS)])) == 2
    assert enter_strays(store) == 2
    assert enter_strays(store) == 0
    assert (read(store, whole), read(store, plain)) == (SHRINKS, STAYS)
    assert store.find_missing([digest_of(SHRINKS * 2)])
