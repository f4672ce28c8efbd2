"""A blob is the bytes of its digest, stored once, or it is missing; there is nothing in between."""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cas_store import (
    BlobDamaged,
    BlobMissing,
    PutBlob,
    Store,
    StoreError,
    StoreRefused,
    digest_from_hex,
    digest_of,
    hex_of,
)

SMALL, LARGE = b"small", bytes(range(256)) * 1000


def stored(store: Store, content: bytes) -> bytes:
    blob = store.prepare([content])
    store.commit([PutBlob(blob)])
    return blob.digest


def file_of(store: Store, digest: bytes) -> Path:
    return store.path / "blobs" / digest.hex()[:2] / digest.hex()


def test_a_digest_is_of_the_concatenation() -> None:
    assert digest_of(b"ab", b"c") == digest_of(b"abc") == digest_of(memoryview(b"a"), b"", b"bc")
    assert digest_of(LARGE, b"x") == digest_of(LARGE + b"x")
    assert digest_from_hex(hex_of(digest_of(b"abc"))) == digest_of(b"abc")
    for text in ("", "00", "0" * 31, "x" * 32, " " + "0" * 32):
        with pytest.raises(ValueError, match=r"digest|hexadecimal"):
            digest_from_hex(text)


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1_000_000])
def test_what_went_in_comes_out(store: Store, size: int) -> None:
    content = os.urandom(size)
    blob = store.prepare([content[: size // 2], b"", memoryview(content)[size // 2 :]])
    assert (blob.digest, blob.size) == (digest_of(content), size)
    store.commit([PutBlob(blob)])
    assert store.get_blob(blob.digest) == content
    store.close()
    assert store.get_blob(blob.digest) == content


def test_pieces_may_be_arrays_of_any_shape(store: Store) -> None:
    array = np.arange(60_000.0).reshape(2, 300, 100)
    blob = store.prepare([b"head", array.data, np.empty((0, 3)).data])
    store.commit([PutBlob(blob)])
    assert store.get_blob(blob.digest) == b"head" + array.tobytes()


def test_a_large_blob_is_writable_at_no_harm_to_the_store(store: Store) -> None:
    digest = stored(store, LARGE)
    view = store.get_blob(digest)
    array = np.frombuffer(view, dtype=np.uint8)
    array[:] = 7
    assert store.get_blob(digest) == LARGE
    assert file_of(store, digest).read_bytes() == LARGE
    assert file_of(store, digest).stat().st_mode & 0o777 == 0o400


def test_a_view_outlives_the_store_and_the_file(store: Store) -> None:
    views = [store.get_blob(stored(store, content)) for content in (SMALL, LARGE)]
    file_of(store, digest_of(LARGE)).unlink()
    store.close()
    assert views == [SMALL, LARGE]


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_a_submitted_blob_can_be_read_at_once(store: Store, content: bytes) -> None:
    blobs = [store.prepare([content, b"%d" % n]) for n in range(30)]
    futures = []
    for n, blob in enumerate(blobs):
        futures.append(store.submit([PutBlob(blob)]))
        assert store.get_blob(blob.digest) == content + b"%d" % n
        assert store.find_missing([blob.digest]) == set()
    for future in futures:
        future.result(10)
    for n, blob in enumerate(blobs):
        assert store.get_blob(blob.digest) == content + b"%d" % n


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_a_prepared_blob_is_not_in_the_store_yet(store: Store, content: bytes) -> None:
    blob = store.prepare([content])
    assert store.find_missing([blob.digest, digest_of(b"other")]) == {blob.digest, digest_of(b"other")}
    with pytest.raises(BlobMissing) as caught:
        store.get_blob(blob.digest)
    assert caught.value.digest == blob.digest


def test_one_prepared_blob_may_be_put_many_times(store: Store) -> None:
    blob = store.prepare([LARGE])
    for _ in range(2):
        futures = [store.submit([PutBlob(blob)]) for _ in range(3)]
        for future in futures:
            future.result(10)
    assert store.get_blob(blob.digest) == LARGE


def test_equal_blobs_are_stored_once(store: Store) -> None:
    digest = stored(store, LARGE)
    before = file_of(store, digest).stat()
    assert stored(store, LARGE) == digest
    after = file_of(store, digest).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_what_is_not_published_leaves_no_file_behind(store: Store) -> None:
    kept = store.prepare([LARGE])
    lost = store.prepare([LARGE, b"other"])
    assert len(list((store.path / "tmp").iterdir())) == 2
    del lost
    gc.collect()
    store.commit([PutBlob(kept)])
    store.commit([PutBlob(store.prepare([LARGE]))])
    del kept
    gc.collect()
    assert list((store.path / "tmp").iterdir()) == []


def test_what_a_killed_process_left_is_swept_by_the_next(store: Store, run: Any) -> None:
    run("blob = Store.open(sys.argv[1]).prepare([b'x' * 100_000]); os.kill(os.getpid(), 9)", status=-9)
    assert len(list((store.path / "tmp").iterdir())) == 1
    mine = store.prepare([LARGE])
    run("Store.open(sys.argv[1])")
    assert [path.name[:32] for path in (store.path / "tmp").iterdir()] == [store.owner.hex()]
    store.commit([PutBlob(mine)])


def test_an_equal_blob_swept_between_preparing_and_publishing_is_put_back(store: Store) -> None:
    digest = stored(store, LARGE)
    again = store.prepare([LARGE])
    file_of(store, digest).unlink()
    store.commit([PutBlob(again)])
    assert store.get_blob(digest) == LARGE


def test_a_blob_whose_file_is_gone_is_missing(store: Store) -> None:
    digest = stored(store, LARGE)
    file_of(store, digest).unlink()
    assert store.find_missing([digest]) == {digest}
    with pytest.raises(BlobMissing):
        store.get_blob(digest)
    assert stored(store, LARGE) == digest
    assert store.get_blob(digest) == LARGE


def test_a_damaged_blob_is_replaced_by_the_next_that_is_equal(store: Store) -> None:
    digest = stored(store, LARGE)
    hurt(file_of(store, digest), 1000)
    assert stored(store, LARGE) == digest
    assert store.get_blob(digest) == LARGE
    assert [(damage.table, damage.key) for damage in store.damage] == [("blobs", digest)]


@pytest.mark.parametrize("cut", [None, 0, 100])
def test_a_damaged_file_is_quarantined_never_returned(store: Store, cut: int | None) -> None:
    digest = stored(store, LARGE)
    hurt(file_of(store, digest), 1000, cut)
    with pytest.raises(BlobDamaged) as caught:
        store.get_blob(digest)
    assert caught.value.digest == digest
    with pytest.raises(BlobMissing):
        store.get_blob(digest)
    kept = store.damage[0].kept
    assert kept is not None
    assert kept.parent == store.path / "quarantine"
    assert kept.stat().st_size == (len(LARGE) if cut is None else cut)


def test_a_damaged_file_that_was_replaced_meanwhile_is_left_alone(store: Store) -> None:
    digest = stored(store, LARGE)
    hurt(file_of(store, digest), 1000)
    found = file_of(store, digest).stat()
    file_of(store, digest).unlink()
    store._quarantine.file(digest, (found.st_dev, found.st_ino + 1), digest + b"\x01", len(LARGE).to_bytes(8, "big"))
    assert stored(store, LARGE) == digest
    store._quarantine.file(digest, (found.st_dev, found.st_ino + 1), digest + b"\x01", len(LARGE).to_bytes(8, "big"))
    assert store.get_blob(digest) == LARGE


def test_a_batch_whose_temporary_file_is_gone_fails_alone(store: Store) -> None:
    good, bad = store.prepare([LARGE]), store.prepare([LARGE, b"bad"])
    assert bad.temporary is not None
    bad.temporary.path.unlink()
    futures = [store.submit([PutBlob(blob)]) for blob in (good, bad, store.prepare([SMALL]))]
    with pytest.raises(BlobMissing):
        futures[1].result(10)
    futures[0].result(10)
    futures[2].result(10)
    assert store.find_missing([good.digest, bad.digest, digest_of(SMALL)]) == {bad.digest}


def test_more_large_blobs_can_be_held_than_files_may_be_open(run: Any) -> None:
    run("""
        import resource
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (50, hard))
        store = Store.open(sys.argv[1])
        blobs = [store.prepare([b"%d," % n * 40_000]) for n in range(60)]
        store.commit([PutBlob(blob) for blob in blobs])
        held = [store.get_blob(blob.digest) for blob in blobs]
        assert all(view[:3] == b"%d," % n for n, view in enumerate(held) if 10 <= n)
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
    """)


def test_where_no_more_files_may_be_open_what_is_held_is_copied_and_leaves_room_for_others(run: Any) -> None:
    run("""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
        store = Store.open(sys.argv[1])
        blobs = [store.prepare([b"%d," % n * 40_000]) for n in range(80)]
        store.commit([PutBlob(blob) for blob in blobs])
        held = [store.get_blob(blob.digest) for blob in blobs]
        assert all(view[:3] == b"%d," % n for n, view in enumerate(held) if 10 <= n)
        held[50][0] = 0
        more = [open(os.devnull) for _ in range(10)]
    """)


def test_folders_on_two_file_systems_are_refused_by_that_name(store: Store, tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system here to write to")
    blobs, real = store.path / "blobs", store.path / "real"
    blobs.rename(real)
    with tempfile.TemporaryDirectory(dir=memory) as elsewhere:
        blobs.symlink_to(elsewhere)
        with pytest.raises(StoreRefused, match="different file systems"):
            stored(store, LARGE)
    blobs.unlink()
    real.rename(blobs)
    assert store.get_blob(stored(store, LARGE)) == LARGE


def test_a_symbolic_link_is_no_blob(store: Store, tmp_path: Path) -> None:
    digest = stored(store, LARGE)
    (tmp_path / "elsewhere").write_bytes(LARGE)
    file_of(store, digest).unlink()
    file_of(store, digest).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        store.get_blob(digest)


def hurt(path: Path, at: int, cut: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.chmod(0o600)
    path.write_bytes(content[:cut])
