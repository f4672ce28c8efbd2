"""Hurts stores: python harness.py kill|turns|power|faults ROUNDS SEED

A program of its own with one thread, so that it may fork for each round; what it hurts is the cas_store on its path.
Prints a line of JSON with figures; a promise that was not kept is a traceback and status 1.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import tracer
import workload
from powercut import Disk
from tracer import Call

from cas_store import Store, StoreError

_TOGETHER = 100  # images from one run of the workload
_PER_STORE = 12  # kills that one store outlives
_PLACES = ("store", "new/folders/store")  # of the store
_NAMING = ("rename", "link", "linkat", "mkdir")  # looked after more often: what follows is the delicate part
_BATCHES = (2, 20, 48)  # few: then most of what is seen is how a store is founded
_AMONG = ("write", "pwrite64", "writev", "pwritev", "fsync", "fdatasync", "rename", "open", "openat", "mkdir", "link",
          "linkat", "ftruncate")  # fmt: skip
_ALONE = ("fsync", "fdatasync"), ("rename", "link", "linkat"), ("pwrite64",), ("open", "openat")


class Broken(Exception):
    """A promise was not kept."""


def in_a_child(job: Callable[[], object], *, silent: bool = False, seconds: int = 30) -> int:
    """Run it in a fork; its exit status, negative for a signal. A hang is SIGALRM."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        signal.alarm(seconds)
        try:
            job()
            os._exit(0)
        except BaseException:  # noqa: BLE001
            if not silent:
                traceback.print_exc()
                sys.stderr.flush()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory, if the system has one: there a sync costs nothing, and no process here is a power cut."""
    memory = Path("/dev/shm")
    where = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="cas-run-torture-", dir=where))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- kill -9


def kill(folder: Path, rounds: int, dice: random.Random) -> dict[str, object]:
    """Each round one process checks what the ones before it left, then writes until it is killed."""
    told: set[int] = set()
    first = 0
    kinds: Counter[str] = Counter()
    for turn in range(rounds):
        if turn % _PER_STORE == 0:
            shutil.rmtree(folder / "store", ignore_errors=True)
            told.clear()
        first += 1_000
        read, write = os.pipe()
        begun = set(told)
        # By what it has done, not by the clock: how far it comes in a given time, who knows.
        enough, after = dice.randrange(40), dice.random() * 0.003

        pid = os.fork()
        if pid == 0:
            os.close(read)
            _write_until_killed(folder / "store", first, begun, write)
        os.close(write)
        with os.fdopen(read, "rb") as lines:
            checked = lines.readline() == b"checked\n"
            rest = [lines.readline() for _ in range(enough if checked else 0)]
            time.sleep(after)
            os.kill(pid, signal.SIGKILL)
            rest += lines.read().split()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if not checked or status != -signal.SIGKILL:
            raise Broken(f"round {turn}: {status}, what was there: {'in order' if checked else 'see above'}")
        told.update(map(int, rest))
        kinds["acknowledged"] += len(rest)
    if in_a_child(lambda: workload.check(Store.open(folder / "store"), told)):
        raise Broken("after the last round")
    return {"points": rounds, **kinds}


def _write_until_killed(path: Path, first: int, begun: set[int], descriptor: int) -> None:
    signal.alarm(60)
    try:
        store = Store.open(path)
        workload.check(store, begun)
        os.write(descriptor, b"checked\n")
        workload.write(store, range(first, first + 1_000), workload.acknowledge_to(descriptor))
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)


# --- kill -9 of some that wait for each other


def turns(folder: Path, rounds: int, dice: random.Random) -> dict[str, object]:
    """Each round six processes want to write as often as they can, and four are killed. The others come to an end."""
    for turn in range(rounds):
        if turn % _PER_STORE == 0:
            shutil.rmtree(folder / "store", ignore_errors=True)
            Store.open(folder / "store").close()
        gate, opener = os.pipe()
        crew = [_writer(folder / "store", gate, opener, sys.maxsize if n < 4 else 600) for n in range(6)]
        os.close(gate)
        time.sleep(0.03)
        os.close(opener)  # they begin together
        for pid in crew[:4]:
            time.sleep(dice.random() * 0.004)
            os.kill(pid, signal.SIGKILL)
        ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in crew]
        if ends != [-signal.SIGKILL] * 4 + [0] * 2:
            raise Broken(f"round {turn}: {ends}; {-signal.SIGALRM} waited for a turn that never came")
    return {"killed": 4 * rounds}


def _writer(path: Path, gate: int, opener: int, times: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(30)
    try:
        os.close(opener)
        store = Store.open(path)
        os.read(gate, 1)
        for _ in range(times):
            # In this thread, and without a sync: most of it is waiting for the others.
            store.set_signal(b"%d" % os.getpid(), bytes(100))
        os._exit(0)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)


# --- power cuts


@dataclass
class PowerCuts:
    """Runs of the workload, watched: at some moments the disk as it may be found afterwards. Is the store whole?"""

    folder: Path
    dice: random.Random
    silent: bool
    made: int = 0
    bad: int = 0
    left: int = 0  # of this run
    share: float = 0.0  # of the moments of this run
    place: str = ""

    def perform(self, count: int, sizes: Sequence[int]) -> None:
        for turn in range((count + _TOGETHER - 1) // _TOGETHER):
            batches = sizes[turn % len(sizes)]
            self.place = _PLACES[turn % 2]
            # How often there is something new to see, from a run of which no image is made.
            self.left, moments = 0, self.run(batches)[2]
            self.left = min(_TOGETHER, count - self.made)
            self.share = self.left / moments
            disk, told, _ = self.run(batches)
            while self.left:  # the rest when all is done
                self.look(disk, told)

    def run(self, batches: int) -> tuple[Disk, set[int], int]:
        run, acks = self.folder / "run", self.folder / "acks"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        disk, told, moments = Disk(str(run)), set[int](), Counter[str]()

        def job() -> None:
            descriptor = os.open(acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            store = Store.open(run / self.place)
            workload.write(store, range(batches), workload.acknowledge_to(descriptor))
            store.close()

        def entering(call: Call) -> None:
            if call.path == str(acks) and call.name == "write":
                told.update(map(int, call.data().split()))
            elif disk.covers(call.path):
                disk.entering(call)

        def leaving(call: Call, outcome: int) -> None:
            if disk.covers(call.path):
                disk.leaving(call, outcome)
                weight = 5 if call.name in _NAMING else 1
                moments["seen"] += weight
                if self.left and self.dice.random() < weight * self.share:
                    self.look(disk, told)

        status = tracer.watch(job, entering, leaving)
        if status:
            raise Broken(f"the workload itself ended with {status}")
        return disk, told, moments["seen"]

    def look(self, disk: Disk, told: set[int]) -> None:
        self.left -= 1
        self.made += 1
        image = self.folder / "image"
        image.mkdir()
        disk.image(self.dice, image)
        status = in_a_child(lambda: _found_in_order(image / self.place, told), silent=self.silent)
        shutil.rmtree(image)
        self.bad += bool(status)
        if status and not self.silent:
            raise Broken(f"image {self.made}, with {len(told)} batches acknowledged: status {status}")


def power(folder: Path, rounds: int, dice: random.Random, *, sizes: Sequence[int], control: bool) -> dict[str, object]:
    """Each round an image."""
    cuts = PowerCuts(folder, dice, silent=control)
    cuts.perform(rounds, sizes)
    return {"images": cuts.made, "bad": cuts.bad}


def _found_in_order(path: Path, told: set[int]) -> None:
    for left in ("scratch", "live"):  # of another boot, and nobody's
        shutil.rmtree(path / left, ignore_errors=True)
    store = Store.open(path)
    workload.check(store, told)
    workload.use_again(store, 1_000)


# --- errors of the system


@dataclass
class Fault:
    """Some calls in a row on files of the store fail, until the phase is over."""

    store: Path
    phase: Path
    code: int
    kinds: Sequence[str]
    places: range
    seen: int = 0
    over: bool = False
    met: Counter[str] = field(default_factory=Counter)

    def __call__(self, call: Call) -> int | None:
        if call.name in ("open", "openat") and call.path == str(self.phase):
            self.over = True
        if self.over or call.name not in self.kinds or not call.path.startswith(str(self.store)):
            return None
        self.seen += 1
        if self.seen - 1 not in self.places:
            return None
        self.met[call.name] += 1
        return self.code


def faults(folder: Path, rounds: int, dice: random.Random, calls: Sequence[str] = ()) -> dict[str, object]:
    """Each round some calls in a row fail, from a random one on. What was said to be done is done; then it goes on."""
    acks, phase = folder / "acks", folder / "phase"
    acks.touch()
    phase.touch()
    places: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    told: set[int] = set()

    def job(turn: int) -> None:
        descriptor = os.open(acks, os.O_WRONLY | os.O_APPEND)
        acknowledge = workload.acknowledge_to(descriptor)
        store = _with_patience(lambda: Store.open(folder / "store"))
        for n in range(turn * 100, turn * 100 + 30):
            with contextlib.suppress(StoreError):
                assert store.claim([b"%d" % n], b"h" * 16) == [None]
            with contextlib.suppress(StoreError):
                store.release([b"%d" % n], b"h" * 16)
            with contextlib.suppress(StoreError):
                if n % 4:
                    store.submit(workload.batch(store, n)).add_done_callback(
                        partial(workload.when_done, acknowledge, n)
                    )
                else:
                    store.commit(workload.batch(store, n))
                    acknowledge(n)
        with contextlib.suppress(StoreError):
            store.commit([])
        os.open(phase, os.O_RDONLY)  # the fault is over from here on
        # Without a restart: the same object, in the same process.
        assert store.claim([b"after%d" % turn], b"h" * 16) == [None]
        workload.write(store, range(turn * 100 + 30, turn * 100 + 40), acknowledge)
        written = {int(word) for word in acks.read_text().split()}
        workload.check(store, written | set(range(turn * 100 + 30, turn * 100 + 40)))
        store.close()

    for turn in range(rounds):
        if turn % _PER_STORE == 0:
            shutil.rmtree(folder / "store", ignore_errors=True)
            acks.write_bytes(b"")
            told.clear()
        code = dice.choice([errno.ENOSPC, errno.EIO, errno.EDQUOT])
        kinds = dice.choice([calls] if calls else [_AMONG, _AMONG, *_ALONE])
        begin, length = dice.randrange(150 if kinds is _AMONG else 40), dice.choice([1, 1, 2, 5, 1000])
        fault = Fault(folder / "store", phase, code, kinds, range(begin, begin + length))
        status = tracer.watch(partial(job, turn), fault)
        places.update(fault.met)
        errors[errno.errorcode[code]] += sum(fault.met.values())
        if status:
            raise Broken(
                f"round {turn}: status {status} with {errno.errorcode[code]} at {kinds} {begin} to {begin + length}"
            )
        told.update(map(int, acks.read_text().split()))
        if in_a_child(lambda: workload.check(Store.open(folder / "store"), told)):
            raise Broken(f"round {turn}, seen by the next process")
    return {"turns": rounds, **places, **errors}


def _with_patience(job: Callable[[], Store]) -> Store:
    for _ in range(2000):
        try:
            return job()
        except StoreError:
            continue
    raise Broken("opening never came to be")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("how", choices=["kill", "turns", "power", "faults"])
    parser.add_argument("rounds", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--control", action="store_true", help="losses are expected, and counted")
    parser.add_argument("--batches", type=int, action="append", help="how much is done before a power cut")
    parser.add_argument("--calls", type=lambda text: text.split(","), help="which of the system's calls fail")
    given = parser.parse_args()
    dice = random.Random(given.seed)
    why_not = "" if given.how in ("kill", "turns") else tracer.is_possible()
    if why_not:
        print(json.dumps({"impossible": why_not}))
        return 0
    with scratch() as folder:
        if given.how == "kill":
            figures = kill(folder, given.rounds, dice)
        elif given.how == "turns":
            figures = turns(folder, given.rounds, dice)
        elif given.how == "power":
            figures = power(folder, given.rounds, dice, sizes=given.batches or _BATCHES, control=given.control)
        else:
            figures = faults(folder, given.rounds, dice, given.calls or ())
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
