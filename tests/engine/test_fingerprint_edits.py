"""A fingerprint changes with what the code would do, and with nothing else: before/after projects, as data.

In `edits/*.cases` a case is a project with its edit marked as in a diff:

    === name: same | changed [target=module:name] [how=script|cells] [unres=1] [needs=package,...]
    call: text that is run in the module; the fingerprint must be the same afterwards
    --- wf.py
    -def task(x): return x          before
    +def task(x): return x + 1      after

`=>` parts the two sides of a target, a way to load, and a file's name. Before is read in one process, after in
another, under another hash seed and in another folder. `unres=1`: the case has names that can't be followed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@dataclass(frozen=True)
class Case:
    name: str
    changes: bool
    options: dict[str, str]
    call: str
    files: tuple[tuple[str, str, str, str], ...]  # name before, name after, text before, text after

    def job(self, side: int, folder: Path) -> dict[str, str]:
        def option(name: str, default: str) -> str:
            before, arrow, after = self.options.get(name, default).partition("=>")
            return after if arrow and side else before

        how, target = option("how", "import"), option("target", "wf:task")
        return {"folder": str(folder), "target": target, "how": how, "call": self.call}

    def write(self, side: int, folder: Path) -> None:
        for file in self.files:
            path = folder / file[side]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file[2 + side], encoding="utf-8")

    @property
    def missing(self) -> list[str]:
        return [
            need for need in self.options.get("needs", "").split(",") if need and not importlib.util.find_spec(need)
        ]


def read_cases() -> Iterator[Case]:
    for path in sorted((HERE / "edits").glob("*.cases")):
        for chunk in path.read_text(encoding="utf-8").split("\n=== ")[1:]:
            head, *sections = chunk.split("\n--- ")
            title, *headers = head.split("\n")
            name, _, rest = title.partition(": ")
            verdict, *options = rest.split()
            assert verdict in {"same", "changed"}, title
            call = "".join(line.removeprefix("call: ") for line in headers)
            files = tuple(read_file(section) for section in sections)
            yield Case(f"{path.stem}/{name}", verdict == "changed", dict(o.split("=", 1) for o in options), call, files)


def read_file(section: str) -> tuple[str, str, str, str]:
    title, _, body = section.partition("\n")
    before, _, after = title.partition(" => ")
    return before, after or before, side_of(body, "-", "+"), side_of(body, "+", "-")


def side_of(body: str, keep: str, drop: str) -> str:
    lines = [line for line in body.split("\n") if not line.startswith(drop)]
    return "\n".join(line.removeprefix(keep) for line in lines) + "\n"


CASES = {case.name: case for case in read_cases()}


# Imported once, before the forks.
LIBRARIES = ("numpy", "pandas", "attrs", "pydantic", "sklearn.linear_model", "sklearn.preprocessing")


def is_here(name: str) -> bool:
    return importlib.util.find_spec(name.partition(".")[0]) is not None


def fingerprints_of(jobs: list[dict[str, str]], seed: int) -> list[dict[str, Any]]:
    roots = os.pathsep.join(str(ROOT / folder) for folder in ("store", "engine"))
    env = {**os.environ, "PYTHONHASHSEED": str(seed), "OMP_NUM_THREADS": "1", "PYTHONPATH": roots}
    command = [sys.executable, str(HERE / "fingerprints_of.py"), *(name for name in LIBRARIES if is_here(name))]
    done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, env=env, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """What each case gives before and after."""
    cases = [case for case in CASES.values() if not case.missing]
    answers = []
    for side, name in enumerate(("before", "after it")):
        root = tmp_path_factory.mktemp("side") / name
        jobs = []
        for number, case in enumerate(cases):
            folder = root / str(number)
            case.write(side, folder)
            jobs.append(case.job(side, folder))
        answers.append(fingerprints_of(jobs, seed=side + 1))
    return {case.name: (before, after) for case, before, after in zip(cases, *answers, strict=True)}


@pytest.mark.parametrize("name", CASES)
def test_the_fingerprint_changes_if_and_only_if_the_code_does(
    name: str, played: dict[str, tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    case = CASES[name]
    if case.missing:
        pytest.skip(f"needs {case.missing[0]}")
    before, after = played[name]
    assert "error" not in before, before["error"]
    assert "error" not in after, after["error"]
    assert (before["code"] != after["code"]) == case.changes, (before["components"], after["components"])
    for side in (before, after):
        assert side["again"] == side["code"], "it changed by being run"
        if "unres" not in case.options:
            assert side["unresolved"] == []
