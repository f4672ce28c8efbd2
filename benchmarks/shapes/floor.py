"""What the machine can do: keys of code and parents, and LMDB, in a loop that a page holds. Nothing else is promised.

As the engine has to: each result durable, at most GROUP of them in a commit; each key of the code's and the parents'
digests, and one look-up of it.
"""

from __future__ import annotations

import marshal
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
from xxhash import xxh3_128_digest

from benchmarks.shapes import graphs

GROUP = 64


def floor(shape: str, size: int, folder: Path) -> Callable[[], tuple[Any, int]]:
    if shape == "sweep":
        return lambda: of_calls(size, folder)
    return lambda: of_parents(shape, size, folder)


class Kept:
    def __init__(self, folder: Path) -> None:
        self.environment = lmdb.open(str(folder / "floor"), map_size=1 << 36, lib_version=0)
        self.reading = self.environment.begin()
        self.fresh: list[tuple[bytes, bytes]] = []
        self.ran = 0

    def add(self, key: bytes, value: Any) -> None:
        self.fresh.append((key, pickle.dumps(value)))
        self.ran += 1
        if len(self.fresh) == GROUP:
            self.commit()

    def value(self, key: bytes) -> Any:
        found = self.reading.get(key)
        assert found is not None
        return pickle.loads(found)

    def commit(self) -> None:
        if self.fresh:
            with self.environment.begin(write=True) as transaction:
                transaction.cursor().putmulti(sorted(self.fresh))
            self.fresh = []

    def close(self) -> None:
        self.commit()
        self.reading.abort()
        self.environment.close()


def of_parents(shape: str, size: int, folder: Path) -> tuple[Any, int]:
    """Values are fetched only for what runs, as the engine does."""
    kept = Kept(folder)
    get, code = kept.reading.get, xxh3_128_digest(marshal.dumps(graphs.step.__code__))
    keys: list[bytes] = []
    values: dict[int, int] = {}
    parents_of = graphs.PARENTS[shape](size)
    for number, parents in enumerate(parents_of):
        key = xxh3_128_digest(b"".join([code, number.to_bytes(8, "big"), *[keys[parent] for parent in parents]]))
        keys.append(key)
        if get(key) is None:
            for parent in parents:
                if parent not in values:
                    values[parent] = kept.value(keys[parent])
            values[number] = graphs.step(number, [values[parent] for parent in parents])
            kept.add(key, values[number])
    value = values[size - 1] if size - 1 in values else kept.value(keys[-1])
    kept.close()
    return value, kept.ran


class Later:
    """A call by its key; its value only when something asks for it."""

    def __init__(self, key: bytes) -> None:
        self.key = key


def of_calls(size: int, folder: Path) -> tuple[Any, int]:
    kept = Kept(folder)
    values: dict[bytes, Any] = {}

    def now(argument: Any) -> Any:
        if isinstance(argument, list):
            return [now(each) for each in argument]
        if not isinstance(argument, Later):
            return argument
        if argument.key not in values:
            values[argument.key] = kept.value(argument.key)
        return values[argument.key]

    def named(argument: Any) -> Any:
        if isinstance(argument, list):
            return [named(each) for each in argument]
        return argument.key if isinstance(argument, Later) else argument

    def task(fn: Callable[..., Any]) -> Callable[..., Any]:
        code = marshal.dumps(fn.__code__)

        def call(*arguments: Any) -> Later:
            key = xxh3_128_digest(code + pickle.dumps(named(list(arguments))))
            if key not in values and kept.reading.get(key) is None:
                values[key] = fn(*now(list(arguments)))
                kept.add(key, values[key])
            return Later(key)

        return call

    value = now(graphs.program("sweep", task)(size))
    kept.close()
    return value, kept.ran
