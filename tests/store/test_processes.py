"""Many processes share a store: they write the same blobs, grow the map, found it at once, and none is hurt."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from cas_store import Put, Store, Table, digest_of

GO = """
    print("ready", flush=True)
    sys.stdin.readline()
"""


def together(start: Any, program: str, count: int, *arguments: object) -> list[str]:
    """Start the program several times, let all go at once, and give what each printed."""
    processes = [start(program, n, *arguments) for n in range(count)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * count, outputs
    return [out for out, _ in outputs]


def test_several_that_write_the_same_blobs_store_each_once(store: Store, start: Any) -> None:
    together(start, GO + """
    store = Store.open(sys.argv[1])
    for n in range(40):
        blob = store.prepare([b"%d," % n * (50_000 if n % 2 else 100)])
        store.commit([PutBlob(blob), Put(Table.RECORDS, b"%d" % n, blob.digest)])
        assert store.get_blob(blob.digest) == b"%d," % n * (50_000 if n % 2 else 100)
    """, 4)  # fmt: skip
    for n in range(40):
        content = b"%d," % n * (50_000 if n % 2 else 100)
        assert store.get_blob(digest_of(content)) == content
    assert len(list((store.path / "blobs").glob("*/*"))) == 20
    assert list((store.path / "tmp").iterdir()) == []


@pytest.mark.promise("grow")
def test_four_processes_grow_a_tiny_map_while_they_read(tmp_path: Path, start: Any) -> None:
    """Each opens again and again, so that opening too meets a map that grows."""
    together(start, GO + """
    number = int(sys.argv[2])
    stop = False

    def read(store):
        while not stop:
            with store.snapshot() as snap:
                for key, value in snap.scan(Table.RECORDS):
                    assert value == key * 500

    store = Store.open(sys.argv[1], map_size=1 << 17)
    reader = threading.Thread(target=read, args=(store,))
    reader.start()
    with store.snapshot() as held:
        for n in range(100):
            key = b"%d-%06d" % (number, n)
            store.commit([Put(Table.RECORDS, key, key * 500)])
            assert held.get(Table.RECORDS, key) in (None, key * 500)
            if n % 10 == 0:
                store.close()
    stop = True
    reader.join()
    """, 4)  # fmt: skip
    with Store.open(tmp_path / "store") as store, store.snapshot() as snap:
        assert len(list(snap.scan(Table.RECORDS))) == 400


def test_many_found_one_store_at_once(tmp_path: Path, start: Any) -> None:
    identities = together(start, GO + """
    store = Store.open(sys.argv[1])
    store.commit([Put(Table.RECORDS, sys.argv[2].encode(), b"1")])
    print(store.id.hex())
    """, 6)  # fmt: skip
    assert len(set(identities)) == 1
    with Store.open(tmp_path / "store") as store, store.snapshot() as snap:
        assert len(list(snap.scan(Table.RECORDS))) == 6
        assert json.loads((store.path / "STORE").read_text())["id"] == identities[0].strip()


def test_a_batch_larger_than_the_map_makes_it_grow_once_it_must(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", map_size=1 << 17) as store, store.snapshot() as snap:
        assert snap.get(Table.RECORDS, b"0") is None
        store.commit([Put(Table.RECORDS, b"%d" % n, bytes(10_000)) for n in range(500)])
        assert snap.get(Table.RECORDS, b"499") == bytes(10_000)


def test_little_address_space_is_enough(run: Any) -> None:
    run("""
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, -1))
        store = Store.open(sys.argv[1])
        store.commit([Put(Table.RECORDS, b"a", b"1")])
        assert store.get(Table.RECORDS, b"a") == b"1"
    """)


def test_no_address_space_to_grow_into_is_said_and_survived(run: Any) -> None:
    run("""
        import resource
        store = Store.open(sys.argv[1], map_size=1 << 20)
        snapshot = store.snapshot()
        store.commit([Put(Table.RECORDS, b"a", b"1")])
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (1 << 28, before[1]))
        try:
            for n in range(10_000):
                store.commit([Put(Table.RECORDS, b"%d" % n, bytes(1 << 20))])
        except StoreFull as error:
            assert "address space" in str(error)
        else:
            raise SystemExit("no limit was met")
        assert snapshot.get(Table.RECORDS, b"a") == b"1"
        resource.setrlimit(resource.RLIMIT_AS, before)
        store.commit([Put(Table.RECORDS, b"%d" % n, bytes(1 << 20)) for n in range(300)])
        assert snapshot.get(Table.RECORDS, b"a") == b"1"
    """)


STUCK = """
    store = Store.open(sys.argv[1])
    store.claim([b"first"], b"h" * 16)

    def job(transaction):
        child = os.fork() if sys.argv[2:] else 0
        os.write(1, b"writing %d\\n" % child)  # one write: two lines of two processes do not mix
        time.sleep(60)

    store._scratch._database.write(job)
"""


@pytest.mark.promise("once")
def test_who_waits_behind_a_stuck_writer_can_be_interrupted(start: Any) -> None:
    stuck = start(STUCK)
    assert stuck.stdout.readline() == "writing 0\n"
    waiting = start("""
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run where it is ignored
        store = Store.open(sys.argv[1])
        print("opened", flush=True)
        try:
            store.claim([b"key"], b"h" * 16)
        except KeyboardInterrupt:
            print(store.get(Table.RECORDS, b"key"), "interrupted", flush=True)
    """)
    assert waiting.stdout.readline() == "opened\n"
    time.sleep(0.5)  # so that it does wait, not only is about to
    waiting.send_signal(signal.SIGINT)
    assert waiting.communicate(timeout=10) == ("None interrupted\n", "")


@pytest.mark.promise("once")
def test_the_turn_of_who_is_killed_passes_on_whatever_it_left_running(start: Any, run: Any) -> None:
    stuck = start(STUCK, "fork")
    children = {int(stuck.stdout.readline().split()[1]) for _ in range(2)} - {0}
    stuck.kill()
    stuck.wait()
    try:
        run("assert Store.open(sys.argv[1]).claim([b'key'], b'h' * 16) == [None]", seconds=20)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
