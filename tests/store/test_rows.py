"""Rows are what was written, batches are whole, readers see one moment."""

from __future__ import annotations

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cas_store import Append, Delete, Insert, Put, Store, StoreError, Table
from cas_store.writes import items_in


def rows_of(store: Store, table: Table = Table.RECORDS) -> dict[bytes, bytes]:
    with store.snapshot() as snap:
        return dict(snap.scan(table))


def test_what_was_committed_is_there(store: Store) -> None:
    store.commit([Put(Table.RECORDS, b"a", b"1"), Put(Table.NODES, b"a", b"2"), Put(Table.RECORDS, b"empty", b"")])
    assert store.get(Table.RECORDS, b"a") == b"1"
    assert store.get(Table.NODES, b"a") == b"2"
    assert store.get(Table.RECORDS, b"empty") == b""
    assert store.get(Table.RECORDS, b"b") is None


def test_put_replaces_insert_does_not_delete_removes(store: Store) -> None:
    store.commit([Put(Table.META, b"a", b"1"), Insert(Table.META, b"a", b"2"), Insert(Table.META, b"b", b"3")])
    assert store.get(Table.META, b"a") == b"1"
    assert store.get(Table.META, b"b") == b"3"
    store.commit([Put(Table.META, b"b", b"4"), Delete(Table.META, b"a"), Delete(Table.META, b"never there")])
    assert store.get(Table.META, b"a") is None
    assert store.get(Table.META, b"b") == b"4"


def test_writes_of_one_batch_count_in_their_order(store: Store) -> None:
    store.commit([Put(Table.RECORDS, b"a", b"1"), Delete(Table.RECORDS, b"a"), Insert(Table.RECORDS, b"a", b"2")])
    assert store.get(Table.RECORDS, b"a") == b"2"


def test_items_are_appended_in_order_and_those_of_a_commit_are_one_row(store: Store) -> None:
    store.commit([Append(Table.NODES, b"one", b"%d" % n) for n in range(3)])
    store.commit(
        [Append(Table.NODES, b"one", b""), Append(Table.NODES, b"on", b"x"), Put(Table.NODES, b"one\xff", b"")]
    )
    store.commit([Append(Table.NODES, b"one", b"4"), Append(Table.NODES, b"on", b"y")])
    rows = rows_of(store, Table.NODES)
    assert [list(items_in(rows[key])) for key in sorted(rows)] == [
        *([b"x"], [b"y"]),
        *([b"0", b"1", b"2"], [b""], [b"4"]),
        [],
    ]
    with pytest.raises(StoreError, match="1 to 511 bytes"):
        store.commit([Append(Table.NODES, b"x" * 504, b"")])


def test_a_batch_with_a_bad_key_is_refused_as_a_whole(store: Store) -> None:
    for key in (b"", b"x" * 512):
        with pytest.raises(StoreError, match="1 to 511 bytes"):
            store.commit([Put(Table.RECORDS, b"good", b"1"), Put(Table.RECORDS, key, b"2")])
    store.commit([Put(Table.RECORDS, b"x" * 511, b"long")])
    assert rows_of(store) == {b"x" * 511: b"long"}


def test_no_row_has_an_impossible_key(store: Store) -> None:
    with store.snapshot() as snap:
        for key in (b"", b"x" * 512):
            assert snap.get(Table.RECORDS, key) is None
            assert not snap.has(Table.RECORDS, key)


def test_batches_become_durable_in_the_order_of_submission(store: Store) -> None:
    futures = [store.submit([Put(Table.RECORDS, b"last", b"%d" % n)]) for n in range(500)]
    futures[250].result(10)
    assert all(future.done() for future in futures[:250])
    futures[-1].result(10)
    assert store.get(Table.RECORDS, b"last") == b"499"


def test_many_threads_may_write(store: Store) -> None:
    def write(n: int) -> None:
        for i in range(30):
            store.commit([Put(Table.RECORDS, b"%d-%d" % (n, i), b"x")])

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows_of(store)) == 240


def test_a_lone_commit_does_not_wait_for_company(store: Store) -> None:
    store.commit([Put(Table.RECORDS, b"warm", b"")])
    took = []
    for n in range(20):
        began = time.perf_counter()
        store.get(Table.RECORDS, b"%d" % n)
        future = store._submit([], urgent=True)  # nothing to sync: what is left is waiting
        future.result(5)
        took.append(time.perf_counter() - began)
    assert sorted(took)[10] < 0.003


