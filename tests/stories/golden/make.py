"""Makes the golden store of the current format: python make.py, with each Python, when the format has another number.

What it leaves in format-N-pythonX.Y.tar.xz is opened by every later version: see test_golden_store.py.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path

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
    with tarfile.open(HERE / f"format-{FORMAT}-python{python}.tar.xz", "w:xz") as archive:
        for path in sorted((folder / "store").rglob("*")):
            name = path.relative_to(folder)
            if not {"scratch", "live", "tmp"} & set(name.parts) and path.name not in ("lock.mdb", "clean"):
                archive.add(path, str(name), recursive=False, filter=_plain)
        content = json.dumps(told).encode()
        entry = tarfile.TarInfo("told.json")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
