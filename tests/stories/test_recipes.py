"""docs/how-to/workflows.md is true: its programs and commands do what stands beside them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent.parent / "docs" / "how-to" / "workflows.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", PAGE, flags=re.MULTILINE))  # title → text
PROGRAMS = [title for title, text in RECIPES.items() if "```python" in text and "```console" not in text]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def nameless(text: str) -> str:
    """Without ids, which differ from run to run."""
    return re.sub(r"\b[0-9a-f]{12}([0-9a-f]{20})?\b", "ID", text).strip()


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "CAS_RUN_STORE": str(tmp_path / "store"), "COLUMNS": "110"}


def test_every_recipe_with_a_program_is_tried() -> None:
    assert len(PROGRAMS) >= 8
    assert sum("```" in text for text in RECIPES.values()) == len(PROGRAMS) + 2


@pytest.mark.parametrize("title", PROGRAMS)
def test_a_recipe_prints_what_stands_beside_it(title: str, tmp_path: Path, home: dict[str, str]) -> None:
    (program,) = blocks(RECIPES[title], "python")
    script = tmp_path / "recipe.py"
    script.write_text(program, encoding="utf-8")
    said = re.findall(r"^ *print\(.*\) +# (.+)$", program, flags=re.MULTILINE)
    ran = subprocess.run([sys.executable, script], env=home, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert said
    printed = ran.stdout.splitlines()
    assert [line for line in printed if not line.startswith("asked for")] == said


def test_what_changed_is_explained_and_what_was_exported_runs_elsewhere(tmp_path: Path, home: dict[str, str]) -> None:
    changed, elsewhere = RECIPES["Why did it run again?"], RECIPES["To another machine, and to a paper"]
    (program,) = blocks(changed, "python")
    (tmp_path / "area.py").write_text(program, encoding="utf-8")
    (first,) = blocks(changed, "console")
    (second,) = blocks(elsewhere, "console")
    for command, shown in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", first + second, flags=re.MULTILINE):
        ran = subprocess.run(
            command, shell=True, env=home, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, (command, ran.stderr)
        assert nameless(ran.stdout) == nameless(shown), command