def test_a_snapshot_stays_at_its_moment(store: Store) -> None:
    store.commit([Put(Table.RECORDS, b"a", b"1")])
    with store.snapshot() as snap:
        assert snap.get(Table.RECORDS, b"a") == b"1"
        store.commit([Put(Table.RECORDS, b"a", b"2"), Put(Table.RECORDS, b"b", b"3")])
        assert snap.get_many(Table.RECORDS, [b"b", b"a", b"a"]) == [None, b"1", b"1"]
        assert not snap.has(Table.RECORDS, b"b")
    assert store.get(Table.RECORDS, b"a") == b"2"


def test_a_snapshot_is_of_no_use_after_its_block(store: Store) -> None:
    with store.snapshot() as snap:
        pass
    with pytest.raises(StoreError, match="closed"):
        snap.get(Table.RECORDS, b"a")


def test_a_forgotten_snapshot_ends_by_itself(store: Store) -> None:
    assert store.snapshot().get(Table.RECORDS, b"a") is None
    rows = store.snapshot().scan(Table.RECORDS)
    del rows
    assert not store._database._views


def test_scans_are_in_order_by_prefix_both_ways_and_limited(store: Store) -> None:
    keys = [b"a%04d" % n for n in range(1000)] + [b"b", b"\xff\xff", b"\xff\xff\x01"]
    store.commit([Put(Table.TIMELINE, key, key[::-1]) for key in keys])
    with store.snapshot() as snap:
        for prefix in (b"", b"a", b"a0", b"a09", b"b", b"c", b"\xff", b"\xff\xff", b"A"):
            expected = [(key, key[::-1]) for key in sorted(keys) if key.startswith(prefix)]
            assert list(snap.scan(Table.TIMELINE, prefix)) == expected
            assert list(snap.scan(Table.TIMELINE, prefix, reverse=True)) == expected[::-1]
            for limit in (0, 1, 300):
                assert list(snap.scan(Table.TIMELINE, prefix, limit=limit)) == expected[:limit]
                assert list(snap.scan(Table.TIMELINE, prefix, reverse=True, limit=limit)) == expected[::-1][:limit]
        assert list(snap.scan(Table.LATTICES, reverse=True)) == []


def test_one_may_write_while_one_scans(store: Store) -> None:
    store.commit([Put(Table.NODES, b"%05d" % n, b"") for n in range(1000)])
    with store.snapshot() as snap:
        seen = 0
        for key, _ in snap.scan(Table.NODES):
            if seen % 100 == 0:
                store.commit([Delete(Table.NODES, key), Put(Table.NODES, key + b"x", b"")])
            seen += 1
    assert seen == 1000


def test_a_callback_may_submit_but_not_wait_for_a_commit(store: Store) -> None:
    answers: list[object] = []

    def after(_: object) -> None:
        answers.append(store.submit([Put(Table.RECORDS, b"from the callback", b"1")]))
        try:
            store.commit([])
        except StoreError as error:
            answers.append(error)

    store.submit([]).add_done_callback(after)
    deadline = time.monotonic() + 5
    while len(answers) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert "submit()" in str(answers[1])
    store.commit([])
    assert store.get(Table.RECORDS, b"from the callback") == b"1"


