"""Plays the cases of the corpus in the processes of one contender, some at a time, as long as there is time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.identity.runner import FOLDERS, Case, job_for, write_project

from benchmarks.identity.judgement import out_of_scope, verdict, verdict_on_rerun
from benchmarks.identity.peers import Contender


@dataclass(frozen=True, slots=True)
class Outcome:
    case: Case
    kind: str  # of judgement.KINDS
    said: str


class Actor:
    """A process under one hash seed that forks for each run; started again when a peer takes it down."""

    def __init__(self, contender: Contender, environment: Mapping[str, str], hash_seed: int) -> None:
        self._command = [*contender.command, "--heavy"]
        self._environment = {**os.environ, **environment, "PYTHONHASHSEED": str(hash_seed)}
        self._process: subprocess.Popen[str] | None = None

    def play(self, job: Mapping[str, object]) -> dict[str, Any]:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                env=self._environment,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            self.close()
            return {"error": "its process died"}
        return answer

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.communicate()


class Lane:
    """Two hash seeds, as the tests have them; a folder and a store of its own for each case."""

    def __init__(self, contender: Contender, environment: Mapping[str, str], root: Path) -> None:
        self._contender = contender
        self._root = root
        self._one, self._two = (Actor(contender, environment, seed) for seed in (1, 2))

    def outcomes(self, cases: Sequence[Case], end: float) -> Iterator[Outcome]:
        try:
            for case in cases:
                if time.monotonic() > end:
                    return
                yield self._outcome(case)
        finally:
            self._one.close()
            self._two.close()

    def _outcome(self, case: Case) -> Outcome:
        reason = out_of_scope(case)
        if reason and self._contender.adapter:
            return Outcome(case, "n/a", reason)
        root = self._root / case.id
        root.mkdir(parents=True)
        try:
            return Outcome(case, *self._played(case, root))
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def _played(self, case: Case, root: Path) -> tuple[str, str]:
        here, there, elsewhere, aside = (root / name for name in FOLDERS)
        edited_there = case.headers.get("place") == "same"
        same_place = edited_there or self._contender.settled
        if same_place:
            there = elsewhere = here
        store = root / "store"
        write_project(case, 0, here)
        write_project(case, case.truth_side, aside)
        truth = self._two.play(job_for(case, aside, "truth", None))
        first = self._one.play(job_for(case, here, "first", store))
        if same_place and not edited_there:
            shutil.rmtree(here)  # not edited: as if checked out anew
        write_project(case, 1, there)
        second = self._two.play(job_for(case, there, "second", store))
        kind, said = verdict(case, first, second, truth)
        if kind not in ("fine", "allowed") or not second.get("ran"):
            return kind, said
        if not same_place:
            write_project(case, case.truth_side, elsewhere)
        # Not under a debugger, as cas-run's own tests do it: mandala uses the same hook.
        job = {**job_for(case, elsewhere, "third", store), "run": "rerun"}
        return verdict_on_rerun(case, kind, said, self._one.play(job))


def play(
    contender: Contender,
    environment: Mapping[str, str],
    cases: Sequence[Case],
    root: Path,
    *,
    lanes: int,
    seconds: float,
) -> list[Outcome]:
    """As many of the cases, in their order, as there is time for."""
    end = time.monotonic() + seconds

    def played(number: int) -> list[Outcome]:
        lane = Lane(contender, environment, root / f"lane{number}")
        return list(lane.outcomes(cases[number::lanes], end))

    with ThreadPoolExecutor(lanes) as threads:
        return [outcome for outcomes in threads.map(played, range(lanes)) for outcome in outcomes]
