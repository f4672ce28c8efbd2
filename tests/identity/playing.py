"""Plays projects made up at random (projects.py) before and after an edit, and judges what ran.

A script (`python tests/identity/playing.py --help`): plays as many as wanted, from a seed on.
test_generated_projects.py loads it by path.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any


def load(name: str) -> Any:
    """A module beside this one: in tests/ nothing is importable by name."""
    spec = importlib.util.spec_from_file_location(f"identity_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.get(spec.name)
    if module is None:
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


runner = load("runner")
projects = load("projects")
WAYS = ("import", "import", "script", "cells")
Verdict = tuple[str, str]  # fine, stale, wasted, error or corpus (the project is at fault); what happened


class Game:
    """One law of `LAWS`, tried on one project after the other by two processes of different hash seeds."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._zygotes = runner.Zygote(1, heavy=False), runner.Zygote(2, heavy=False)
        self._played = 0
        self.files: dict[str, dict[str, str]] = {}  # of the project played last

    def close(self) -> None:
        for zygote in self._zygotes:
            zygote.close()

    def play(self, law: str, pick: Any) -> Verdict:
        project = projects.made_up(pick)
        edit = projects.edited(project, pick)
        self.files = {"before": projects.written(project), "after": projects.written(edit.after)}
        self._played += 1
        root = self._root / str(self._played)
        for place, files in (*self.files.items(), ("aside", self.files["before"])):
            write(files, root / place)
        try:
            kind, said = LAWS[law](self, root, project, edit, pick)
        except Ended as error:
            kind, said = "error", str(error)
        finally:
            shutil.rmtree(root, ignore_errors=True)
        return kind, f"{edit.what} {sorted(edit.changed)}; {said}"

    def ask(self, which: int, folder: Path, how: str, *, plain: bool = False, run: str = "first", **more: Any) -> Any:
        """What a process answers; `args` of the lattice, and options of a redispatch."""
        job: dict[str, Any] = {
            "folder": str(folder),
            "root": str(folder.parent),
            "run": run,
            "entry": "workflow",
            "how": how,
        }
        job |= {"args": more.pop("args", ""), "options": more}
        self._zygotes[which].send({**job, "store": None if plain else str(folder.parent / "store")})
        answer = self._zygotes[which].receive()
        if "error" in answer:
            message = f"{folder.name} {job}: {answer.get('traceback', answer['error'])[-2000:]}"
            raise Ended(message)
        return answer


class Ended(Exception):
    """A run that was to end well ended in an error."""


def judge_edit(game: Game, root: Path, project: Any, edit: Any, pick: Any) -> Verdict:
    """Edited, an electron runs if its value is another one, and not if the edit is of nothing that it reaches."""
    ways = pick(WAYS), pick(WAYS)
    first = game.ask(0, root / "before", ways[0])
    second = game.ask(1, root / "after", ways[1], run=pick(("second", "third")))
    truth = game.ask(0, root / "after", "import", plain=True)
    before, got, after = (ast.literal_eval(answer["value"]) for answer in (first, second, truth))
    names = [one.name for one in edit.after.electrons()]
    said = f"{ways}: before {before} after {after} got {got}; ran {second['ran']} of {names}"
    if got != after:
        return "stale", said
    for place, one in enumerate(project.electrons()):
        reached = project.reached_by(one.number) | edit.after.reached_by(one.number)
        ran, changed = names[place] in second["ran"], before[place] != after[place]
        if changed and not reached & edit.changed:
            return "corpus", said
        if changed and not ran:
            return "stale", said
        if ran and not reached & edit.changed:
            return "wasted", said
    return "fine", said


def judge_recorded(game: Game, root: Path, project: Any, _: Any, pick: Any) -> Verdict:
    """Redispatched beside its source, edited source or none, what was recorded runs, and is found by the source."""
    way, place = pick(WAYS), pick(("before", "after", "nowhere"))
    first = game.ask(0, root / "before", way)["value"]
    other = game.ask(1, root / "aside", "import", plain=True, args="n=24")["value"]
    if place == "nowhere":
        shutil.rmtree(root / "before")
        (root / place).mkdir()
    everything = len(project.electrons())
    steps: tuple[tuple[dict[str, Any], str, int | None], ...] = (
        ({}, first, 0),
        ({"recompute": "all"}, first, everything),
        ({"args": "n=24"}, other, None),
        ({"args": "n=20"}, first, 0),
        ({"args": "n=24", "recompute": "all"}, other, everything),
    )
    for step, (options, value, most) in enumerate(steps):
        got = game.ask(step % 2, root / place, "capsule", run="second", **options)
        said = f"{way} {place}, {options}: {got}, expected {value} and {most} runs"
        if got["value"] != value:
            return "stale", said
        if most is not None and len(got["ran"]) != most:
            return "wasted", said
    got = game.ask(1, root / "aside", "import", run="second", args="n=24")
    return "fine" if not got["ran"] and got["value"] == other else "wasted", f"{way} {place}, from source again: {got}"


LAWS = {"edit": judge_edit, "recorded": judge_recorded}


def write(files: dict[str, str], folder: Path) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("law", choices=sorted(LAWS))
    parser.add_argument("--seed", type=int, default=0, help="of the first project")
    parser.add_argument("-n", type=int, default=100, help="how many")
    parser.add_argument("--keep", type=Path, help="a folder for those projects that are not fine")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    start = time.perf_counter()
    with runner.scratch() as folder:
        game = Game(folder)
        for seed in range(options.seed, options.seed + options.n):
            kind, said = game.play(options.law, random.Random(seed).choice)
            counts[kind] += 1
            if kind != "fine":
                print(f"{seed} {kind}: {said}", flush=True)
            if kind != "fine" and options.keep:
                for side, files in game.files.items():
                    write(files, options.keep / str(seed) / side)
        game.close()
    print(dict(counts), f"{time.perf_counter() - start:.1f} s")
    return int(set(counts) != {"fine"})


if __name__ == "__main__":
    sys.exit(main())
