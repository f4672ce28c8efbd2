"""The corpus over cas-run and its peers, and the table of what came of it."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.identity.runner import Case, read_corpus

from benchmarks.harness import Options, Report
from benchmarks.identity.judgement import KINDS
from benchmarks.identity.lane import Outcome, play
from benchmarks.identity.peers import CAS_RUN, Contender, chosen_peers, surroundings

QUICK = 8  # of how many cases --quick plays one


@dataclass(frozen=True, slots=True)
class Standing:
    """How one contender did; `outcomes` may be a part of the corpus."""

    name: str
    version: str
    outcomes: Sequence[Outcome]
    seconds: float

    @property
    def counts(self) -> Counter[str]:
        return Counter(outcome.kind for outcome in self.outcomes)


def run(options: Options) -> Report:
    corpus = shuffled([case for case in read_corpus() if not case.skip])
    chosen = corpus[: len(corpus) // QUICK] if options.quick else corpus
    contenders = [CAS_RUN, *(chosen_peers(options.peers) if options.peers else ())]
    standings = []
    absent = []
    for contender in contenders:
        if complaint := contender.complaint:
            absent.append(f"{contender.name} ({complaint})")
            continue
        try:
            standings.append(standing_of(contender, chosen, options))
        except OSError as error:
            absent.append(f"{contender.name} ({error})")
            continue
        options.say(row_of(standings[-1], len(corpus)))
    return Report(text_of(standings, absent, len(corpus)), json_of(standings, absent, len(corpus)))


def shuffled(cases: Sequence[Case]) -> list[Case]:
    """The same mixed order each time, so that whatever part is played is a sample of all themes."""
    return sorted(cases, key=lambda case: hashlib.sha256(case.id.encode()).digest())


def standing_of(contender: Contender, cases: Sequence[Case], options: Options) -> Standing:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, surroundings(contender, Path(folder)) as environment:
        outcomes = play(contender, environment, cases, Path(folder), lanes=options.lanes, seconds=options.seconds_each)
    return Standing(contender.name, contender.version, outcomes, time.perf_counter() - start)


def header() -> str:
    return f"{'':<18}{'version':>10}{'played':>8}{'share':>7}" + "".join(f"{kind:>9}" for kind in KINDS) + f"{'s':>7}"


def row_of(standing: Standing, total: int) -> str:
    played = len(standing.outcomes)
    counts = "".join(f"{standing.counts[kind]:>9}" for kind in KINDS)
    share = f"{played / total:>7.0%}"
    return f"{standing.name:<18}{standing.version:>10}{played:>8}{share}{counts}{standing.seconds:>7.0f}"


def text_of(standings: Sequence[Standing], absent: Sequence[str], total: int) -> str:
    lines = [header(), *(row_of(standing, total) for standing in standings), ""]
    lines += [f"  {kind:<8} {meaning}" for kind, meaning in KINDS.items()]
    lines.append("Peers decorate each electron with their own decorator; the lattice is plain Python that makes the")
    lines.append("calls one after the other. `s` is for the whole of what was played and no measure of speed.")
    if absent:
        lines.append(f"skipped: {', '.join(absent)}\n  -> benchmarks/peers/setup")
    return "\n".join(lines)


def json_of(standings: Sequence[Standing], absent: Sequence[str], total: int) -> dict[str, Any]:
    return {
        "cases": total,
        "absent": list(absent),
        "contenders": [
            {
                "name": standing.name,
                "version": standing.version,
                "played": len(standing.outcomes),
                "counts": {kind: standing.counts[kind] for kind in KINDS},
                "seconds": round(standing.seconds, 1),
                "cases": [
                    {"id": outcome.case.id, "kind": outcome.kind, "said": outcome.said}
                    for outcome in sorted(standing.outcomes, key=lambda outcome: outcome.case.id)
                    if outcome.kind != "fine"
                ],
            }
            for standing in standings
        ],
    }
