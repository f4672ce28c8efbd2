"""One key is computed by one holder at a time, and nobody waits for the dead."""

from __future__ import annotations

import collections
import shutil
import threading
from typing import Any

import pytest

from cas_store import Store

ONE, TWO = b"1" * 16, b"2" * 16


def test_what_one_holds_no_other_gets(store: Store) -> None:
    assert store.claim([b"a", b"b"], ONE) == [None, None]
    assert store.claim([b"c", b"b", b"a", b"d"], TWO) == [None, ONE, ONE, None]
    assert store.claim([b"a", b"c"], ONE) == [None, TWO]


def test_what_was_released_is_free_and_only_its_holder_releases(store: Store) -> None:
    store.claim([b"a", b"b"], ONE)
    store.release([b"a", b"b", b"never claimed"], TWO)
    assert store.claim([b"a"], TWO) == [ONE]
    store.release([b"a"], ONE)
    store.release([b"a"], ONE)
    assert store.claim([b"a", b"b"], TWO) == [None, ONE]


def test_a_key_named_twice_is_claimed_once(store: Store) -> None:
    assert store.claim([b"a", b"a"], ONE) == [None, None]
    assert store.claim([], ONE) == []


def test_among_threads_each_key_has_one_holder(store: Store) -> None:
    got: list[tuple[bytes, bytes]] = []

    def claim(n: int) -> None:
        holder = bytes([n]) * 16
        got.extend((b"%d" % k, holder) for k in range(100) if store.claim([b"%d" % k], holder) == [None])

    threads = [threading.Thread(target=claim, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key for key, _ in got) == sorted(b"%d" % k for k in range(100))


@pytest.mark.promise("once")
def test_the_claims_of_a_killed_process_are_taken_over_those_of_a_living_one_are_not(store: Store, start: Any) -> None:
    program = """
        store = Store.open(sys.argv[1])
        print(store.claim([sys.argv[2].encode()], sys.argv[2].encode() * 16), store.owner.hex(), flush=True)
        time.sleep(60)
    """
    dead, living = start(program, "d"), start(program, "l")
    owners = [bytes.fromhex(process.stdout.readline().split()[1]) for process in (dead, living)]
    assert store.claim([b"d", b"l"], ONE) == [b"d" * 16, b"l" * 16]
    assert [store.is_alive(owner) for owner in owners] == [True, True]
    dead.kill()
    dead.wait()
    assert [store.is_alive(owner) for owner in owners] == [False, True]
    assert store.claim([b"d", b"l"], ONE) == [None, b"l" * 16]


def test_a_process_that_ended_well_holds_nothing(store: Store, run: Any) -> None:
    run("assert Store.open(sys.argv[1]).claim([b'k'], b'h' * 16) == [None]")
    assert store.claim([b"k"], ONE) == [None]
    Store.open(store.path)
    run("Store.open(sys.argv[1])")
    assert [path.name for path in (store.path / "live").iterdir()] == [store.owner.hex()]


def test_an_unknown_owner_is_not_alive(store: Store) -> None:
    assert not store.is_alive(bytes(16))
    assert store.is_alive(store.owner)


WORKER = """
    import random
    store = Store.open(sys.argv[1])
    holder = os.urandom(16)
    keys = [b"%s%04d" % (sys.argv[2].encode(), n) for n in range(int(sys.argv[3]))]
    random.shuffle(keys)
    print("ready", flush=True)
    sys.stdin.readline()
    waiting = keys
    while waiting:
        again = []
        for n in range(0, len(waiting), 5):
            some = [key for key in waiting[n:n + 5] if store.get(Table.RECORDS, key) is None]
            for key, other in zip(some, store.claim(some, holder)):
                if other is not None:
                    assert other != holder
                    again.append(key)
                    continue
                if store.get(Table.RECORDS, key) is None:  # it may have been finished just before the claim
                    os.write(1, b"ran " + key + b"\\n")
                    time.sleep(0.001)
                    store.commit([Put(Table.RECORDS, key, b"1")])
                    os.write(1, b"done " + key + b"\\n")
                store.release([key], holder)
        waiting = again
        time.sleep(0.002)
"""


def one_round(start: Any, prefix: str, keys: int, workers: int, killed: int) -> None:
    crew = [start(WORKER, prefix, keys) for _ in range(workers)]
    for worker in crew:
        assert worker.stdout.readline() == "ready\n"
    for worker in crew:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    victims, others = crew[:killed], crew[killed:]
    seen = [[worker.stdout.readline() for _ in range(5)] for worker in victims]
    for worker in victims:
        worker.kill()
    # Not by communicate(), which forgets what readline() has read ahead.
    outputs = [worker.stdout.read() for worker in victims]
    outputs += [worker.communicate(timeout=120)[0] for worker in others]
    for worker in victims:
        worker.wait()
    assert [worker.returncode for worker in crew] == [-9] * killed + [0] * len(others), outputs
    lines = [line.strip() for some in seen for line in some]
    lines += [line for out in outputs for line in out.splitlines()]
    runs = collections.Counter(lines)
    ran = {line.split()[1]: count for line, count in runs.items() if line.startswith("ran")}
    done = {line.split()[1] for line in runs if line.startswith("done")}
    assert len(done) >= keys - killed
    assert len(ran) == keys
    # Twice only where the first was killed on the way, which is one key for each of the killed.
    assert sum(count - 1 for count in ran.values()) <= killed


@pytest.mark.promise("once")
def test_eight_processes_compute_each_key_once_though_three_of_them_are_killed(
    store: Store, start: Any, rounds: Any
) -> None:
    for turn in range(rounds(1, full=20)):
        one_round(start, f"{turn}-", keys=300, workers=8, killed=3)


def test_scratch_is_disposable(store: Store) -> None:
    store.claim([b"a"], ONE)
    shutil.rmtree(store.path / "scratch")
    assert store.claim([b"a"], TWO) == [None]
    store.set_signal(b"s", b"1")
    assert store.get_signal(b"s") == b"1"


def test_claims_of_another_boot_are_forgotten_without_being_opened(store: Store, run: Any) -> None:
    other = store.path / "scratch" / ("0" * 32)
    other.mkdir()
    (other / "data.mdb").write_bytes(b"torn by a power cut")
    run("assert Store.open(sys.argv[1]).claim([b'a'], b'h' * 16) == [None]")
    assert not other.exists()
