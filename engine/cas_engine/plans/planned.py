"""A plan: what would run and what would be reused, and why, as a value that can be printed and sent. Pure."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """One node of a plan. `decision` is "hit", "miss" or "unknown"; `seconds` what it took last time, if ever."""

    index: int
    label: str
    electron: str
    decision: str
    reason: str
    seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """As `cas-run plan --json` prints it."""
        return {
            "index": self.index,
            "label": self.label,
            "electron": self.electron,
            "decision": self.decision,
            "reason": self.reason,
            "seconds": self.seconds,
        }


class PlannedNodes(Sequence[PlannedNode]):
    """The nodes of a plan, each told of when somebody asks: how many there are of a kind is known without."""

    @abstractmethod
    def count_of(self, decision: str) -> int:
        """How many are decided so."""

    @abstractmethod
    def estimate_s(self) -> float:
        """The seconds that those which are no hits took last time."""

    def __reduce__(self) -> tuple[object, ...]:
        return tuple, (list(self),)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an evaluation would do. Printing it is the dry run."""

    lattice: str
    nodes: Sequence[PlannedNode]

    def _count(self, decision: str) -> int:
        if isinstance(self.nodes, PlannedNodes):
            return self.nodes.count_of(decision)
        return sum(node.decision == decision for node in self.nodes)

    @property
    def hits(self) -> int:
        """How many nodes have a result."""
        return self._count("hit")

    @property
    def misses(self) -> int:
        """How many nodes would run."""
        return self._count("miss")

    @property
    def unknown(self) -> int:
        """How many nodes hang on something that has to run first."""
        return self._count("unknown")

    @property
    def estimate_s(self) -> float:
        """The seconds that the nodes which would or might run took last time, one after the other."""
        if isinstance(self.nodes, PlannedNodes):
            return self.nodes.estimate_s()
        return sum(node.seconds or 0.0 for node in self.nodes if node.decision != "hit")

    def to_json(self) -> dict[str, Any]:
        """As `cas-run plan --json` prints it."""
        return {
            "lattice": self.lattice,
            "hits": self.hits,
            "misses": self.misses,
            "unknown": self.unknown,
            "estimate_s": self.estimate_s,
            "nodes": [node.to_json() for node in self.nodes],
        }

    def __str__(self) -> str:
        width = max([len(node.label) for node in self.nodes], default=0)
        lines = []
        for node in self.nodes:
            last = "" if node.seconds is None else f"{node.seconds:9.3f} s"
            lines.append(f"{node.label:<{width}}  {node.decision:<7}  {last:>11}  {node.reason}".rstrip())
        lines.append(
            f"{self.hits} hits, {self.misses} would run, {self.unknown} unknown; about {self.estimate_s:.3f} s"
        )
        return "\n".join(lines)