def test_there_is_one_object_for_a_folder_however_it_is_named(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("store", "./store/../link", str(tmp_path / "link"), tmp_path / "store", "~/store"):
        assert Store.open(path) is store
    assert pickle.loads(pickle.dumps(store)) is store


def test_a_closed_store_opens_again_when_it_is_used(store: Store) -> None:
    with store.snapshot() as snap:
        pending = store.submit([Put(Table.RECORDS, b"a", b"1")])
        store.close()
        assert pending.done()
        assert snap.get(Table.RECORDS, b"a") == b"1"
    store.close()
    store.close()
    store.commit([Put(Table.RECORDS, b"b", b"2")])
    assert store.claim([b"k"], b"h" * 16) == [None]
    assert store.get(Table.RECORDS, b"b") == b"2"


def test_signals_are_left_and_taken_back(store: Store, run: Any) -> None:
    assert store.get_signal(b"cancel") is None
    run("Store.open(sys.argv[1]).set_signal(b'cancel', b'now')")
    assert store.get_signal(b"cancel") == b"now"
    store.clear_signal(b"cancel")
    store.clear_signal(b"cancel")
    assert store.get_signal(b"cancel") is None


def test_what_was_submitted_last_is_durable_when_the_process_ends(store: Store, run: Any) -> None:
    run("""
        import fcntl, subprocess
        store = Store.open(sys.argv[1])
        store.commit([Put(Table.META, b"open", b"")])
        # Somebody else's turn to write, for a while: what is submitted now is still queued when the process ends.
        turn = os.open(next(Path(sys.argv[1]).glob("durable/data.mdb")), os.O_RDONLY)
        fcntl.flock(turn, fcntl.LOCK_EX)
        subprocess.Popen(["sleep", "0.5"], pass_fds=[turn])
        os.close(turn)
        for n in range(300):
            store.submit([Put(Table.RECORDS, b"%03d" % n, b"x"), PutBlob(store.prepare([b"%03d" % n]))])
    """)
    assert len(rows_of(store)) == 300


def test_threads_that_outlive_the_main_one_may_commit_for_the_first_time(store: Store, run: Any) -> None:
    run("""
        def late():
            threading.main_thread().join()
            time.sleep(0.05)
            store = Store.open(sys.argv[1])
            store.commit([Put(Table.RECORDS, b"late", b"1"), PutBlob(store.prepare([b"x" * 100_000]))])
            store.submit([Put(Table.RECORDS, b"latest", b"2")])
            assert store.claim([b"key"], b"h" * 16) == [None]
        threading.Thread(target=late).start()
    """)
    assert rows_of(store) == {b"late": b"1", b"latest": b"2"}


def test_exit_hooks_may_commit_before_and_after_the_stores_own(store: Store, run: Any) -> None:
    run("""
        import atexit
        store = Store.open(sys.argv[1])
        atexit.register(lambda: store.commit([Put(Table.RECORDS, b"early hook", b"1")]))
        atexit._run_exitfuncs()
        store.commit([Put(Table.RECORDS, b"after", b"1")])
        store.submit([Put(Table.RECORDS, b"submitted", b"1")]).add_done_callback(
            lambda _: store.commit([Put(Table.RECORDS, b"in a callback", b"1")]))
    """)
    assert set(rows_of(store)) == {b"early hook", b"after", b"submitted", b"in a callback"}


def test_ctrl_c_reaches_who_waits_and_the_batch_is_whole(store: Store, start: Any) -> None:
    process = start("""
        store = Store.open(sys.argv[1])
        print("ready", flush=True)
        n = 0
        try:
            while True:
                store.commit([Put(Table.RECORDS, b"%08d" % n, b""), Put(Table.NODES, b"%08d" % n, b"")])
                n += 1
        except KeyboardInterrupt:
            print(n)
    """)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(2)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert rows_of(store).keys() == rows_of(store, Table.NODES).keys()
    assert len(rows_of(store)) >= int(out)


def test_a_scan_that_takes_rows_in_several_goes_gives_each_once_in_order_also_backwards(store: Store) -> None:
    for count in (15, 16, 17, 272, 273, 600):
        table = Table.NODES
        keys = [count.to_bytes(2, "big") + n.to_bytes(2, "big") for n in range(count)]
        store.commit([Put(table, key, key * 3) for key in keys])
        expected = [(key, key * 3) for key in keys]
        prefix = count.to_bytes(2, "big")
        with store.snapshot() as snap:
            assert list(snap.scan(table, prefix)) == expected
            assert list(snap.scan(table, prefix, reverse=True)) == expected[::-1]
            assert list(snap.scan(table, prefix, limit=3)) == expected[:3]
            assert list(snap.scan(table, prefix, limit=0)) == []


def test_single_rows_are_read_while_other_threads_close_the_store(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s")
    store.commit([Put(Table.RECORDS, b"key", b"value")])
    done = threading.Event()

    def read() -> set[bytes | None]:
        found = set()
        while not done.is_set():
            found.add(store.get(Table.RECORDS, b"key"))
        return found

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for n in range(20):
            store.close()
            store.commit([Put(Table.META, b"n", bytes([n]))])
        done.set()
        assert all(reader.result() == {b"value"} for reader in readers)
