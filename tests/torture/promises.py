"""What the store promises, how often each promise is tried, and the page that says how it went.

A test that tries a promise is marked with its name here, `@pytest.mark.promise("kill")`, asks `rounds(100, full=1000)`
how often, and takes chance from `seed`. `make torture` runs what is marked with the full counts and writes the page.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

PROMISES = {
    "kill": "what was acknowledged survives kill -9; no record without its blob",
    "power": "... and power cuts, whatever sectors and names had not been synced",
    "full": "full disk, EIO, quota at the n-th write, fsync, rename, open: a typed error, nothing lost, it goes on",
    "damage": "flipped bits and truncations: never a wrong value; quarantine, a miss, computed again",
    "swap": "a record under another key, a row of another table or store: rejected",
    "once": "one key is computed once; a dead owner's claim is taken over; no hang",
    "gc": "gc beside writers and readers: nothing missing; killed anywhere and run again, the same end",
    "forks": "readers and forks leave nothing behind; killed readers do not make the file grow",
    "grow": "many processes grow the map",
    "ground": "a folder that is not fit is refused with advice: never a signal, never a fresh store in silence",
    "bundle": "a bundle cut off, flipped or made up is refused; import, backup, compact killed anywhere",
    "migration": "a store of each earlier format opens, or says what to do",
    "mutants": "the tests test: each mutant of our own code is caught",
}

_HEAD = """# Reliability: what was tried, how often, and what came of it

Written by `make torture`; not by hand. {date}, with {counts}, on {system}, {cores} cores, Python {python},
{minutes:.0f} minutes, by {workers} process(es) side by side. A case that failed is named; one that could not be tried
here says why.

Where chance decides, the seed is here: `pytest TEST --torture --seed SEED` plays the same again.

"""


@dataclass
class Trial:
    """One test of a promise."""

    name: str
    outcome: str
    rounds: int
    seeds: list[int]
    figures: dict[str, str]
    seconds: float
    why_not: str = ""


@dataclass
class Kept:
    """One promise and all that was tried of it."""

    text: str
    trials: list[Trial] = field(default_factory=list)

    def add(self, trial: Trial) -> None:
        """Cases of one test are one line, as long as all went the same way."""
        for known in self.trials:
            if (known.name, known.outcome, known.why_not) == (trial.name, trial.outcome, trial.why_not):
                known.rounds += trial.rounds
                known.seeds += trial.seeds
                known.seconds += trial.seconds
                known.figures |= trial.figures
                return
        self.trials.append(trial)


def page(reports: Iterable[Any], seconds: float, workers: int, *, full: bool) -> str:
    """docs/reliability.md from pytest's reports."""
    kept = {name: Kept(text) for name, text in PROMISES.items()}
    for report in reports:
        entries = list(getattr(report, "user_properties", ()))  # not of a file that was skipped as a whole
        promises = [value for name, value in entries if name == "promise"]
        for promise in promises:
            kept[promise].add(_trial(report, entries))
    head = _HEAD.format(
        counts="the full counts" if full else "the counts of CI (without `--torture`)",
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        system=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        python=platform.python_version(),
        minutes=seconds / 60,
        workers=workers,
    )
    return head + "\n".join([*_table(kept.values()), "", *_details(kept.values())]).rstrip() + "\n"


def _trial(report: Any, entries: list[tuple[str, Any]]) -> Trial:
    known = ("promise", "rounds", "seed")
    return Trial(
        name=report.nodeid if report.outcome == "failed" else report.nodeid.partition("[")[0],
        outcome=report.outcome,
        rounds=sum(value for name, value in entries if name == "rounds") or 1,
        seeds=[value for name, value in entries if name == "seed"],
        figures={name: str(value) for name, value in entries if name not in known},
        seconds=report.duration,
        why_not=str(report.longrepr[2]).removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else "",
    )


def _table(kept: Iterable[Kept]) -> list[str]:
    lines = ["| promise | tried | failed | not tried |", "|---|---|---|---|"]
    for each in kept:
        tried = sum(trial.rounds for trial in each.trials if trial.outcome != "skipped")
        failed = sum(trial.outcome == "failed" for trial in each.trials)
        skipped = sum(trial.outcome == "skipped" for trial in each.trials)
        lines.append(f"| {each.text} | {tried:,} | {failed} | {skipped or ''} |")
    return lines


def _details(kept: Iterable[Kept]) -> list[str]:
    lines = []
    for each in kept:
        if not each.trials:
            continue
        lines += [f"## {each.text[0].upper()}{each.text[1:]}", ""]
        lines += ["| test | outcome | rounds | seed | | s |", "|---|---|---|---|---|---|"]
        for trial in each.trials:
            notes = ", ".join([*(f"{name}: {value}" for name, value in trial.figures.items()), trial.why_not]).strip(
                ", "
            )
            seeds = ", ".join(map(str, trial.seeds))
            outcome = trial.outcome if trial.outcome != "failed" else "**failed**"
            lines.append(f"| `{trial.name}` | {outcome} | {trial.rounds:,} | {seeds} | {notes} | {trial.seconds:.0f} |")
        lines.append("")
    return lines
