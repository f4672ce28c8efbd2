"""A fork, spawn or exec at any moment neither hurts the parent nor the child, and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cas_store import Put, Store, Table

FORKER = """
    import warnings
    warnings.simplefilter("ignore")  # Python 3.12 warns of forking with threads, which is what is done here
    moment, deed = sys.argv[2:4]
    store = Store.open(sys.argv[1])
    store.commit([Put(Table.RECORDS, b"%04d" % n, b"v" * 100) for n in range(1000)])
    large = store.prepare([b"large" * 50_000])
    store.commit([PutBlob(large)])
    owner = store.owner
    store.claim([b"parents"], b"p" * 16)
    ready, done = os.pipe()

    def keep_writing():
        while not stop:
            store.commit([Put(Table.NODES, os.urandom(8), b"x" * 1000)])

    def keep_reading():
        while not stop:
            with store.snapshot() as snap:
                assert len(list(snap.scan(Table.RECORDS))) >= 1000

    stop = False
    threads = [threading.Thread(target=job) for job in {"writing": [keep_writing] * 2, "reading": [keep_reading] * 2,
                                                        "both": [keep_writing, keep_reading]}.get(moment, [])]
    for thread in threads:
        thread.start()
    snapshot = store.snapshot()
    assert snapshot.get(Table.RECORDS, b"0000") == b"v" * 100
    pending = store.submit([Put(Table.META, b"parent", b"1")])

    def child(number):
        signal.alarm(15)
        if deed == "exec":
            os.execv(sys.executable, [sys.executable, "-c", "import sys"])
        if deed == "use":
            with snapshot:
                assert snapshot.get(Table.RECORDS, b"0001") == b"v" * 100
            assert store.owner != owner and store.is_alive(owner) and store.is_alive(store.owner)
            own = store.prepare([b"child%d" % number * 20_000])
            store.commit([Put(Table.META, b"child%d" % number, b"1"), PutBlob(own)])
            assert store.get(Table.META, b"child%d" % number) == b"1"
            assert store.get_blob(large.digest) == b"large" * 50_000
            assert store.claim([b"parents", b"child%d" % number], b"c" * 16) == [b"p" * 16, None]
        if deed == "close":
            store.close()
        if deed == "die":
            store.get(Table.RECORDS, b"0000")
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "exit":
            sys.exit(0)  # with all that an interpreter does at its end
        os._exit(0)

    for number in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                child(number)
            except Exception:
                import traceback
                traceback.print_exc()
                os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status == (-9 if deed == "die" else 0), status
        assert snapshot.get(Table.RECORDS, b"0999") == b"v" * 100
        assert store.owner == owner and store.is_alive(owner)
        assert store.claim([b"parents"], b"other" + bytes(11)) == [b"p" * 16]
    stop = True
    for thread in threads:
        thread.join()
    pending.result(10)
    store.commit([Put(Table.META, b"after", b"1")])
    assert store.get(Table.META, b"after") == b"1"
    if deed == "use":
        with store.snapshot() as snap:
            assert len(list(snap.scan(Table.META, b"child"))) == 4
    readers = store._database._env.readers()
    assert str(os.getpid()) in readers  # the open snapshot
    snapshot.__exit__(None, None, None)
    store._database._env.reader_check()
    assert len(store._database._env.readers().splitlines()) == 1, store._database._env.readers()
