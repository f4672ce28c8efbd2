"""What an evaluation is given: its graph, its store, who runs calls, who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cas_engine.calling.printed import Writing
from cas_engine.calling.worker import Task
from cas_engine.capsules.unchanged import LiveCode
from cas_engine.evaluating.events import Observer
from cas_engine.executors import Answer, Runner
from cas_engine.graphs.graph import Graph, Row
from cas_engine.plans.outcome import NodeOutcome
from cas_engine.plans.policy import Policy
from cas_engine.plans.records import Record
from cas_store.digest import Digest
from cas_store.store import Store


class Nested(Protocol):
    """Evaluates sublattices."""

    def start(
        self, node: int, row: Row, task: Task, report: Callable[[Answer], None], prints: Callable[[str], None]
    ) -> None:
        """Evaluate one in a thread of its own; `report` gets its result, or what failed in it.

        `prints` is told the dispatch that it is evaluated as, once something in that is printed.
        """

    def stop(self, node: int) -> None:
        """Nobody waits for it any more."""

    def dispatch_of(self, node: int) -> str:
        """The dispatch that a sublattice was evaluated as, "" if it was not."""


class Cancellation(Protocol):
    """Tells whether somebody asked to stop."""

    def is_set(self) -> bool:
        """Whether somebody did."""


class Rest(Protocol):
    """The nodes that are not in an excerpt: all are hits."""

    def __len__(self) -> int:
        """How many."""

    def __iter__(self) -> Iterator[tuple[int, str, str, NodeOutcome]]:
        """Each with its number, its label and its electron."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What an evaluation works with; all of it belongs to one dispatch."""

    store: Store
    dispatch_id: str
    lattice: str
    graph: Graph
    prefixes: Sequence[bytes]
    policy: Policy
    kept: Mapping[Digest, Record] | None  # the parent's samples by key, None without a parent
    live: Mapping[Digest, LiveCode]  # functions of this process by capsule
    runner_for: Callable[[Row], Runner]
    nested: Nested
    why: Callable[[int], str]  # why a node that is not forced misses
    times: Callable[[], Mapping[int, float]]  # what nodes took last time
    observer: Observer | None
    printed: Writing
    cancelled: Cancellation
    # Where the graph is an excerpt of a larger one:
    numbers: Sequence[int] | None = None  # of its nodes in that
    given: Mapping[int, tuple[Digest, Record]] = field(
        default_factory=dict
    )  # nodes that are not decided, with their keys
    rest: Rest | None = None  # those of the larger one that are not in it


class GivenGone(Exception):
    """A node that was given has to be computed again."""
