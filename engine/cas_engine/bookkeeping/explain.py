"""Why a node runs: the first cause, in words, against an earlier dispatch."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from cas_engine.bookkeeping.previews import preview_encoded
from cas_engine.fingerprint.environment import FILE, VARIABLE, earlier_name, version_of
from cas_engine.graphs.bindings import Binding, Const, Ref
from cas_engine.graphs.graph import Graph, Row, counted
from cas_engine.graphs.templates import digests_of
from cas_engine.plans.manifest import Manifest
from cas_engine.plans.outcome import NodeOutcome
from cas_store.digest import Digest
from cas_store.errors import CasRunError
from cas_store.store import Store
from cas_store.tables import Table

NEVER = "never run"
_NO_CAUSE = 1  # its number; 0 is that of a node that was not looked at
LARGE = "(a large value)"


@dataclass(frozen=True)
class Baseline:
    """The earlier dispatch to compare with."""

    manifest: Manifest
    nodes: Sequence[NodeOutcome]

    @cached_property
    def labels(self) -> list[str]:
        """Those of its graph."""
        return self.manifest.graph.labels()


class Reasons:
    """Tells why nodes of a graph miss. Looks at nothing before it is asked: most dispatches never ask.

    `environment` are the versions of packages where the graph was evaluated, if that was not here and now; `packed`
    the capsules that are not in the store yet.
    """

    def __init__(
        self,
        store: Store,
        graph: Graph,
        baseline: Baseline | None,
        environment: Mapping[str, str] | None = None,
        packed: Mapping[Digest, bytes] | None = None,
        same: Iterable[int] = (),
    ) -> None:
        self._store = store
        self._packed = packed or {}
        self._graph = graph
        self._baseline = baseline
        self._environment = environment or {}
        self._calls: Numbered | None = None
        self._calls_before: Numbered | None = None
        self._same = same  # nodes known to have the keys that they had
        # Of each node the number of its cause: a million are a million numbers.
        self._found: array[int] = array("I")
        self._causes: list[str | None] = [None, None]
        self._number_of: dict[str | None, int] = {None: _NO_CAUSE}
        self._rows: dict[tuple[int, int], str | None] = {}

    def why(self, node: int) -> str:
        """The first cause in words: of the code, the inputs, what it hangs on; "never run" if nothing compares."""
        if self._baseline is None:
            return NEVER
        if self._before(node) is None:
            return NEVER
        cause = self._cause(node)
        if cause is not None:
            return cause
        above = self._graph.parents_of(node)
        # Where nothing compares as changed it was a sample, or a result that did not repeat itself.
        drawn = [parent for parent in above if self._graph.row_of(parent).stochastic] or above
        return f"upstream {self._calls.label(drawn[0])}" if self._calls and drawn else NEVER

    def _cause(self, node: int) -> str | None:
        """Why its key is another one than it was, None if as far as can be told it is not."""
        # From the top, one node after the other: a chain of a hundred thousand is no recursion.
        if not self._found:
            self._found = array("I", bytes(4 * len(self._graph)))
            for same in self._same:
                self._found[same] = _NO_CAUSE
        found = self._found
        pending = [] if found[node] else [node]
        while pending:
            at = pending.pop()
            before = self._before(at)
            unknown = () if before is None else [one for one in self._graph.parents_of(at) if not found[one]]
            if unknown:
                pending += [at, *unknown]
            elif not found[at]:
                cause = NEVER if before is None else self._find(at, before)
                number = self._number_of.setdefault(cause, len(self._causes))
                if number == len(self._causes):
                    self._causes.append(cause)
                found[at] = number
        return self._causes[found[node]]

    @cached_property
    def _digests(self) -> tuple[Callable[[int], Digest], Callable[[int], Digest]]:
        """Those of calls in the earlier dispatch, and of these."""
        assert self._baseline is not None  # noqa: S101 - asked only with one
        return digests_of(self._baseline.manifest.graph.templates), digests_of(self._graph.templates)

    def _before(self, node: int) -> int | None:
        """The node that it was in the earlier dispatch."""
        if self._calls is None or self._calls_before is None:
            assert self._baseline is not None  # noqa: S101 - asked only with one
            self._calls, self._calls_before = Numbered(self._graph), Numbered(self._baseline.manifest.graph)
        return self._calls_before.node(*self._calls.call(node))

    def _find(self, node: int, before: int) -> str | None:
        assert self._baseline is not None  # noqa: S101 - asked only with one
        old_graph = self._baseline.manifest.graph
        old_row, row = old_graph.row_of(before), self._graph.row_of(node)
        rows = (old_graph.electron_of[before], self._graph.electron_of[node])
        if rows not in self._rows:
            self._rows[rows] = self._code_change(old_row, row)
        found = self._rows[rows]
        return found or self._input_change(before, node) or self._upstream_change(before, node)

    def _code_change(self, old: Row, new: Row) -> str | None:
        if old == new:
            return self._package_change(old, new)
        if old.name != new.name:
            return f"replaced by {new.name}"
        if old.version != new.version:
            return f"version {_version(old)} → {_version(new)}"
        if old.code != new.code:
            piece = changed_component(self._store, old, new, self._packed)
            return piece or self._package_change(old, new) or f"{new.name} changed"
        if old.stochastic != new.stochastic:
            return "stochastic now" if new.stochastic else "no longer stochastic"
        return self._package_change(old, new)

    def _package_change(self, old: Row, new: Row) -> str | None:
        assert self._baseline is not None  # noqa: S101 - asked only with one
        versions = dict(self._baseline.manifest.environment)
        for package in new.packages:
            was = versions.get(earlier_name(package, old.packages))
            here = self._environment.get(package) or version_of(package)
            if was is None or was == here:
                continue
            if package.startswith(FILE):
                return f"the file {package[len(FILE) :]} changed"
            if package.startswith(VARIABLE):
                return f"the environment variable {package[len(VARIABLE) :]} changed"
            return f"{package} {was} → {here}"
        return None

    def _input_change(self, before: int, node: int) -> str | None:
        assert self._baseline is not None  # noqa: S101 - asked only with one
        old_graph = self._baseline.manifest.graph
        # All that counts in keys is in the digests, and those that were recorded need not be decoded for them.
        digest_before, digest = self._digests
        if digest_before(old_graph.template_of[before]) == digest(self._graph.template_of[node]):
            return None
        old = dict(old_graph.template(before).params)
        new = dict(self._graph.template(node).params)
        for name, binding in new.items():
            was = old.get(name)
            given = name.lstrip("*")
            if was is None:
                return f"input {given} is new"
            if was == binding:
                continue
            if isinstance(was, Const) and isinstance(binding, Const):
                if was.digest != binding.digest:
                    edited = [path for path, digest in binding.files if dict(was.files).get(path, digest) != digest]
                    if edited:
                        return f"input {given}: the file {edited[0]} changed"
                    texts = shown(self._store, was), shown(self._store, binding)
                    known = texts[0] != texts[1] and LARGE not in texts
                    return f"input {given} {' → '.join(texts) if known else 'changed'}"
            elif not _same_shape(was, binding):
                return f"input {given} comes from elsewhere"
        gone = [name for name in old if name not in new]
        return f"input {gone[0].lstrip('*')} is left out" if gone else None

    def _upstream_change(self, before: int, node: int) -> str | None:
        assert self._baseline and self._calls and self._calls_before  # noqa: S101, PT018 - asked only with them
        old_graph, calls, calls_before = self._baseline.manifest.graph, self._calls, self._calls_before
        old_above, above = old_graph.parents_of(before), self._graph.parents_of(node)
        for was, now in zip(old_above, above):  # noqa: B905 - the longer one's rest is told below
            if calls_before.call(was) != calls.call(now):
                return f"hangs on {calls.label(now)} instead of {calls_before.label(was)}"
        for now in above:
            if self._found[now] != _NO_CAUSE:
                return f"upstream {calls.label(now)}"
        return None


class Numbered:
    """Which call of its name each node of a graph is, counted from 0, and which node a call is."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._numbers = array("I")
        self._nodes: dict[str, array[int] | dict[int, int]] = {}
        if graph.names:  # some of a larger graph, of which they have the numbers
            for node, name in enumerate(graph.names):
                slot = graph.row_of(node).slot
                number = int(counted(name)[len(slot) + 1 :])
                self._numbers.append(number)
                self._nodes.setdefault(slot, {})[number] = node
            return
        by_slot: dict[str, array[int]] = {row.slot: array("I") for row in graph.rows}
        nodes_of = [by_slot[row.slot] for row in graph.rows]
        for node, electron in enumerate(graph.electron_of):
            nodes = nodes_of[electron]
            self._numbers.append(len(nodes))
            nodes.append(node)
        self._nodes.update(by_slot)

    def call(self, node: int) -> tuple[str, int]:
        """The name, and the number of the call."""
        return self._graph.row_of(node).slot, self._numbers[node]

    def label(self, node: int) -> str:
        """As `Graph.names_of`, which has to count calls for each."""
        slot, number = self.call(node)
        if self._graph.names:
            return self._graph.names[node]
        return slot if len(self._nodes[slot]) == 1 else f"{slot}#{number}"

    def node(self, slot: str, number: int) -> int | None:
        """The node of a call, None if there is no such one."""
        found = self._nodes.get(slot)
        if found is None or isinstance(found, dict):
            return None if found is None else found.get(number)
        return found[number] if number < len(found) else None


