"""What a dispatch came to, read from the store when it is asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.ledger import Entry, Status
from cas_engine.errors import ResultEvicted, UnknownNode
from cas_engine.plans import outcome, outcomes
from cas_engine.plans.outcome import NodeOutcome, NodeStatus
from cas_store.errors import BlobEvicted
from cas_store.store import Store
from cas_store.tables import Table

if TYPE_CHECKING:
    from cas_engine.capsules.frames import Blob
    from cas_engine.graphs.bindings import Const
    from cas_engine.plans.manifest import Manifest
    from cas_store.digest import Digest


class NodeResult:
    """One node of a dispatch."""

    def __init__(
        self, store: Store, dispatch_id: str, index: int, label: str, manifest: Manifest, one: NodeOutcome
    ) -> None:
        row = manifest.graph.row_of(index)
        self._store = store
        self._one = one
        self._dispatch_id = dispatch_id
        self.index = index
        self.label = label
        self.electron = row.slot
        self.replaced_by = row.name if row.name != row.slot else None
        self.stochastic = row.stochastic
        self.is_sublattice = row.is_lattice

    @property
    def status(self) -> str:
        """hit, ran, failed, skipped, cancelled, pending or running."""
        return self._one.status.word

    @property
    def reason(self) -> str:
        """Why it ran or was a hit, in words."""
        return self._one.reason

    @property
    def seconds(self) -> float:
        """How long the call took in this dispatch; 0 for a hit."""
        return 0.0 if self._one.status is NodeStatus.HIT else self._one.seconds

    @property
    def saved_s(self) -> float:
        """How long the call took when it ran, for a hit; else 0."""
        return self._one.seconds if self._one.status is NodeStatus.HIT else 0.0

    @property
    def key(self) -> str:
        """The key in hex, "" if it never got one."""
        return "" if self._one.key == outcome.NO_DIGEST else self._one.key.hex()

    @property
    def value_digest(self) -> str:
        """The digest of the value in hex, "" if there is none."""
        return "" if self._one.value == outcome.NO_DIGEST else self._one.value.hex()

    @property
    def error(self) -> str | None:
        """The traceback of a failed node, trimmed to the user's frames."""
        return self._one.extra.get("error")

    @property
    def warning(self) -> str | None:
        """What is remarkable about its result, if anything."""
        return self._one.extra.get("warning")

    @property
    def tries(self) -> int:
        """How often it was tried before it returned, or had failed; 1 for what was not tried again."""
        return int(self._one.extra.get("tries", 1))

    @property
    def dispatch(self) -> str | None:
        """The dispatch that a sublattice was evaluated as."""
        return self._one.extra.get("dispatch")

    @property
    def ran_in(self) -> str | None:
        """The dispatch in which its call was made: for a hit an earlier one, None if that is not known."""
        if self._one.status is not NodeStatus.HIT:
            return self._dispatch_id if self._one.status in (NodeStatus.RAN, NodeStatus.FAILED) else None
        from cas_engine.plans import records

        row = self._store.get(Table.RECORDS, self._one.key)
        return (records.loads(row).dispatch or None) if row is not None else None

    @property
    def size(self) -> int:
        """The bytes of the stored result."""
        return self._one.size

    @property
    def blob(self) -> Digest:
        """The digest of the stored result, zero if there is none."""
        return self._one.blob

    @property
    def has_result(self) -> bool:
        """Whether there is a value to load."""
        return self._one.blob != outcome.NO_DIGEST

    @property
    def result(self) -> Any:
        """The value, loaded anew at each access; None if there is none.

        Raises ResultEvicted, BlobMissing, BlobDamaged.
        """
        if not self.has_result:
            return None
        try:
            return _decoded(self._store.get_pieces(self._one.blob))
        except BlobEvicted as gone:
            again = f"cas-run redispatch {self._dispatch_id[:12]} --recompute {self.electron}"
            raise ResultEvicted(gone.digest, f"of `{self.label}`", self._dispatch_id, again) from None

    def to_json(self) -> dict[str, Any]:
        """As `cas-run show --json` prints it."""
        return {
            "index": self.index,
            "label": self.label,
            "electron": self.electron,
            "replaced_by": self.replaced_by,
            "status": self.status,
            "reason": self.reason,
            "seconds": self.seconds,
            "saved_s": self.saved_s,
            "key": self.key,
            "value_digest": self.value_digest,
            "size": self.size,
            "stochastic": self.stochastic,
            "dispatch": self.dispatch,
            "error": self.error,
            "warning": self.warning,
            "tries": self.tries,
        }

    def __repr__(self) -> str:
        return f"<node {self.label} {self.status}>"


