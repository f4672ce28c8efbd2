"""What README shows is what happens: its programs and commands are run as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with a store of its own, and with the command on the PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "CAS_RUN_STORE": str(tmp_path / "store"), "COLUMNS": "110"}


def test_the_twenty_lines_print_what_they_say(tmp_path: Path, home: dict[str, str]) -> None:
    (program,) = blocks("python")
    script = tmp_path / "study.py"
    script.write_text(program, encoding="utf-8")
    said = re.findall(r"^print\(.*?\)\s+# (.+)$", program, flags=re.MULTILINE)
    assert len(said) >= 3
    ran = subprocess.run([sys.executable, script], env=home, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == said


def shape(text: str) -> list[str]:
    """A screen without what differs from run to run: ids, durations, ages, the random draw, widths of columns."""
    text = re.sub(r"\b[0-9a-f]{12,32}\b", "ID", text)
    text = re.sub(r"'spread': \d\.\d+", "DRAW", text)
    text = re.sub(r"\b\d+\.\d{1,3}\b( s)?", "TIME", text)
    text = re.sub(r"\bjust now\b|\b\d+ (s|min) ago\b", "AGO", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def ids_in(text: str) -> list[str]:
    return re.findall(r"\b[0-9a-f]{12}\b", text)


def test_the_tour_shows_what_the_command_says(tmp_path: Path, home: dict[str, str]) -> None:
    (tour,) = blocks("console")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    commands = re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", tour, flags=re.MULTILINE)
    assert len(commands) >= 5
    id_here: dict[str, str] = {}  # of a dispatch that README shows
    for command, shown in commands:
        words = [id_here.get(word, word) for word in command.split()]
        ran = subprocess.run(words, env=home, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
        assert shape(ran.stdout) == shape(shown), command
        id_here |= zip(ids_in(shown), ids_in(ran.stdout), strict=True)
