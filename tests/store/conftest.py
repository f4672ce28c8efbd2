"""A store in a folder of its own, and programs that use one in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cas_store import Store

Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

_HEAD = """
import os, signal, sys, threading, time
from pathlib import Path
from cas_store import *

def fatal(failure):
    sys.__excepthook__(*failure[:3])
    os._exit(70)

threading.excepthook = fatal
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program (its arguments: the store's path, then those given); it is killed when the test ends."""
    running: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-c", _HEAD + textwrap.dedent(program), str(tmp_path / "store"), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,  # type: ignore[call-overload]
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def run(start: Start) -> Run:
    """Run a program to its end, which has to be a good one, unless ``status`` says what it is."""

    def run(
        program: str, *arguments: object, status: int = 0, seconds: float = 60, **options: object
    ) -> subprocess.CompletedProcess[str]:
        process = start(program, *arguments, **options)
        out, err = process.communicate(timeout=seconds)
        assert process.returncode == status, f"status {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run