"""


@pytest.mark.promise("forks")
@pytest.mark.parametrize("deed", ["use", "close", "exec", "die", "exit"])
@pytest.mark.parametrize("moment", ["idle", "reading", "writing", "both"])
def test_a_fork_at_any_moment_hurts_nobody(run: Any, moment: str, deed: str) -> None:
    run(FORKER, moment, deed)


@pytest.mark.promise("forks")
def test_a_child_does_not_keep_its_dead_parent_alive(store: Store, start: Any) -> None:
    process = start("""
        store = Store.open(sys.argv[1])
        store.claim([b"key"], b"p" * 16)
        owner = store.owner
        if os.fork() == 0:
            print(owner.hex(), os.getpid(), flush=True)
        time.sleep(60)
    """)
    name, child = process.stdout.readline().split()
    owner = bytes.fromhex(name)
    try:
        assert store.is_alive(owner)
        process.kill()
        process.wait()
        assert not store.is_alive(owner)
        assert store.claim([b"key"], b"q" * 16) == [None]
    finally:
        os.kill(int(child), 9)


@pytest.mark.promise("forks")
def test_a_program_that_it_started_does_not_keep_its_dead_parent_alive(store: Store, start: Any) -> None:
    process = start("""
        import subprocess
        store = Store.open(sys.argv[1])
        store.claim([b"key"], b"p" * 16)
        program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
        print(store.owner.hex(), program.pid, flush=True)
        time.sleep(60)
    """)
    name, program = process.stdout.readline().split()
    try:
        process.kill()
        process.wait()
        assert not store.is_alive(bytes.fromhex(name))
    finally:
        os.kill(int(program), 9)


@pytest.mark.promise("forks")
def test_a_child_leaves_its_parents_files_alone(run: Any) -> None:
    run("""
        import warnings
        warnings.simplefilter("ignore")
        store = Store.open(sys.argv[1])
        blob = store.prepare([b"x" * 100_000])
        pid = os.fork()
        if pid == 0:
            del blob
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        store.commit([PutBlob(blob)])
        assert store.get_blob(blob.digest) == b"x" * 100_000
    """)


def test_a_forked_child_reads_what_its_parent_has_only_submitted(run: Any) -> None:
    run("""
        import warnings
        warnings.simplefilter("ignore")
        store = Store.open(sys.argv[1])
        blobs = [store.prepare([b"x" * size]) for size in (10, 100_000)]
        future = store.submit([PutBlob(blob) for blob in blobs])
        pid = os.fork()
        if pid == 0:
            os._exit(0 if all(store.get_blob(blob.digest) == b"x" * blob.size for blob in blobs) else 1)
        assert os.waitpid(pid, 0)[1] == 0
        future.result(10)
    """)


@pytest.mark.promise("forks")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_pool_can_use_the_store(tmp_path: Path, run: Any, method: str) -> None:
    program = tmp_path / "pool.py"
    program.write_text(f"""
import sys, warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from cas_store import Put, Store, Table
warnings.simplefilter("ignore")

def work(store, n):
    store.commit([Put(Table.RECORDS, b"%d" % n, b"1")])
    return store.get(Table.RECORDS, b"base"), store.path

if __name__ == "__main__":
    store = Store.open(sys.argv[1])
    store.commit([Put(Table.RECORDS, b"base", b"0")])
    with ProcessPoolExecutor(2, mp_context=get_context({method!r})) as pool:
        assert set(pool.map(work, [store] * 8, range(8))) == {{(b"0", store.path)}}
    with store.snapshot() as snap:
        assert len(list(snap.scan(Table.RECORDS))) == 9
""")
    run("import subprocess; sys.exit(subprocess.call([sys.executable, sys.argv[2], sys.argv[1]]))", program)


STARTER = """
import os, signal, sys, threading
from itertools import product
from multiprocessing import get_context
from cas_store import Put, PutBlob, Store, Table

def child(store, deed, name):
    if deed == "exec":
        os.execv(sys.executable, [sys.executable, "-c", "import sys"])
    assert store.get(Table.RECORDS, b"base") == b"1"
    if deed == "use":
        blob = store.prepare([name * 20_000])
        store.commit([Put(Table.META, name, b"1"), PutBlob(blob)])
        assert store.get_blob(blob.digest) == name * 20_000
    if deed == "close":
        store.close()
    if deed == "die":
        with store.snapshot() as snap:
            snap.get(Table.RECORDS, b"base")
            os.kill(os.getpid(), signal.SIGKILL)

