"""What an evaluation tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan stands: how many nodes there are, how many are hits, and the seconds the others took last time."""

    dispatch_id: str
    lattice: str
    total: int
    hits: int
    estimate_s: float


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A node runs now."""

    dispatch_id: str
    index: int
    label: str
    electron: str


@dataclass(frozen=True, slots=True)
class NodeFinished:
    """A node is settled: `status` is hit, ran, failed, skipped or cancelled; `saved_s` what a hit spared."""

    dispatch_id: str
    index: int
    label: str
    electron: str
    status: str
    reason: str
    seconds: float
    saved_s: float


@dataclass(frozen=True, slots=True)
class Finished:
    """The dispatch is over; all of it is durable."""

    dispatch_id: str
    status: str


@dataclass(frozen=True, slots=True)
class Audited:
    """A share of the hits was run again: how many, and the labels of those that did not come out as recorded."""

    dispatch_id: str
    checked: int
    different: tuple[str, ...]


Event = Planned | NodeStarted | NodeFinished | Finished | Audited
Observer = Callable[[Event], None]
