"""Makes the golden store of the current format, when that has another number:

    python -m tests.stories.golden.make    with each Python

What it leaves in format-N-pythonX.Y.tar.xz is opened by every later version: see test_golden_store.py.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.stories.golden.archive import archive_store

import cas_run as ct
from cas_store import Store
from cas_store.layout import FORMAT

HERE = Path(__file__).parent


@ct.electron
def grid(n: int) -> dict[str, list[int]]:
    return {"numbers": list(range(n))}


@ct.electron
def total(table: dict[str, list[int]], by: int = 1) -> int:
    return sum(table["numbers"]) * by


@ct.electron
def large(n: int) -> bytes:
    return bytes(range(256)) * n


@ct.electron(stochastic=True)
def draw() -> float:
    return 0.25


@ct.lattice
def flow(n: int = 10, by: int = 2) -> tuple[int, bytes, float]:
    return total(grid(n), by), large(300), draw()


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    os.environ["CAS_RUN_STORE"] = str(folder / "store")
    first = ct.dispatch(flow)()
    ct.get_result(first, wait=True)
    second = ct.redispatch(first)(n=20)
    ct.get_result(second, wait=True)
    Store.open(folder / "store").close()
    told = {"dispatches": [first, second], "python": sys.version.split()[0], "totals": [90, 380]}
    python = ".".join(map(str, sys.version_info[:2]))
    archive_store(folder, HERE / f"format-{FORMAT}-python{python}.tar.xz", told)


if __name__ == "__main__":
    main()
