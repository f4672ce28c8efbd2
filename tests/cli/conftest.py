"""A folder with users' files, an empty home and the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FLOW = """
import cas_run as ct

@ct.electron
def load(n):
    print("loading", n)
    return list(range(n))

@ct.electron
def total(values, power):
    return sum(v ** power for v in values)

@ct.electron(stochastic=True)
def draw(values):
    import random
    return random.random()

@ct.lattice
def flow(n: int = 4, power: float = 1.0):
    values = load(n)
    return {"total": total(values, power), "draw": draw(values)}
"""

FAILS = """
import cas_run as ct

@ct.electron
def fine():
    return 1

@ct.electron
def breaks(x):
    raise ValueError("no such mass")

@ct.electron
def after(x):
    return x

@ct.lattice
def fails():
    return after(breaks(fine()))
"""


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout: more, less or other than that is an error."""
        found: dict[str, Any] = json.loads(self.out)
        assert isinstance(found, dict)
        assert self.out.count("\n") == 1
        return found


class Space:
    """A user's machine: a home, a working folder, a store. All of it empty."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.folder = root / "work"
        self.store = root / "store"
        self.home.mkdir()
        self.folder.mkdir()

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def environment(self, **more: str) -> dict[str, str]:
        """Nothing of the machine that runs the tests, but the means to find Python and measure coverage."""
        kept = {k: v for k, v in os.environ.items() if k.startswith(("COVERAGE", "LD_LIBRARY", "SYSTEMROOT"))}
        return {
            **kept,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "CAS_RUN_STORE": str(self.store),
            **more,
        }

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "cas_run", *words]

    def run(self, *words: str, env: Mapping[str, str] | None = None, **options: Any) -> Done:
        """The command, to its end."""
        done = subprocess.run(
            self.command(*words),
            cwd=options.pop("cwd", self.folder),
            env=self.environment() if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            **options,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The command, on its way."""
        return subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=self.environment(PYTHONUNBUFFERED="1"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def space(tmp_path: Path) -> Space:
    """An empty machine with two files: flow.py and fails.py."""
    made = Space(tmp_path)
    made.write("flow.py", FLOW)
    made.write("fails.py", FAILS)
    return made


@pytest.fixture
def make_space(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Space]:
    """For fixtures that outlive a test."""
    return lambda: Space(tmp_path_factory.mktemp("machine"))
