"""Two dispatches side by side, as a value that can be printed and sent. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class NodeDiff:
    """One node in two dispatches. `result` is equal, changed, only in a, only in b, or missing."""

    label: str
    cause: str  # why the second one's key differs, "" if it does not
    result: str
    amount: str  # how much a number changed
    seconds_a: float
    seconds_b: float

    def to_json(self) -> dict[str, Any]:
        """As `cas-run diff --json` prints it."""
        return {
            "label": self.label,
            "cause": self.cause,
            "result": self.result,
            "amount": self.amount,
            "seconds_a": self.seconds_a,
            "seconds_b": self.seconds_b,
        }


@dataclass(frozen=True, slots=True)
class Diff:
    """Two dispatches side by side: pairs are (in a, in b)."""

    a: str
    b: str
    lattice: tuple[str, str]
    inputs: dict[str, tuple[str | None, str | None]]
    environment: dict[str, tuple[str | None, str | None]]
    nodes: tuple[NodeDiff, ...]
    result: str

    def to_json(self) -> dict[str, Any]:
        """As `cas-run diff --json` prints it."""
        return {
            "a": self.a,
            "b": self.b,
            "lattice": list(self.lattice),
            "inputs": {name: list(pair) for name, pair in self.inputs.items()},
            "environment": {name: list(pair) for name, pair in self.environment.items()},
            "nodes": [node.to_json() for node in self.nodes],
            "result": self.result,
        }

    def __str__(self) -> str:
        lines = [f"{self.a[:12]} {self.lattice[0]}  against  {self.b[:12]} {self.lattice[1]}"]
        for title, pairs in (("input", self.inputs), ("package", self.environment)):
            lines += [f"{title} {name}: {was or 'none'} → {now or 'none'}" for name, (was, now) in pairs.items()]
        width = max([len(node.label) for node in self.nodes], default=0)
        for node in self.nodes:
            cause = f"  ({node.cause})" if node.cause else ""
            amount = f" {node.amount}" if node.amount else ""
            lines.append(f"{node.label:<{width}}  {node.result}{amount}{cause}")
        lines.append(f"result: {self.result}")
        return "\n".join(lines)
