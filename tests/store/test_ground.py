"""A folder that is not fit is refused with advice: never a crash, never a fresh store in silence."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest

from cas_store import (
    CasRunError,
    Put,
    PutBlob,
    Store,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreMissing,
    StoreRefused,
    StoreReplaced,
    StoreTooNew,
    Table,
)
from cas_store.ground import file_system_of


@pytest.fixture
def closed(tmp_path: Path, run: Any) -> Path:
    """The folder of a store that another process made and left."""
    run("Store.open(sys.argv[1]).commit([Put(Table.RECORDS, b'a', b'1')])")
    return tmp_path / "store"


def refused(path: Path, kind: type[CasRunError], words: str, *, create: bool = True) -> None:
    before = sorted(path.rglob("*")) if path.is_dir() else None
    with pytest.raises(kind, match="(?s)" + words) as caught:
        Store.open(path, create=create)
    assert "\n  -> " in str(caught.value)
    assert before is None or sorted(path.rglob("*")) == before


def test_a_new_folder_is_private_to_its_owner(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a" / "b") as store:
        store.commit([PutBlob(store.prepare([bytes(100_000)]))])
        assert store.claim([b"k"], b"h" * 16) == [None]
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "a" / "b").rglob("*"):
        assert not path.stat().st_mode & 0o077, path


def test_an_empty_folder_may_become_a_store_another_may_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    Store.open(tmp_path / "empty").close()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    refused(tmp_path / "full", StoreRefused, r"not a store and not empty .*thesis.tex")
    (tmp_path / "file").touch()
    refused(tmp_path / "file", StoreRefused, "not a folder")


def test_what_is_not_there_is_missing_unless_it_may_be_made(tmp_path: Path) -> None:
    refused(tmp_path / "none", StoreMissing, "no store", create=False)
    assert not (tmp_path / "none").exists()
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", StoreMissing, "no store", create=False)


@pytest.mark.promise("ground")
def test_a_newer_format_is_refused(closed: Path) -> None:
    identity = json.loads((closed / "STORE").read_text())
    (closed / "STORE").write_text(json.dumps({**identity, "format": 99, "id": "of another kind"}))
    refused(closed, StoreTooNew, "format 99.*upgrade")


NONSENSE = [
    b"", b"{", b"[]", b"\xff", b'{"format": 1}', b'{"format": "1", "id": "00"}', b'{"format": 1, "id": "00"}',
    b'{"format": 1, "id": 5}', b'{"format": 0, "id": ""}',
]  # fmt: skip


@pytest.mark.promise("ground")
@pytest.mark.parametrize("content", NONSENSE)
def test_a_store_file_that_makes_no_sense_is_damage(closed: Path, content: bytes) -> None:
    (closed / "STORE").write_bytes(content)
    refused(closed, StoreDamaged, "STORE")


@pytest.mark.promise("ground")
@pytest.mark.parametrize("how", ["removed", "empty", "no folder", "fresh", "half", "a page short", "header", "garbage"])
def test_lost_rows_are_damage_not_a_fresh_store(closed: Path, tmp_path: Path, run: Any, how: str) -> None:
    file = closed / "durable" / "data.mdb"
    content = file.read_bytes()
    if how == "removed":
        file.unlink()
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "no folder":
        shutil.rmtree(closed / "durable")
    elif how == "fresh":
        run("import lmdb; lmdb.open(sys.argv[2], lib_version=0).close()", tmp_path / "fresh")
        shutil.copy(tmp_path / "fresh" / "data.mdb", file)
    elif how == "half":
        file.write_bytes(content[: len(content) // 2])
    elif how == "a page short":
        file.write_bytes(content[:-4096])
    elif how == "header":
        file.write_bytes(content[:100])
    else:
        file.write_bytes(os.urandom(len(content)))
    refused(closed, StoreDamaged, "data.mdb")


@pytest.mark.promise("ground")
def test_a_file_that_was_cut_off_is_not_opened_again(run: Any) -> None:
    """By the object that had it open before, whose own process would die of a signal."""
    run("""
        store = Store.open(sys.argv[1])
        store.commit([Put(Table.RECORDS, b"%d" % n, bytes(5000)) for n in range(200)])
        store.close()
        file = store.path / "durable" / "data.mdb"
        os.truncate(file, file.stat().st_size // 2)
        try:
            store.get(Table.RECORDS, b"100")
        except StoreDamaged as error:
            assert "cut off" in str(error), error
        else:
            raise SystemExit("was opened")
    """)


@pytest.mark.promise("ground")
def test_the_rows_of_another_store_are_refused(closed: Path, tmp_path: Path, run: Any) -> None:
    run("Store.open(sys.argv[2])", tmp_path / "other")
    shutil.copy(tmp_path / "other" / "durable" / "data.mdb", closed / "durable" / "data.mdb")
    refused(closed, StoreDamaged, "belongs to another store")


def test_a_lost_store_file_comes_back_from_the_rows(closed: Path) -> None:
    before = (closed / "STORE").read_bytes()
    (closed / "STORE").unlink()
    with Store.open(closed) as store:
        assert store.get(Table.RECORDS, b"a") == b"1"
    assert (closed / "STORE").read_bytes() == before


@pytest.mark.promise("ground")
def test_parts_of_a_store_without_identity_are_not_taken_for_a_new_one(closed: Path) -> None:
    (closed / "STORE").unlink()
    shutil.rmtree(closed / "durable")
    (closed / "blobs" / "ab").mkdir()
    (closed / "blobs" / "ab" / "abcd").touch()
    with pytest.raises(StoreDamaged, match="STORE is missing"):
        Store.open(closed)


@pytest.mark.promise("ground")
@pytest.mark.parametrize("how", ["removed", "replaced", "moved away", "emptied"])
def test_a_folder_that_goes_away_under_an_open_store_is_noticed_before_anything_is_acknowledged(
    store: Store, tmp_path: Path, run: Any, how: str
) -> None:
    store.commit([Put(Table.RECORDS, b"a", b"1")])
    assert store.claim([b"k"], b"h" * 16) == [None]
    if how == "moved away":
        store.path.rename(tmp_path / "moved")
    elif how == "emptied":
        for part in store.path.iterdir():
            shutil.rmtree(part) if part.is_dir() else part.unlink()
    else:
        shutil.rmtree(store.path)
    if how == "replaced":
        run("Store.open(sys.argv[1]).commit([Put(Table.RECORDS, b'b', b'2')])")
    with pytest.raises(StoreReplaced, match="removed or replaced"):
        store.commit([Put(Table.RECORDS, b"b", b"1")])
    if how in ("removed", "moved away"):
        with pytest.raises(StoreReplaced, match="removed or replaced"):
            store.claim([b"l"], b"h" * 16)
    if how == "replaced":
        with Store.open(store.path) as other:
            assert other is not store
            assert other.get(Table.RECORDS, b"b") == b"2"
            assert other.claim([b"k"], b"h" * 16) == [None]
    else:
        with pytest.raises(StoreReplaced, match="removed or replaced"):
            Store.open(store.path)
    if how == "moved away":
        (tmp_path / "moved").rename(store.path)
        store.commit([Put(Table.RECORDS, b"b", b"1")])
        assert store.get(Table.RECORDS, b"b") == b"1"


@pytest.mark.promise("ground")
def test_a_folder_that_others_may_write_to_is_refused(closed: Path) -> None:
    for mode in (0o770, 0o702, 0o777):
        closed.chmod(mode)
        refused(closed, StoreRefused, "others may write.*chmod 700")
    closed.chmod(0o755)
    Store.open(closed).close()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away and mount")


@pytest.mark.promise("ground")
@needs_root
def test_somebody_elses_folder_is_refused(closed: Path) -> None:
    os.chown(closed, 12345, -1)
    refused(closed, StoreRefused, "another user .*12345")


READ_ONLY = """
    try:
        Store.open(sys.argv[1])
    except StoreRefused as error:
        assert "writable" in str(error), error
    else:
        raise SystemExit("was opened")
"""


@pytest.mark.promise("ground")
def test_a_read_only_folder_is_refused(closed: Path, run: Any) -> None:
    everything = [closed, *closed.rglob("*")]
    for path in everything:
        path.chmod(path.stat().st_mode & ~0o222)
    if os.geteuid() == 0:  # whom permissions don't stop
        for path in [*closed.parents]:
            if str(path).startswith(str(Path(tempfile.gettempdir()) / "pytest-")):
                path.chmod(0o755)
        for path in everything:
            os.chown(path, 65534, 65534)
        run("os.setgid(65534)\nos.setuid(65534)\n" + textwrap.dedent(READ_ONLY))
    else:
        run(READ_ONLY)
    for path in everything:
        path.chmod(path.stat().st_mode | 0o200)


def in_a_namespace(script: str, *arguments: object) -> None:
    """Run a shell script where it may mount."""
    command = ["unshare", "--mount", "--map-root-user", "sh", "-ec", script, "sh", *map(str, arguments)]
    if subprocess.run(["unshare", "--mount", "--map-root-user", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    process = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.promise("ground")
def test_a_read_only_mount_is_refused(closed: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sys\nfrom cas_store import *\nif True:\n" + READ_ONLY)
    in_a_namespace(
        'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; "$2" "$3" "$1"', closed, sys.executable, program
    )


def test_the_file_system_is_known_by_its_mount(tmp_path: Path) -> None:
    if not Path("/proc/self/mountinfo").exists():
        pytest.skip("this system does not tell")
    assert file_system_of(Path("/proc/self")) == "proc"
    assert file_system_of(tmp_path)


FULL_DISK = """
import os, sys
from cas_store import *
store = Store.open(sys.argv[1])
rows = 0
def fill(make):
    global rows
    for n in range(10_000):
        try:
            store.commit(make(rows))
        except StoreFull as error:
            assert "disk space" in str(error), error
            return
        rows += 1
    raise SystemExit("never full")

def check():
    with store.snapshot() as snap:
        assert len(list(snap.scan(Table.RECORDS))) == rows
        assert all(store.get_blob(value) is not None for _, value in snap.scan(Table.RECORDS))

def row(n):
    blob = store.prepare([b"%d," % n * 2000])
    return [PutBlob(blob), Put(Table.RECORDS, b"%06d" % n, blob.digest)]

def large(n):
    blob = store.prepare([b"%d," % n * 50_000])
    return [PutBlob(blob), Put(Table.RECORDS, b"%06d" % n, blob.digest)]

ballast = store.path.parent / "ballast"
ballast.write_bytes(bytes(4 << 20))
fill(row)
check()
full = rows
ballast.unlink()
for _ in range(20):
    store.commit(row(rows))
    rows += 1
fill(large)
check()
store.close()
check()
assert full > 100 and rows > full + 20
futures = [store.submit([Put(Table.NODES, b"%d" % n, bytes(60_000))]) for n in range(100)]
kinds = {type(future.exception()) for future in futures}
assert kinds <= {StoreFull, type(None)} and StoreFull in kinds, kinds

# A sweep makes room, though what the dead hold cannot be let go.
for n in range(20):
    if os.fork() == 0:
        store.hold(os.urandom(16), [os.urandom(16) for _ in range(400)])
        os._exit(0)
    os.wait()
try:
    with open(store.path.parent / "more ballast", "wb", buffering=0) as file:
        while True:
            file.write(bytes(1000))
except OSError:
    pass
with store.snapshot() as snap:
    some = [Victim(value, True) for _, value in snap.scan(Table.RECORDS)][-10:]
with store.barrier() as barrier:
    assert len(list(store.take(barrier, some))) == 10
"""


@pytest.mark.promise("full")
def test_a_full_disk_is_said_nothing_is_lost_and_it_goes_on_when_there_is_room(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(FULL_DISK)
    (tmp_path / "small").mkdir()
    in_a_namespace(
        'mount -t tmpfs -o size=16m small "$1"; "$2" "$3" "$1/store"', tmp_path / "small", sys.executable, program
    )


@pytest.mark.promise("full")
def test_a_file_size_limit_is_an_error_that_passes(run: Any) -> None:
    run("""
        import resource
        store = Store.open(sys.argv[1])
        store.commit([Put(Table.RECORDS, b"a", b"1")])
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, limit[1]))
        for job in (lambda: store.commit([Put(Table.RECORDS, b"big", bytes(1 << 20))]),
                    lambda: store.prepare([bytes(1 << 20)])):
            try:
                job()
            except StoreError:
                pass
            else:
                raise SystemExit("was written")
        assert store.get(Table.RECORDS, b"a") == b"1" and store.get(Table.RECORDS, b"big") is None
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        store.commit([Put(Table.RECORDS, b"big", bytes(1 << 20))])
        assert store.get(Table.RECORDS, b"big") == bytes(1 << 20)
    """)


@pytest.mark.promise("full")
def test_what_need_not_last_is_there_as_a_whole_or_not_at_all(run: Any) -> None:
    """Who is killed, or has no room, between its two headers leaves no half of it to those who open it meanwhile."""
    run("""
        import resource
        store = Store.open(sys.argv[1])
        store.set_signal(b"s", b"1")
        store.close()
        next(Path(sys.argv[1]).glob("scratch/*/data.mdb")).unlink()
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getpagesize(), limit[1]))
        try:
            store.set_signal(b"s", b"1")
        except StoreError:
            pass
        else:
            raise SystemExit("was written")
        left = [file for file in Path(sys.argv[1]).glob("scratch/*/*") if file.name != "lock.mdb"]
        assert left == [], left
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        store.set_signal(b"s", b"1")
        assert store.get_signal(b"s") == b"1"
    """)


@pytest.mark.promise("once")
def test_an_environment_is_opened_by_one_process_at_a_time(start: Any, tmp_path: Path) -> None:
    """Who is killed while it makes LMDB's lock file ready leaves no half of it to others that wait in LMDB."""
    store = Store.open(tmp_path / "store")
    store.set_signal(b"s", b"1")
    store.close()
    file = next((tmp_path / "store").glob("scratch/*/data.mdb"))
    ready = file.with_name("lock.mdb")
    ready.unlink()
    with file.open("rb") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        process = start("""
            store = Store.open(sys.argv[1])
            print("opening", flush=True)
            store.set_signal(b"s", b"2")
        """)
        assert process.stdout.readline() == "opening\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert not ready.exists()
    assert process.wait(30) == 0
    assert ready.exists()


