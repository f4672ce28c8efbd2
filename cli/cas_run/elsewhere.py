"""What a server tells of a dispatch and its nodes, in the place of the engine's results of a store here."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cas_engine.plans.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cas_run.client import Client

# What a server tells beside that which `cas-run show --json` has. Not the other way round: what is new comes through.
_MORE_OF_DISPATCH = frozenset({"nodes", "nodes_next", "lattice_inputs"})
_MORE_OF_NODE = frozenset({"parents"})
_SHOWN = ("type", "preview", "value", "error")
_BUILTIN = frozenset({"NoneType", "bool", "dict", "float", "int", "list", "str", "tuple"})


class Valued:
    """Something that may have a value, which stays where it is: `told` is what is known of it without loading it."""

    _client: Client
    _id: str
    _node: str | None = None

    def told(self) -> dict[str, Any]:
        """`type`, `preview`, and `value` where JSON holds it."""
        from cas_run.refusals import told_as_ours

        with told_as_ours():
            found = self._client.answer(self._id, self._node)
        return {name: found[name] for name in _SHOWN if name in found}

    def value(self) -> Any:
        """The value where JSON holds it (a tuple comes as one). Raises NoResultThere."""
        told = self.told()
        if "value" not in told:
            from cas_run.refusals import NoResultThere

            where = f"{self._id[:12]}{f' {self._node}' if self._node else ''}"
            raise NoResultThere(
                f"the result of {where} is {told.get('type')}, which JSON does not hold: {told.get('preview')}\n"
                "  -> load() gets it as it is stored there, which runs what it says: for servers that you trust"
            )
        return tuple(told["value"]) if told.get("type") == "tuple" else told["value"]

    def load(self) -> Any:
        """The value from its stored bytes, whatever it is: unpickled here, so only for servers that you trust."""
        from cas_engine.capsules import codec, frames
        from cas_run.refusals import told_as_ours

        with told_as_ours():
            raw = self._client.download(self._id, self._node)
        return codec.decode(frames.in_pieces(raw))

    def text(self, told: Mapping[str, Any], shown: Callable[[Any], str]) -> str:
        """All of it, as `shown` does it, where Python shows the value as JSON brought it; else its preview."""
        kind = told.get("type")
        if "value" not in told or kind not in _BUILTIN:
            return str(told.get("preview"))
        return shown(tuple(told["value"]) if kind == "tuple" else told["value"])


class RemoteNode(Valued):
    """One node of a dispatch of a server; as `NodeResult`."""

    def __init__(self, client: Client, dispatch_id: str, told: Mapping[str, Any]) -> None:
        self._client, self._id, self._node = client, dispatch_id, told["label"]
        self._told = told
        self.index: int = told["index"]
        self.label: str = told["label"]
        self.electron: str = told["electron"]
        self.replaced_by: str | None = told["replaced_by"]
        self.status: str = told["status"]
        self.reason: str = told["reason"]
        self.seconds: float = told["seconds"]
        self.saved_s: float = told["saved_s"]
        self.key: str = told["key"]
        self.value_digest: str = told["value_digest"]
        self.size: int = told["size"]
        self.stochastic: bool = told["stochastic"]
        self.dispatch: str | None = told["dispatch"]
        self.error: str | None = told["error"]
        self.warning: str | None = told["warning"]
        self.tries: int = told.get("tries", 1)
        self.ran_in: str | None = told.get("ran_in")

    @property
    def has_result(self) -> bool:
        """Whether there is a value."""
        return self.status in ("hit", "ran")

    @property
    def result(self) -> Any:
        """The value where JSON holds it; None if there is none."""
        return self.value() if self.has_result else None

    def to_json(self) -> dict[str, Any]:
        """As `cas-run show --json` prints it."""
        return {name: value for name, value in self._told.items() if name not in _MORE_OF_NODE}

    def __repr__(self) -> str:
        return f"<node {self.label} {self.status}>"


class RemoteResult(Valued):
    """A dispatch of a server, as it was when this was asked for; as `Result`."""

    def __init__(self, client: Client, told: Mapping[str, Any]) -> None:
        self._client, self._id = client, told["dispatch_id"]
        self._told = told
        self.dispatch_id: str = told["dispatch_id"]
        self.lattice: str = told["lattice"]
        self.status = Status(told["status"])
        self.error: str | None = told["error"]
        self.inputs: dict[str, str] = told["inputs"]
        self.parent: str | None = told["parent"]
        self.replaced: dict[str, str] = told["replaced"]
        self.hits: int = told["hits"]
        self.ran: int = told["ran"]
        self.failed: int = told["failed"]
        self.skipped: int = told["skipped"]
        self.saved_s: float = told["saved_s"]
        self.started: float = told["started"]
        self.finished: float | None = told["finished"]
        self.accepted: dict[str, str] = {}  # is not told
        self._asked = time.monotonic()

    @property
    def seconds(self) -> float:
        """From start to end, so far if it is not over."""
        since = time.monotonic() - self._asked if self.status is Status.RUNNING else 0.0
        return float(self._told["seconds"]) + since

    @cached_property
    def _whole(self) -> Mapping[str, Any]:
        from cas_run.refusals import told_as_ours

        with told_as_ours():
            return self._told if self._told.get("nodes") else self._client.get(self._id)

    @cached_property
    def nodes(self) -> tuple[RemoteNode, ...]:
        """Every node, in the order of the calls."""
        return tuple(RemoteNode(self._client, self._id, one) for one in self._whole["nodes"])

    @property
    def result(self) -> Any:
        """What the lattice returned, where JSON holds it; None unless COMPLETED. Raises NoResultThere."""
        return self.value() if self.status is Status.COMPLETED else None

    def node(self, name: str) -> RemoteNode:
        """A node by label or, where only one has it, by the name of its electron."""
        named = [node for node in self.nodes if name in (node.label, node.electron, node.replaced_by)]
        exact = [node for node in named if node.label == name]
        if exact or len(named) == 1:
            return (exact or named)[0]
        from difflib import get_close_matches

        from cas_run.refusals import NotOnServer

        labels = [node.label for node in named] or [node.label for node in self.nodes]
        near = labels[:3] if named else get_close_matches(name, labels, n=3, cutoff=0.5)
        short = self.dispatch_id[:12]
        advice = (
            f"did you mean {', '.join(f'`{n}`' for n in near)}?" if near else f"`cas-run show {short}` lists its nodes"
        )
        error = NotOnServer(f"dispatch {short} has no node `{name}`\n  -> {advice}")
        error.kind = "UnknownNode"
        raise error

    def to_json(self, *, nodes: bool = True) -> dict[str, Any]:
        """As `cas-run show --json` prints it."""
        brief = {name: value for name, value in self._told.items() if name not in _MORE_OF_DISPATCH}
        return {**brief, "nodes": [node.to_json() for node in self.nodes]} if nodes else brief

    def __repr__(self) -> str:
        return (
            f"<dispatch {self.dispatch_id[:12]} of {self.lattice}: {self.status.value}, "
            f"{self.hits} hits, {self.ran} ran>"
        )