class Result:
    """A dispatch as it was when this was asked for; ask again for what has happened since."""

    def __init__(self, store: Store, entry: Entry) -> None:
        self._store = store
        self._entry = entry

    @property
    def dispatch_id(self) -> str:
        """Its id, 32 hex digits."""
        return self._entry.id

    @property
    def lattice(self) -> str:
        """The name of the lattice."""
        return self._entry.lattice

    @property
    def status(self) -> Status:
        """RUNNING, COMPLETED, FAILED, CANCELLED or INTERRUPTED; equal to these texts."""
        return self._entry.status

    @property
    def error(self) -> str | None:
        """What failed, with the user's traceback; None if nothing did."""
        return self._entry.error or None

    @cached_property
    def manifest(self) -> Manifest:
        """What was evaluated."""
        from cas_engine.bookkeeping.answers import load_manifest

        return load_manifest(self._store, self._entry)

    @cached_property
    def nodes(self) -> tuple[NodeResult, ...]:
        """Every node, in the order of the calls."""
        return self.nodes_from(0, len(self.manifest.graph))

    def nodes_from(self, start: int, count: int) -> tuple[NodeResult, ...]:
        """Some of them: of many, no more are made."""
        manifest, outcomes, labels = self.manifest, self.outcomes, self.manifest.graph.labels()
        some = range(len(labels))[start : start + count]
        return tuple(NodeResult(self._store, self.dispatch_id, i, labels[i], manifest, outcomes[i]) for i in some)

    @cached_property
    def outcomes(self) -> Sequence[NodeOutcome]:
        """What came of each node, as it is recorded."""
        from cas_engine.bookkeeping.kept import outcomes_of

        nodes = outcomes_of(self._store, self._entry) or [outcome.NOT_YET] * len(self.manifest.graph)
        return outcomes.all_hits(nodes, "the whole workflow is unchanged") if self._entry.whole_hit else nodes

    @property
    def accepted(self) -> dict[str, str]:
        """The electrons whose code somebody took for the same as before, with who, when and as in which dispatch."""
        from cas_engine.bookkeeping.accepted import note_of
        from cas_engine.fingerprint.environment import effective_with

        versions = dict(self.manifest.environment)
        rows = self.manifest.graph.rows
        notes = {row.slot: note_of(self._store, effective_with(row.code, row.packages, versions)) for row in rows}
        return {slot: note for slot, note in notes.items() if note}

    @cached_property
    def result(self) -> Any:
        """What the lattice returned; None unless COMPLETED. Raises ResultEvicted, BlobMissing, BlobDamaged."""
        if self.status is not Status.COMPLETED:
            return None
        from cas_engine.graphs.bindings import materialize

        graph = self.manifest.graph
        blobs = [self.outcomes[parent].blob for parent in graph.output_parents]

        def const(one: Const) -> Any:
            raw = self._store.get_pieces(one.blob) if one.blob is not None else one.encoded or b""
            return _decoded(raw)

        try:
            return materialize(graph.output, const, lambda slot: _decoded(self._store.get_pieces(blobs[slot])))
        except BlobEvicted as gone:
            again = f"cas-run redispatch {self.dispatch_id[:12]}"
            raise ResultEvicted(gone.digest, "", self.dispatch_id, again) from None

    def _count(self, name: str, status: NodeStatus) -> int:
        if name in self._entry.totals:
            return int(self._entry.totals[name])
        return sum(one.status is status for one in self.outcomes)

    @property
    def hits(self) -> int:
        """How many nodes were taken from the store."""
        return self._count("hits", NodeStatus.HIT)

    @property
    def ran(self) -> int:
        """How many nodes ran and returned."""
        return self._count("ran", NodeStatus.RAN)

    @property
    def failed(self) -> int:
        """How many nodes raised."""
        return self._count("failed", NodeStatus.FAILED)

    @property
    def skipped(self) -> int:
        """How many nodes hang on one that failed."""
        return self._count("skipped", NodeStatus.SKIPPED)

    @property
    def seconds(self) -> float:
        """From start to end, so far if it is not over."""
        entry = self._entry
        if entry.finished:
            return entry.finished - entry.started
        return time.time() - entry.started if entry.status is Status.RUNNING else 0.0

    @property
    def saved_s(self) -> float:
        """What the hits took when they ran."""
        return float(self._entry.totals.get("saved_s", 0.0))

    @property
    def inputs(self) -> dict[str, str]:
        """The inputs by name, as people see them."""
        return dict(self._entry.inputs)

    @property
    def parent(self) -> str | None:
        """The dispatch that this is a redispatch of."""
        return self._entry.parent or None

    @property
    def replaced(self) -> dict[str, str]:
        """The electrons replaced, those of its parents included: name to name of what stands in."""
        return dict(self._entry.replaced)

    @property
    def started(self) -> float:
        """Seconds since 1970."""
        return self._entry.started

    @property
    def finished(self) -> float | None:
        """Seconds since 1970; None if it is not over, or was interrupted."""
        return self._entry.finished or None

    def node(self, name: str) -> NodeResult:
        """A node by label or, where only one has it, by the name of its electron. Raises UnknownNode."""
        named = [node for node in self.nodes if name in (node.label, node.electron, node.replaced_by)]
        exact = [node for node in named if node.label == name]
        if exact or len(named) == 1:
            return (exact or named)[0]
        from cas_engine.plans.policy import nearest

        close = [node.label for node in named] or nearest(name, {node.label for node in self.nodes})
        raise UnknownNode(self.dispatch_id, name, close)

    def to_json(self, *, nodes: bool = True) -> dict[str, Any]:
        """As `cas-run show --json` prints it."""
        brief = {
            "dispatch_id": self.dispatch_id,
            "lattice": self.lattice,
            "status": self.status.value,
            "error": self.error,
            "inputs": self.inputs,
            "parent": self.parent,
            "replaced": self.replaced,
            "recompute": list(self._entry.recompute),
            "reuse_previous_results": self._entry.reuse,
            "node_count": int(self._entry.totals.get("nodes", 0)),
            "hits": self.hits,
            "ran": self.ran,
            "failed": self.failed,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "saved_s": self.saved_s,
            "started": self.started,
            "finished": self.finished,
        }
        return {**brief, "nodes": [node.to_json() for node in self.nodes]} if nodes else brief

    def __repr__(self) -> str:
        return (
            f"<dispatch {self.dispatch_id[:12]} of {self.lattice}: {self.status.value}, "
            f"{self.hits} hits, {self.ran} ran>"
        )


def _decoded(blob: Blob) -> Any:
    from cas_engine.capsules import codec

    return codec.decode(blob)


def result_of(store: Store, dispatch_id: str) -> Result:
    """The result object of a full id. Raises UnknownDispatch."""
    return Result(store, ledger.get(store, dispatch_id))