@pytest.mark.promise("full")
def test_what_was_submitted_behind_a_batch_that_fails_does_not_outlive_it(run: Any) -> None:
    """It may rely on it: a record on its blob."""
    run("""
        import resource
        store = Store.open(sys.argv[1])
        store.commit([Put(Table.RECORDS, b"a", b"1")])
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, limit[1]))
        first = store.submit([Put(Table.RECORDS, b"big", bytes(65 << 20))])  # alone in its commit
        second = store.submit([Put(Table.RECORDS, b"small", b"2")])
        assert isinstance(first.exception(), StoreError) and isinstance(second.exception(), StoreError)
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        store.commit([Put(Table.RECORDS, b"after", b"3")])
        with store.snapshot() as snap:
            assert dict(snap.scan(Table.RECORDS)) == {b"a": b"1", b"after": b"3"}
    """)


def test_every_error_has_one_root_and_survives_pickling() -> None:
    import pickle

    from cas_store import BlobDamaged, BlobMissing

    for error in (
        StoreFull("full", Path("a")),
        StoreError("x"),
        BlobMissing(b"d" * 16),
        BlobDamaged(b"d" * 16, Path("p")),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert isinstance(again, StoreError)
        assert isinstance(again, CasRunError)
        assert (type(again), str(again), again.path) == (type(error), str(error), error.path)
