"""What tests of workflows share: a store of their own, and a count of what really ran.

Electrons in these tests say that they run by `mark("name")`, which appends a line to a file; `ran()` gives the names
since it was last asked. So the count is that of real calls, whichever process or thread made them, and whatever the
engine reports.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cas_store import Store

ROOT = Path(__file__).parent.parent
BEGUN = time.monotonic()

Rounds = Callable[..., int]
Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]
Eventually = Callable[..., None]
TakeNumber = Callable[[], int]

# What every program of a story begins with.
_HEAD = """
import json, os, sys, threading, time
import cas_run as ct

def mark(name):
    with open(os.environ["TALLY"], "a") as tally:
        tally.write(name + "\\n")

def show(value):
    print(json.dumps(value), flush=True)

"""


# --- how often: CI tries each promise of the store some times, `make torture` many times, and writes a page about it.


def by_path(name: str, path: Path) -> Any:
    """A module that lies among the tests: nothing there is importable by name."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


promises = by_path("torture_promises", ROOT / "tests" / "torture" / "promises.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("torture", "promises of the store")
    group.addoption("--torture", action="store_true", help="the full counts")
    group.addoption("--seed", type=int, help="what chance begins with, to play something again")
    group.addoption("--reliability", type=Path, metavar="FILE", help="write the page about what was tried")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("promise"):
        assert mark.args[0] in promises.PROMISES, f"no such promise: {mark.args[0]}"
        item.user_properties.append(("promise", mark.args[0]))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    file = config.getoption("--reliability")
    if file is not None:
        outcomes = [each for name in ("passed", "failed", "skipped") for each in terminalreporter.stats.get(name, [])]
        workers = int(getattr(config.option, "numprocesses", 0) or 1)
        seconds, full = time.monotonic() - BEGUN, config.getoption("--torture")
        file.write_text(promises.page(outcomes, seconds, workers, full=full), encoding="utf-8")


@pytest.fixture
def rounds(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Rounds:
    """How often: `rounds(100, full=1000)`."""

    def rounds(few: int, *, full: int) -> int:
        chosen = full if request.config.getoption("--torture") else few
        record_property("rounds", chosen)
        return chosen

    return rounds


@pytest.fixture
def seed(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> int:
    """What chance begins with; another each time, unless --seed says."""
    given = request.config.getoption("--seed")
    chosen: int = random.randrange(1 << 30) if given is None else given
    record_property("seed", chosen)
    print(f"seed {chosen}")
    return chosen


def _mark(name: str) -> None:
    # One write to a file opened for appending: lines of several processes do not mix.
    with open(os.environ["TALLY"], "a", encoding="utf-8") as tally:  # noqa: PTH123 - electrons are made of builtins
        tally.write(name + "\n")


def _names_in(tally: Path) -> list[str]:
    """The names marked since the last time, sorted: electrons run side by side."""
    if not tally.exists():
        return []
    names = tally.read_text(encoding="utf-8").split()
    tally.unlink()
    return sorted(names)


def _eventually(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is true; an AssertionError if it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


@pytest.fixture(scope="session", autouse=True)
def nobodys_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A test that names no store must not meet what earlier versions left in the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mark:
    """What an electron calls to be counted. The test's workflows use a store of their own from here on."""
    monkeypatch.setenv("TALLY", str(tmp_path / "tally"))
    monkeypatch.setenv("CAS_RUN_STORE", str(tmp_path / "store"))
    return _mark


@pytest.fixture
def ran(mark: Mark, tmp_path: Path) -> Ran:
    """The names of the electrons that ran since it was last called, sorted."""
    return lambda: _names_in(tmp_path / "tally")


def _take_number() -> int:
    number = 1
    while True:
        try:
            os.mkdir(f"{os.environ['TALLY']}.{number}")  # noqa: PTH102 - as above
        except FileExistsError:
            number += 1
        else:
            return number


@pytest.fixture
def take_number(mark: Mark) -> TakeNumber:
    """1, 2, 3 ..., each once, whichever thread or process asks: what a stochastic electron returns in these tests."""
    return _take_number


@pytest.fixture
def other_process(tmp_path: Path) -> Callable[[], None]:
    """Forget what this process knows of the test's store, as one that starts now."""

    def other_process() -> None:
        Store.open(tmp_path / "store").close()

    return other_process


@pytest.fixture
def eventually() -> Eventually:
    return _eventually


@dataclass(frozen=True)
class Done:
    """A program that has ended."""

    code: int
    out: str
    err: str

    @property
    def shown(self) -> list[Any]:
        """What it showed, one value a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def last(self) -> Any:
        return self.shown[-1]


class Program:
    """A program on its way."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def shown(self) -> Any:
        """The next value that it shows, waited for."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(self.end().err)
        return json.loads(line)

    def tell(self, word: str = "go") -> None:
        """A line on its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """As the machine's power switch does it: no chance to say anything."""
        self._process.kill()
        self._process.communicate(timeout=20)

    def end(self, seconds: float = 30) -> Done:
        """Wait until it ends by itself."""
        out, err = self._process.communicate(timeout=seconds)
        return Done(self._process.returncode, out, err)


class Space:
    """A user's folder and store, and the programs that they start there, each in a process of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "project"
        self.store = root / "store"
        self.tally = root / "tally"
        self.folder.mkdir()
        self.started: list[subprocess.Popen[str]] = []

    def write(self, name: str, text: str) -> Path:
        """A file of the user's, as it stands."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return file

    def script(self, text: str, name: str = "script.py") -> Path:
        """A script that can `mark` what runs and `show` values."""
        return self.write(name, _HEAD + textwrap.dedent(text))

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k.startswith(("COVERAGE", "LD_LIBRARY", "PATH"))}
        own = {"HOME": str(self.root), "CAS_RUN_STORE": str(self.store), "TALLY": str(self.tally)}
        return {**kept, **own, "LANG": "C.UTF-8", "PYTHONWARNINGS": "error::ResourceWarning", **more}

    def start(self, script: Path, *words: str, cwd: Path | None = None, **environment: str) -> Program:
        process = subprocess.Popen(
            [sys.executable, str(script), *words],
            cwd=cwd or self.folder,
            env=self.environment(**environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return Program(process)

    def run(self, script: Path, *words: str, cwd: Path | None = None, **environment: str) -> Done:
        """To its end, which has to be a good one."""
        done = self.start(script, *words, cwd=cwd, **environment).end()
        assert (done.code, done.err) == (0, ""), done.err
        return done

    def do(self, text: str, *words: str) -> Done:
        """A few lines in a new process, in another folder: nothing of the user's project can be imported there."""
        elsewhere = self.root / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        file = elsewhere / "lines.py"
        file.write_text(_HEAD + textwrap.dedent(text), encoding="utf-8")
        return self.run(file, *words, cwd=elsewhere)

    def ran(self) -> list[str]:
        """The names of the electrons that ran since it was last called, sorted."""
        return _names_in(self.tally)

    def marked(self, name: str) -> bool:
        """Whether an electron of this name has run since `ran` was last called."""
        return self.tally.exists() and name in self.tally.read_text(encoding="utf-8").split()


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Space]:
    """A user's folder, empty; whatever is still running there at the end is killed."""
    space = Space(tmp_path)
    yield space
    for process in space.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