def changed_component(
    store: Store, old: Row, new: Row, packed: Mapping[Digest, bytes] = MappingProxyType({})
) -> str | None:
    """The first piece of code that differs between two electrons, None if their capsules do not tell."""
    try:
        was = _components(packed.get(old.capsule) or store.get_blob(old.capsule))
        now = _components(packed.get(new.capsule) or store.get_blob(new.capsule))
    except CasRunError:
        return None
    for name, (kind, digest, detail) in now.items():
        if name not in was:
            continue
        if was[name][1] != digest:
            if kind == "value" and was[name][2] and detail and was[name][2] != detail:
                return f"{name} {was[name][2]} → {detail}"
            return f"{name} changed"
    for name in now:
        if name not in was:
            return f"{name} is reached now"
    for name in was:
        if name not in now:
            return f"{name} is no longer reached"
    return None


def _components(blob: bytes | memoryview) -> Mapping[str, tuple[str, str, str]]:
    from cas_engine.capsules import capsule

    header = capsule.header(blob)
    return {
        c.name: (c.kind, c.digest, c.detail) for c in header.components if c.kind not in ("file", "variable", "warning")
    }


def _version(row: Row) -> str:
    return "none" if row.version is None else row.version.partition(":")[2]


def _same_shape(old: Binding, new: Binding) -> bool:
    return type(old) is type(new) and not (isinstance(old, Ref) and isinstance(new, Ref) and old.path != new.path)


def shown(store: Store, const: Const) -> str:
    """A constant as people write it, as far as that can be told without unpickling it; LARGE for what is large."""
    encoded: bytes | memoryview | None = const.encoded
    if encoded is None and const.blob is not None:
        with store.snapshot() as snapshot:
            small = snapshot.has(Table.BLOBS, const.blob)
        try:
            encoded = store.get_blob(const.blob) if small else None
        except CasRunError:  # damaged
            encoded = None
    return LARGE if encoded is None else preview_encoded(bytes(encoded))
