"""A large file is read through before anything of it is used, unless it looks as it did when that was done last."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cas_store import BlobDamaged, BlobMissing, PutBlob, Store, Verify

LARGE = bytes(range(256)) * 4000

# Bytes that a process reads from files by system calls; what is mapped does not count.
READER = """
def read_so_far():
    return int(Path("/proc/self/io").read_text().split()[1])

store, digest = Store.open(sys.argv[1], create=False), bytes.fromhex(sys.argv[2])
store.verify = Verify(sys.argv[3])
counts = []
for _ in range(3):
    before = read_so_far()
    view = store.get_blob(digest)
    counts.append((read_so_far() - before) // len(view))
    assert bytes(view[:3]) == bytes([0, 1, 2])
print(*counts)
"""

needs_proc = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="nothing here counts what a process reads")


def stored(store: Store, content: bytes = LARGE) -> Path:
    blob = store.prepare([content])
    store.commit([PutBlob(blob)])
    return store.path / "blobs" / blob.digest.hex()[:2] / blob.digest.hex()


@pytest.fixture
def reads(run: Any) -> Any:
    """How often a new process reads a file through that it asks for three times."""

    def reads(path: Path, verify: Verify = Verify.BOOT) -> list[int]:
        return [int(each) for each in run(READER, path.name, verify.value).stdout.split()]

    return reads


def flip(path: Path) -> None:
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"!")


def next_tick(path: Path) -> None:
    """Wait until the clock of the file system has moved on since anything was done to a file."""
    probe = path.with_name("probe")
    while True:
        probe.touch()
        if probe.stat().st_mtime_ns > path.stat().st_ctime_ns:
            break
        time.sleep(0.001)
    probe.unlink()


@needs_proc
def test_what_was_written_or_read_in_this_boot_is_not_read_again(store: Store, reads: Any) -> None:
    path = stored(store)
    assert reads(path) == [0, 0, 0]
    assert reads(path, Verify.PROCESS) == [1, 0, 0]
    assert reads(path, Verify.ALWAYS) == [1, 1, 1]
    # That an equal one is stored again gives the file another name for a while, and that a new time.
    before = path.stat().st_ctime_ns
    next_tick(path)
    stored(store)
    assert path.stat().st_ctime_ns > before
    assert reads(path) == [0, 0, 0]


@needs_proc
def test_what_nobody_read_in_this_boot_is_read_by_the_first_and_by_no_other(store: Store, reads: Any) -> None:
    path = stored(store)
    store.close()
    shutil.rmtree(store.path / "scratch")
    os.utime(path, (1, 1))
    while time.time_ns() - path.stat().st_ctime_ns < 2.2e9:  # one that was touched just now is not to be relied upon
        time.sleep(0.1)
    assert [reads(path) for _ in range(3)] == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


@needs_proc
def test_a_touched_file_and_a_copy_are_read(store: Store, reads: Any, tmp_path: Path) -> None:
    path = stored(store)
    next_tick(path)
    path.touch()
    assert [reads(path) for _ in range(2)] == [[1, 0, 0], [1, 0, 0]]
    stored(store)
    assert reads(path) == [0, 0, 0]
    store.close()
    shutil.copytree(store.path, tmp_path / "copy")
    shutil.rmtree(store.path)
    (tmp_path / "copy").rename(store.path)
    assert reads(path) == [1, 0, 0]


@pytest.mark.parametrize("verify", Verify)
def test_a_bit_that_is_flipped_right_after_writing_or_reading_is_found(store: Store, verify: Verify) -> None:
    store.verify = verify
    for n in range(20):
        path = stored(store, LARGE + b"%d" % n)
        if n % 2:
            assert store.get_blob(bytes.fromhex(path.name))[-1:] == b"%d" % (n % 10)
        flip(path)
        with pytest.raises(BlobDamaged):
            store.get_blob(bytes.fromhex(path.name))
        with pytest.raises(BlobMissing):
            store.get_blob(bytes.fromhex(path.name))


@pytest.mark.parametrize("verify", Verify)
def test_a_flipped_bit_is_found_though_the_time_of_the_bytes_was_set_back(store: Store, verify: Verify) -> None:
    store.verify = verify
    path = stored(store)
    before = path.stat()
    next_tick(path)
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(BlobDamaged):
        store.get_blob(bytes.fromhex(path.name))


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("verify", Verify)
def test_a_bit_that_is_flipped_on_the_way_in_is_found(store: Store, verify: Verify, linked: bool) -> None:
    store.verify = verify
    if linked:
        stored(store)
    blob = store.prepare([LARGE])
    assert blob.temporary is not None
    flip(blob.temporary.path)
    store.commit([PutBlob(blob)])
    with pytest.raises(BlobDamaged):
        store.get_blob(blob.digest)


def test_a_store_travels_with_what_was_chosen(store: Store) -> None:
    import pickle

    store.verify = Verify.ALWAYS
    again = pickle.loads(pickle.dumps(store))
    assert again is store
    assert again.verify is Verify.ALWAYS


def test_a_file_has_one_mode_whatever_the_umask(store: Store) -> None:
    before = os.umask(0o777)
    try:
        path = stored(store)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o400
    assert store.get_blob(bytes.fromhex(path.name)) == LARGE


def test_where_files_cannot_have_two_names_an_equal_one_is_written_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    path = stored(store)
    monkeypatch.setattr(os, "link", refused)
    assert stored(store) == path
    assert store.get_blob(bytes.fromhex(path.name)) == LARGE
    assert list((store.path / "tmp").iterdir()) == []


@pytest.mark.parametrize("compress", [False, True])
def test_memory_that_changes_while_it_is_written_gives_a_blob_that_has_its_digest(run: Any, compress: bool) -> None:
    if compress:
        pytest.importorskip("zstandard" if sys.version_info < (3, 14) else "compression.zstd")
    run(
        """
        memory = bytearray(3_000_000)
        def change(event, arguments):
            if event == "open" and "store/tmp/" in str(arguments[0]) and arguments[2] & os.O_CREAT:
                memory[1_500_000] += 1  # after the first digest, before it is written
        store = Store.open(sys.argv[1])
        store.compress = sys.argv[2] == "True"
        sys.addaudithook(change)
        one = store.prepare([memory])
        two = store.prepare([b"head"], [memory])
        store.commit([PutBlob(one), PutBlob(two)])
        assert memory[1_500_000] == 2
        for verify in (Verify.BOOT, Verify.ALWAYS):
            store.verify = verify
            found = store.get_blob(one.digest)
            assert digest_of(found) == one.digest
            assert found[1_500_000] == 1
            assert store.get_pieces(two.digest)[1][1_500_000] == 2
        """,
        compress,
    )
