"""A program runs its modules as they are now, also where Python's bytecode of an earlier text looks current."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
{imports}
@ct.electron
def one(n):
    return pack.helper.f(n)
@ct.lattice
def flow(n):
    return one(n)
print(ct.dispatch_sync(flow, store="store")(1).result)
"""
HELPER = "def f(n):\n    return n * {k}\n"


@pytest.fixture
def second() -> int:
    """One that is not over, however slow the machine."""
    return time.time_ns() // 10**9 + 60


def written(folder: Path, second: int, k: int) -> None:
    """Python tells files from their bytecode by whole seconds and sizes: to it, other digits are no change."""
    (folder / "pack").mkdir(exist_ok=True)
    (folder / "pack/__init__.py").touch()
    (folder / "pack/helper.py").write_text(HELPER.format(k=k))
    os.utime(folder / "pack/helper.py", ns=(second * 10**9 + k, second * 10**9 + k))


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        [sys.executable, "script.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def test_an_edit_within_a_second_of_the_last_run_is_seen(tmp_path: Path, second: int) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(imports="import cas_run as ct\nimport pack.helper"))
    said = []
    for k in (2, 3):
        written(tmp_path, second, k)
        said.append(run(tmp_path).stdout)
    assert said == ["2\n", "3\n"]


def test_what_was_imported_before_cas_run_is_refused_once_if_it_is_outdated(tmp_path: Path, second: int) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(imports="import pack.helper\nimport cas_run as ct"))
    written(tmp_path, second, 2)
    assert run(tmp_path).stdout == "2\n"
    assert run(tmp_path).stdout == "2\n"  # as young, and right
    written(tmp_path, second, 3)
    refused = run(tmp_path)
    assert refused.returncode != 0
    assert "OutdatedBytecode: Python has run an earlier text of" in refused.stderr
    assert "start the program again" in refused.stderr
    assert run(tmp_path).stdout == "3\n"