def keep(job):
    while not stop:
        job()

def read():
    with store.snapshot() as snap:
        assert dict(snap.scan(Table.RECORDS))[b"base"] == b"1"

def write():
    store.commit([Put(Table.NODES, os.urandom(8), bytes(1000))])

if __name__ == "__main__":
    store = Store.open(sys.argv[1])
    store.commit([Put(Table.RECORDS, b"base", b"1")])
    context = get_context(sys.argv[2])
    for moment, deeds in {"idle": (), "reading": (read,), "writing": (write,)}.items():
        stop = False
        threads = [threading.Thread(target=keep, args=(job,)) for job in deeds]
        for thread in threads:
            thread.start()
        children = {deed: context.Process(target=child, args=(store, deed, f"{moment} {deed}".encode()))
                    for deed in ("use", "close", "exec", "die")}
        for process in children.values():
            process.start()
        for deed, process in children.items():
            process.join(60)
            assert process.exitcode == (-9 if deed == "die" else 0), (moment, deed, process.exitcode)
        stop = True
        for thread in threads:
            thread.join()
        assert store.get(Table.META, f"{moment} use".encode()) == b"1"
    store._database._env.reader_check()
    assert len(store._database._env.readers().splitlines()) == 1, store._database._env.readers()
"""


@pytest.mark.promise("forks")
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_started_at_any_moment_hurts_nobody(tmp_path: Path, run: Any, method: str) -> None:
    """Idle, while reading and while writing; it uses the store, closes it, becomes another program, or dies."""
    program = tmp_path / "starter.py"
    program.write_text(STARTER)
    run("os.execv(sys.executable, [sys.executable, *sys.argv[2:]])", program, tmp_path / "store", method)


@pytest.mark.promise("forks")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_a_pools_process_submitted_last_is_durable_when_it_ends(tmp_path: Path, run: Any, method: str) -> None:
    program = tmp_path / "last.py"
    program.write_text(f"""
import sys, warnings
from multiprocessing import get_context
from cas_store import Put, Store, Table
warnings.simplefilter("ignore")

def work(store):
    for n in range(300):
        store.submit([Put(Table.RECORDS, b"%d" % n, b"1")])

if __name__ == "__main__":
    store = Store.open(sys.argv[1])
    process = get_context({method!r}).Process(target=work, args=(store,))
    process.start()
    process.join()
    with store.snapshot() as snap:
        assert len(list(snap.scan(Table.RECORDS))) == 300
""")
    run("import subprocess; sys.exit(subprocess.call([sys.executable, sys.argv[2], sys.argv[1]]))", program)


@pytest.mark.promise("forks")
def test_readers_that_were_killed_do_not_make_the_file_grow(store: Store, start: Any) -> None:
    process = start("""
        store = Store.open(sys.argv[1])
        snap = store.snapshot()
        snap.get(Table.RECORDS, b"a")
        print("reading", flush=True)
        time.sleep(60)
    """)
    assert process.stdout.readline() == "reading\n"
    process.kill()
    process.wait()

    def grow(commits: int) -> int:
        for n in range(commits):
            store.commit([Put(Table.RECORDS, b"%d" % (n % 10), bytes(20_000))])
        return (store.path / "durable" / "data.mdb").stat().st_size

    before = grow(110)  # the check comes with one of these
    assert grow(90) == before


def test_a_child_can_import_what_a_thread_of_its_parent_was_importing(run: Any, tmp_path: Path) -> None:
    (tmp_path / "lingering.py").write_text("import time\nbegun.set()\ntime.sleep(0.3)\n")
    run(
        """
        import builtins, importlib, warnings
        warnings.simplefilter("ignore")
        sys.path.insert(0, sys.argv[2])
        builtins.begun = threading.Event()
        thread = threading.Thread(target=importlib.import_module, args=["lingering"])
        thread.start()
        begun.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            import lingering
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        thread.join()
        """,
        str(tmp_path),
    )
