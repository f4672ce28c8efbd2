"""A process that evaluates a graph for the first time, with all hits, and plans it with every key new. A script.

    worker.py SHAPE NODES

Answers with the seconds of processor time of each, those of its limit, measured right beside it, and the bytes by which
the largest resident size grew; and, where the system tells, by which the memory did that is no file's, at the end of
any of these: mapped pages of the store's file can be had back by the system at any time. Nothing may fail, and what is
counted must be what was meant: else it ends in an error.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lmdb
import xxhash

import cas_run as ct

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import memory

WIDTH = 100
_COMMIT = 64
_ROW = bytes(200)  # about what is kept of a node: a record, its entry by content, a small blob


@ct.electron(executor="inline")
def base(x: int) -> int:
    return x


@ct.electron(executor="inline")
def add(x: int, y: int) -> int:
    return x + y


@ct.electron(executor="inline")
def total(xs: list[int]) -> int:
    return len(xs)


# `turn` counts in no node: another one makes the lattice be evaluated again.
@ct.lattice
def chain(nodes: int, turn: int) -> Any:  # noqa: ARG001
    value = base(0)
    for number in range(nodes - 1):
        value = add(value, number)
    return value


@ct.lattice
def fan(nodes: int, turn: int) -> Any:  # noqa: ARG001
    value = base(0)
    return total([add(value, number) for number in range(nodes - 2)])


@ct.lattice
def layered(nodes: int, turn: int) -> Any:  # noqa: ARG001
    row = [base(number) for number in range(WIDTH)]
    for _ in range(nodes // WIDTH - 1):
        row = [add(row[i], row[(i + 1) % WIDTH]) for i in range(WIDTH)]
    return total(row)


def other(x: int) -> int:
    return x + 0


def taken(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    answer = call()
    return time.process_time() - began, answer


def calls(nodes: int) -> float:
    def loop() -> None:
        value = 0
        for number in range(nodes):
            value = add.fn(value, number)

    return taken(loop)[0]


def keys_and_gets(folder: Path, nodes: int) -> float:
    """A chain of keys, and one get of each in one transaction."""
    prefix, arguments = bytes(54), bytes(16)

    def all_keys() -> list[bytes]:
        key, keys = bytes(16), []
        for number in range(nodes):
            key = xxhash.xxh3_128_digest(b"".join((prefix, arguments, number.to_bytes(8, "big"), key)))
            keys.append(key)
        return keys

    with lmdb.open(str(folder), map_size=1 << 34, lib_version=0) as env:
        with env.begin(write=True) as txn:
            for key in sorted(all_keys()):
                txn.put(key, _ROW)

        def walk() -> None:
            with env.begin() as txn:
                for key in sorted(all_keys()):
                    txn.get(key)

        return taken(walk)[0]


def commits(folder: Path, nodes: int) -> float:
    with lmdb.open(str(folder), map_size=1 << 34, lib_version=0) as env:

        def write() -> None:
            for first in range(0, nodes, _COMMIT):
                with env.begin(write=True) as txn:
                    for number in range(first, min(first + _COMMIT, nodes)):
                        txn.put(xxhash.xxh3_128_digest(number.to_bytes(8, "big")), _ROW)

        return taken(write)[0]


def main() -> None:
    lattice, nodes = {"chain": chain, "fan": fan, "layered": layered}[sys.argv[1]], int(sys.argv[2])
    with TemporaryDirectory(prefix="cas-run-bench-") as made:
        store = str(Path(made, "store"))

        def whole(turn: int) -> Any:
            done = ct.get_result(ct.dispatch(lattice, store=store)(nodes, turn), wait=True, store=store)
            if str(done.status) != "COMPLETED":
                raise RuntimeError(f"it ended as {done.status}: {done.error}")
            return done

        ct.get_result(ct.dispatch(lattice, store=store)(WIDTH, 0), wait=True, store=store)
        before, own_before = memory.peak(), memory.own()
        cold, first = taken(lambda: whole(1))
        owned = [memory.own()]
        hits, again = taken(lambda: whole(2))
        owned.append(memory.own())
        if again.hits != (count := again.to_json()["node_count"]):
            raise RuntimeError(f"{again.hits} hits of {count} nodes")
        replan, plan = taken(ct.plan(first.dispatch_id, {"base": other}, store=store))
        if plan.hits:
            raise RuntimeError(f"a plan with every key new has {plan.hits} hits")
        peak = memory.peak() - before
        alone = calls(nodes)
        looked_up = keys_and_gets(Path(made, "keys"), nodes)
        told = {
            "nodes": nodes,
            "cold": {"ours": cold, "limit": alone + commits(Path(made, "commits"), nodes)},
            "hits": {"ours": hits, "limit": alone + looked_up},
            "replan": {"ours": replan, "limit": looked_up},
            "peak": peak,
            "own": max(*owned, memory.own()) - own_before,
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
