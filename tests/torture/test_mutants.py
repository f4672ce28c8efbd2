"""The tests test: each mistake in mutants.txt, made in a copy of the store, is noticed by what is named there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import cas_store

ROOT = Path(__file__).parent.parent.parent
PACKAGE = Path(cas_store.__file__).parent
HARNESS = Path(__file__).with_name("harness.py")


@dataclass
class Mutant:
    """One mistake: what stands in the file, and what is put in its place."""

    name: str
    file: str = ""
    check: tuple[str, ...] = ()
    changes: list[tuple[list[str], list[str]]] = field(default_factory=list)


def read_mutants() -> list[Mutant]:
    mutants: list[Mutant] = []
    last = ""
    for line in Path(__file__).with_name("mutants.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            mutants.append(Mutant(line[2:]))
        elif line.startswith("file: "):
            mutants[-1].file = line[6:]
        elif line.startswith("check: "):
            mutants[-1].check = tuple(line[7:].split())
        elif line.startswith(("-", "+")):
            if line[0] == "-" and last != "-":
                mutants[-1].changes.append(([], []))
            mutants[-1].changes[-1]["-+".index(line[0])].append(line[1:])
        last = line[:1]
    return mutants


def make(mutant: Mutant, folder: Path) -> Path:
    """What to put on the path."""
    shutil.copytree(PACKAGE, folder / "cas_store", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "cas_store" / mutant.file
    text = file.read_text(encoding="utf-8")
    for before, after in mutant.changes:
        count = text.count("\n".join(before))
        assert count == 1, f"{mutant.file} has this {count} times:\n" + "\n".join(before)
        text = text.replace("\n".join(before), "\n".join(after))
    file.write_text(text, encoding="utf-8")
    return folder


def outcome_of(check: tuple[str, ...], package: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    if check[0].startswith("tests/"):
        command = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--basetemp", str(folder), *check]
    else:
        command = [str(HARNESS), *check[:2], "1", *check[2:]]
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**kept, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.promise("mutants")
@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.name) for mutant in read_mutants()])
def test_a_mistake_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    done = outcome_of(mutant.check, make(mutant, tmp_path / "mutant"), tmp_path / "tmp")
    said = done.stdout + done.stderr
    if '"impossible"' in said or (done.returncode == 0 and " skipped" in said):
        pytest.skip("what would notice it can't run here")
    # 1: a test failed, or a promise was broken. A mutant that does not even run proves nothing.
    assert done.returncode == 1, said[-3000:]
    assert "Broken: " in said or " failed" in said, said[-3000:]
    assert not any(word in said for word in ("SyntaxError", "NameError", "IndentationError", "ImportError")), said[
        -3000:
    ]
