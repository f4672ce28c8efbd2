"""Makes golden/objects/NAME-pythonX.Y.tar.xz before a name changes:

    python -m tests.stories.golden.objects NAME    with each Python

Stores with results of the user's own classes and functions, and code that makes them, whose streams name modules of
ours as they were called then. Each is opened by every later version: see test_golden_store.py.
"""

from __future__ import annotations

import enum
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.stories.golden.archive import archive_store

import cas_run as ct
from cas_store import Store

HERE = Path(__file__).parent


class Mode(enum.Enum):
    UP = 1
    DOWN = -1


@dataclass
class Point:
    x: int
    mode: Mode

    def moved(self, by: int) -> Point:
        return Point(self.x + by * self.mode.value, self.mode)


@ct.electron
def point(n: int) -> Point:
    return Point(n, Mode.DOWN)


@ct.electron(retries=1, ignore=["note"])
def mover(by: int, note: str = "") -> Callable[[Point], Point]:
    return lambda point: point.moved(by)


@ct.electron
def apply(move: Callable[[Point], Point], point: Point) -> Point:
    return move(point)


@ct.electron
@ct.lattice
def inner(n: int) -> int:
    return drawn(n)


@ct.electron(stochastic=True)
def drawn(n: int) -> int:
    return n + ct.seed() % 1


@ct.lattice
def flow(n: int = 10, by: int = 2) -> tuple[Point, int]:
    return apply(mover(by, note="x"), point(n)), inner(n)


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    os.environ["CAS_RUN_STORE"] = str(folder / "store")
    made = ct.dispatch(flow)()
    ct.get_result(made, wait=True)
    Store.open(folder / "store").close()
    python = ".".join(map(str, sys.version_info[:2]))
    file = HERE / "objects" / f"{sys.argv[1]}-python{python}.tar.xz"
    archive_store(folder, file, {"dispatch": made, "python": python})


if __name__ == "__main__":
    main()
