"""What the calls of a dispatch print and log, kept with it node by node.

A line of JSON for each piece: [node, try, stream, time, text]. Of each try the beginning is written as it comes, and of
what goes beyond a limit the end, once the call is over. A stream "dispatch" gives the id of the dispatch that a
sublattice is evaluated as, a stream "omitted" the count of characters that are left out at that place.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.answers import load_manifest
from cas_engine.bookkeeping.ledger import Status
from cas_engine.bookkeeping.location import StoreChoice, open_store
from cas_engine.errors import UnknownDispatch, UnknownNode
from cas_engine.graphs.graph import Graph, counted
from cas_store.errors import BlobDamaged, BlobMissing, StoreError
from cas_store.store import Store

LIMIT = 64 << 10  # characters of the beginning, and of the end, of what one try prints
_HELD_BACK = 1 << 12  # characters of a line that is not at its end yet
_PIECE = 1 << 18
_POLL_S = 0.1
_INNER, _OMITTED = "dispatch", "omitted"


class Writing:
    """The log of a dispatch that runs. It comes to be with the first thing that is printed."""

    def __init__(self, store: Store, dispatch_id: str, on_first: Callable[[], None] | None) -> None:
        self._store = store
        self._name = bytes.fromhex(dispatch_id)
        self._on_first = on_first
        self.lock = threading.RLock()

    def call(self, node: int, attempt: int) -> Printing:
        """For one try of a node."""
        return Printing(self, node, attempt)

    def inner(self, node: int, dispatch_id: str) -> None:
        """A sublattice that is evaluated as this dispatch prints something."""
        self.write([[node, 0, _INNER, time.time(), dispatch_id]])

    def write(self, lines: Sequence[Sequence[object]]) -> None:
        """Add lines. That a log cannot be written is no reason to stop the work."""
        content = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
        with self.lock, suppress(StoreError):
            if self._on_first is not None:
                on_first, self._on_first = self._on_first, None
                on_first()
            self._store.append_log(self._name, content)


class Printing:
    """What one try prints; called with each piece, closed when nobody waits for it any more."""

    def __init__(self, log: Writing, node: int, attempt: int) -> None:
        self._log = log
        self._head = node, attempt
        self._is_closed = self._has_any = False  # most calls print nothing: this is all that there is of them

    def __call__(self, stream: str, text: str) -> None:
        with self._log.lock:
            if self._is_closed or not text:
                return
            if not self._has_any:
                self._has_any = True
                self._written = self._omitted = self._held = 0
                self._begun: dict[str, str] = {}  # of each stream the line that is not at its end
                self._tail: deque[tuple[str, float, str]] = deque()
            text = self._begun.pop(stream, "") + text
            if not text.endswith("\n") and len(text) < _HELD_BACK:
                self._begun[stream] = text
            else:
                self._add(stream, text)

    def close(self) -> None:
        """Write the rest; what comes later is of no interest."""
        if not self._has_any:
            self._is_closed = True
            return
        with self._log.lock:
            is_closed, self._is_closed = self._is_closed, True
            if is_closed or not self._has_any:
                return
            for stream, text in self._begun.items():
                self._add(stream, text)
            omitted = [(_OMITTED, time.time(), str(self._omitted))] if self._omitted else []
            if lines := [[*self._head, *one] for one in (*omitted, *self._tail)]:
                self._log.write(lines)

    def _add(self, stream: str, text: str) -> None:
        now, room = time.time(), LIMIT - self._written
        if room > 0:
            first, text = text[:room], text[room:]
            self._written += len(first)
            self._log.write([[*self._head, stream, now, first]])
        if text:
            self._omitted += max(0, len(text) - LIMIT)
            text = text[-LIMIT:]
            self._tail.append((stream, now, text))
            self._held += len(text)
            while self._held - len(self._tail[0][2]) >= LIMIT:
                gone = len(self._tail.popleft()[2])
                self._held -= gone
                self._omitted += gone


@dataclass(frozen=True, slots=True)
class Printed:
    """A piece of what a node printed: `stream` is stdout, stderr or log; `omitted` characters are left out before it.

    `node` is its label, behind those of the sublattices that it is in; `attempt` counts from 0.
    """

    dispatch_id: str
    node: str
    attempt: int
    stream: str
    at: float
    text: str
    omitted: int = 0


def logs(
    dispatch_id: str, node: str | None = None, *, follow: bool = False, store: StoreChoice = None
) -> Iterator[Printed]:
    """What the electrons of a dispatch have printed and logged, in the order in which it came; of `node` alone if that
    is given: a label, or an electron for all of its nodes.

    With `follow`, goes on until the dispatch is over, whichever process runs it. Of what is a hit nothing is here: it
    is with the dispatch that ran it. Raises UnknownDispatch, UnknownNode.
    """
    opened = open_store(store, create=False)
    full = ledger.resolve(opened, dispatch_id)
    log = _Log(opened, full, "", _nodes_of(opened, full, node))
    return log.follow() if follow else log.read()


def _nodes_of(store: Store, dispatch_id: str, name: str | None) -> set[int] | None:
    """The nodes of that label, or of that electron."""
    if name is None:
        return None
    graph = load_manifest(store, ledger.get(store, dispatch_id)).graph
    label, _, number = name.partition("#")
    rows = {at for at, row in enumerate(graph.rows) if label in (row.slot, row.name)}
    found = graph.nodes_of(rows)
    if number:
        found = [one for one in found if counted(graph.names_of([one])[0]) == name]
    if not found:
        from cas_engine.plans.policy import nearest

        raise UnknownNode(dispatch_id, name, nearest(name, {row.slot for row in graph.rows}))
    return set(found)


class _Log:
    """Reads the log of a dispatch, and those of its sublattices where it tells of them."""

    def __init__(self, store: Store, dispatch_id: str, within: str, nodes: set[int] | None) -> None:
        self._store = store
        self._id = dispatch_id
        self._within = within
        self._nodes = nodes
        self._at = 0
        self._rest = b""
        self._labels: dict[int, str] = {}
        self._graph: Graph | None = None
        self._omitted: dict[tuple[int, int], int] = {}
        self._inner: list[_Log] = []

    def follow(self) -> Iterator[Printed]:
        is_over = False
        while True:
            yield from self.read()
            if is_over:
                return
            try:
                is_over = ledger.get(self._store, self._id).status is not Status.RUNNING
            except UnknownDispatch:
                return  # removed meanwhile
            if not is_over:
                time.sleep(_POLL_S)

    def read(self) -> Iterator[Printed]:
        """What is new."""
        while piece := self._store.read_log(bytes.fromhex(self._id), self._at, _PIECE):
            self._at += len(piece)
            *lines, self._rest = (self._rest + piece).split(b"\n")
            for line in lines:
                try:
                    node, attempt, stream, at, text = json.loads(line)
                except ValueError:
                    continue  # the machine stopped while it was written
                yield from self._printed(node, attempt, stream, at, text)
        for inner in self._inner:
            yield from inner.read()

    def _printed(self, node: int, attempt: int, stream: str, at: float, text: str) -> Iterator[Printed]:
        if self._nodes is not None and node not in self._nodes:
            return
        label = self._within + self._label(node)
        if stream == _INNER:
            self._inner.append(_Log(self._store, text, f"{label}/", None))
        elif stream == _OMITTED:
            self._omitted[node, attempt] = int(text)
        else:
            omitted = self._omitted.pop((node, attempt), 0)
            yield Printed(self._id, label, attempt, stream, at, text, omitted)

    def _label(self, node: int) -> str:
        if node not in self._labels:
            try:
                if self._graph is None:
                    self._graph = load_manifest(self._store, ledger.get(self._store, self._id)).graph
                self._labels[node] = self._graph.names_of([node])[0]
            except (UnknownDispatch, BlobMissing, BlobDamaged):
                self._labels[node] = f"node {node}"
        return self._labels[node]
