"""What a store has saved so far, by lattice, and the trust that checks have earned."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.location import StoreChoice, open_store
from cas_engine.bookkeeping.survey import survey_of
from cas_engine.bookkeeping.usage import ElectronUse, electrons_in
from cas_engine.evaluating.verification import Trust, trust
from cas_engine.inspecting.acceptance import Acceptance, acceptances

_BIGGEST = 10


@dataclass(frozen=True, slots=True)
class LatticeTotals:
    """All dispatches of one lattice together; `saved_s` is what the hits took when they ran."""

    lattice: str
    dispatches: int
    hits: int
    ran: int
    ran_s: float
    saved_s: float
    hit_rate: float  # of the nodes that came to a result


@dataclass(frozen=True, slots=True)
class Statistics:
    """A store, summed up.

    `entries` are recorded results, `evicted` those of them whose values are not there any more. `logical_bytes` is what
    they would take were each stored by itself; `bytes` is what all blobs do take.
    """

    dispatches: int
    entries: int
    evicted: int
    blobs: int
    bytes: int
    logical_bytes: int
    electrons: tuple[ElectronUse, ...]  # those whose results take most
    lattices: tuple[LatticeTotals, ...]
    trust: tuple[Trust, ...]
    acceptances: tuple[Acceptance, ...]

    def to_json(self) -> dict[str, Any]:
        """As `cas-run stats --json` prints it."""
        return asdict(self)


def statistics(*, store: StoreChoice = None) -> Statistics:
    """Sum up a store: what was saved by which lattice, most first."""
    opened = open_store(store)
    survey = survey_of(opened, 1)
    totals: dict[str, list[float]] = {}
    for entry in ledger.newest_first(opened):
        sums = totals.setdefault(entry.lattice, [0.0] * 5)
        found = (1, *(entry.totals.get(name, 0) for name in ("hits", "ran", "ran_s", "saved_s")))
        for i, amount in enumerate(found):
            sums[i] += amount
    lattices = [
        LatticeTotals(name, int(n), int(h), int(r), rs, ss, h / (h + r) if h + r else 0.0)
        for name, (n, h, r, rs, ss) in totals.items()
    ]
    return Statistics(
        dispatches=sum(one.dispatches for one in lattices),
        entries=survey.entries,
        evicted=survey.tombstones,
        blobs=len(survey.size),
        bytes=survey.bytes,
        logical_bytes=survey.logical,
        electrons=electrons_in(survey)[:_BIGGEST],
        lattices=tuple(sorted(lattices, key=lambda one: -one.saved_s)),
        trust=tuple(trust(store=opened)),
        acceptances=tuple(acceptances(store=opened)),
    )
