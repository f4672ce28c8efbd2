"""A blob in parts is a head and parts, each stored once whatever blobs have it; without one of them it is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cas_store import (
    BlobDamaged,
    BlobEvicted,
    BlobMissing,
    Need,
    PreparedBlob,
    PutBlob,
    Store,
    StoreError,
    Victim,
    digest_of,
)

HEAD = b"head"
LARGE, OTHER, SMALL = bytes(range(256)) * 1000, bytes(range(255)) * 1000, b"small"


def stored(store: Store, head: bytes, *parts: bytes) -> PreparedBlob:
    blob = store.prepare([head], parts)
    store.commit([PutBlob(blob)])
    return blob


def pieces(store: Store, blob: PreparedBlob) -> list[bytes]:
    return list(map(bytes, store.get_pieces(blob.digest)))


def files(store: Store) -> list[Path]:
    return [path for path in (store.path / "blobs").rglob("*") if path.is_file()]


def test_what_went_in_comes_out_piece_by_piece_or_as_one(store: Store) -> None:
    blob = stored(store, HEAD, LARGE, SMALL, OTHER, LARGE)
    for _ in range(2):
        assert pieces(store, blob) == [HEAD, LARGE, SMALL, OTHER, LARGE]
        assert store.get_blob(blob.digest) == HEAD + LARGE + SMALL + OTHER + LARGE
        assert blob.size == len(HEAD + LARGE + SMALL + OTHER + LARGE)
        assert store.find_missing([blob.digest]) == set()
        store.close()
    assert [piece.readonly for piece in store.get_pieces(blob.digest)] == [True, False, True, False, False]


def test_a_part_is_stored_once_whatever_blobs_have_it(store: Store) -> None:
    alone = stored(store, LARGE)
    assert len(files(store)) == 1
    one, two = stored(store, b"one", LARGE, LARGE), stored(store, b"two", LARGE)
    assert [path.stat().st_size for path in files(store)] == [len(LARGE)]
    assert pieces(store, two) == [b"two", LARGE]
    assert len({alone.digest, one.digest, two.digest}) == 3
    assert list((store.path / "tmp").iterdir()) == []


def test_many_parts_are_written_side_by_side_and_come_back_in_order(store: Store) -> None:
    parts = [b"%03d" % (n % 150) * 30_000 if n % 3 else b"%d" % n for n in range(200)]
    blob = stored(store, HEAD, *parts)
    assert pieces(store, blob) == [HEAD, *parts]
    assert len(files(store)) == len({part for part in parts if len(part) > 65_536})
    assert list((store.path / "tmp").iterdir()) == []


def test_one_part_that_cannot_be_written_fails_the_blob_and_leaves_nothing(store: Store) -> None:
    (store.path / "tmp").rmdir()
    with pytest.raises(StoreError):
        store.prepare([HEAD], [LARGE, OTHER, LARGE + OTHER])
    (store.path / "tmp").mkdir()
    assert pieces(store, stored(store, HEAD, LARGE, OTHER)) == [HEAD, LARGE, OTHER]


def test_where_a_part_ends_counts_in_the_digest(store: Store) -> None:
    blobs = [
        store.prepare([HEAD], [LARGE + OTHER]),
        store.prepare([HEAD], [LARGE, OTHER]),
        store.prepare([HEAD], [OTHER, LARGE]),
        store.prepare([HEAD + LARGE], [OTHER]),
        store.prepare([HEAD + LARGE + OTHER]),
    ]
    assert len({blob.digest for blob in blobs}) == len(blobs)


def test_it_can_be_read_while_it_is_being_written(store: Store) -> None:
    blobs = [store.prepare([b"%d" % n], [LARGE + b"%d" % n, LARGE]) for n in range(10)]
    futures = []
    for n, blob in enumerate(blobs):
        with pytest.raises(BlobMissing):
            store.get_pieces(blob.digest)
        futures.append(store.submit([PutBlob(blob)]))
        assert pieces(store, blob) == [b"%d" % n, LARGE + b"%d" % n, LARGE]
        assert store.find_missing([blob.digest]) == set()
    for future in futures:
        future.result(10)
    assert len(files(store)) == 11


@pytest.mark.parametrize("lost", [LARGE, OTHER])
def test_without_one_of_its_parts_it_is_missing_and_comes_back_with_it(store: Store, lost: bytes) -> None:
    blob = stored(store, HEAD, LARGE, OTHER)
    (store.path / "blobs" / digest_of(lost).hex()[:2] / digest_of(lost).hex()).unlink()
    assert store.find_missing([blob.digest]) == {blob.digest}
    with pytest.raises(BlobMissing) as caught:
        store.get_pieces(blob.digest)
    assert caught.value.digest == blob.digest
    assert stored(store, HEAD, LARGE, OTHER).digest == blob.digest
    assert pieces(store, blob) == [HEAD, LARGE, OTHER]


def test_with_a_damaged_part_it_is_damaged_then_missing(store: Store) -> None:
    blob = stored(store, HEAD, LARGE, OTHER)
    path = store.path / "blobs" / digest_of(OTHER).hex()[:2] / digest_of(OTHER).hex()
    path.chmod(0o600)
    path.write_bytes(OTHER[:-1] + b"x")
    with pytest.raises(BlobDamaged) as caught:
        store.get_pieces(blob.digest)
    assert caught.value.digest == blob.digest
    assert [damage.key for damage in store.damage] == [digest_of(OTHER)]
    assert store.find_missing([blob.digest, digest_of(LARGE)]) == {blob.digest}


def test_all_that_is_kept_for_a_blob_can_be_told(store: Store) -> None:
    blob, plain = stored(store, HEAD, LARGE, SMALL), stored(store, OTHER)
    nothing = digest_of(b"nothing")
    parts = {digest_of(HEAD), digest_of(LARGE), digest_of(SMALL)}
    assert store.made_of([blob.digest, plain.digest, nothing]) == {blob.digest, plain.digest, nothing, *parts}


def test_a_process_killed_on_the_way_leaves_all_of_it_or_nothing(store: Store, start: Any) -> None:
    for after in range(1, 26, 3):
        process = start(
            """
            n, calls = int(sys.argv[2]), 0
            def trace(event, arguments):
                global calls
                if event not in ("os.rename", "os.link", "open", "os.remove", "os.mkdir"):
                    return
                calls += 1
                if calls == n:
                    os.kill(os.getpid(), 9)
            store = Store.open(sys.argv[1])
            sys.addaudithook(trace)
            store.commit([PutBlob(store.prepare([b"%d" % n], [bytes([n]) * 90_000, b"x" * 80_000]))])
            os._exit(0)
            """,
            after,
        )
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, -9), err
        blob = store.prepare([b"%d" % after], [bytes([after]) * 90_000, b"x" * 80_000])
        if not store.find_missing([blob.digest]):
            assert pieces(store, blob) == [b"%d" % after, bytes([after]) * 90_000, b"x" * 80_000]
        store.commit([PutBlob(blob)])
        assert pieces(store, blob)[2] == b"x" * 80_000
    assert store.damage == []


def test_a_sweep_takes_what_says_that_it_is_in_parts_and_leaves_parts_that_others_have(store: Store) -> None:
    one, two, plain = stored(store, HEAD, LARGE, OTHER), stored(store, b"two", LARGE), stored(store, OTHER + b".")
    sizes = dict(store.blob_sizes())
    assert set(sizes) == store.made_of([one.digest, two.digest, plain.digest])
    assert (sizes[digest_of(LARGE)], sizes[plain.digest]) == (len(LARGE), len(OTHER) + 1)
    unneeded = sorted(set(sizes) - store.made_of([two.digest, plain.digest]))
    with store.barrier() as barrier:
        taken = dict(store.take(barrier, [Victim(digest, evicted=digest == one.digest) for digest in unneeded]))
    assert set(taken) == {one.digest, digest_of(HEAD), digest_of(OTHER)}
    assert pieces(store, two) == [b"two", LARGE]
    with pytest.raises(BlobEvicted):
        store.get_pieces(one.digest)
    assert store.find_missing([one.digest, two.digest]) == {one.digest}
    assert len(files(store)) == 2


@pytest.mark.parametrize("how", ["published", "needed", "held"])
def test_a_part_of_what_is_named_while_a_sweep_goes_on_stays(store: Store, how: str) -> None:
    blob = stored(store, HEAD, LARGE)
    everything = [Victim(digest, evicted=False) for digest, _ in store.blob_sizes()]
    if how == "held":
        store.hold(b"h" * 16, [blob.digest])
    with store.barrier() as barrier:
        if how == "published":
            stored(store, HEAD, LARGE)
        if how == "needed":
            store.commit([Need(blob.digest)])
        assert list(store.take(barrier, everything)) == []
    assert pieces(store, blob) == [HEAD, LARGE]
    store.let_go(b"h" * 16)
    with store.barrier() as barrier:
        assert len(list(store.take(barrier, everything))) == 3
    with pytest.raises(BlobMissing):
        store.commit([Need(blob.digest)])
