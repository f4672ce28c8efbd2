"""What happens in dispatches, for those who watch: as the coordinators tell, or as the store shows it.

A feed is kept once however many watch it; each watcher has a place in it, and nothing of its own.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.kept import outcomes_of
from cas_engine.bookkeeping.ledger import Entry, Status
from cas_engine.errors import NotFound
from cas_engine.evaluating.result import Result
from cas_engine.plans.outcome import NodeOutcome, NodeStatus
from cas_run.server.jsonwork import write
from cas_run.server.limits import HEARTBEAT_S, STREAM_EVENTS
from cas_store.errors import CasRunError
from cas_store.store import Store

_NAMES = {"Planned": "planned", "NodeStarted": "started", "NodeFinished": "node"}
_KEPT = 64  # feeds of dispatches that are over, for those who come back
_LOOKS_S = (0.1, 1.0)  # between looks at a dispatch of another process: at first, at most
_TRUTH_S = 2.0  # how often a dispatch of our own that says nothing is looked at: its process may have died
_REPLAYED = "over"  # the feed of what is read back from the store
_AT_ONCE = 500  # events read back before others have their turn
HEARTBEAT = b": still here\n\n"


class Event(NamedTuple):
    """One, as it is sent."""

    name: str
    data: bytes

    def sent(self, id: str) -> bytes:  # noqa: A002 - what the protocol calls it
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (id.encode(), self.name.encode(), self.data)


class Feed:
    """The events of a dispatch that runs, or did while this server was there."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(4)
        self.events: list[Event] = []
        self.dropped = 0  # from the beginning
        self.is_whole = False  # every node of it was told
        self.over = asyncio.Event()
        self._news = asyncio.Event()
        self._nodes = 0
        self._total = -1

    def add(self, name: str, data: Mapping[str, Any]) -> None:
        """An event more."""
        if name == "planned":
            self._total = data["total"]
        self._nodes += name == "node"
        self.events.append(Event(name, write(data)))
        if len(self.events) > 2 * STREAM_EVENTS:
            self.dropped += STREAM_EVENTS
            del self.events[:STREAM_EVENTS]
        self.wake()

    def finish(self, data: Mapping[str, Any]) -> None:
        """The last one."""
        if self.over.is_set():
            return
        self.is_whole = self._nodes == self._total and not self.dropped
        self.events.append(Event("finished", write(data)))
        self.over.set()
        self.wake()

    def wake(self) -> None:
        """Let those who wait look."""
        self._news.set()
        self._news = asyncio.Event()

    async def news(self, seconds: float) -> bool:
        """Wait for an event; whether one came in time."""
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True

    def next_from(self, at: int) -> tuple[int, bytes] | None:
        """The event at a place, as it is sent, and the place after it; None if it has not come.

        Who asks for one that was dropped is told how many there were, and goes on with what is kept.
        """
        if at < self.dropped:
            return self.dropped, Event("lost", write({"count": self.dropped - at})).sent(
                f"{self.name}.{self.dropped - 1}"
            )
        if at - self.dropped >= len(self.events):
            return None
        return at + 1, self.events[at - self.dropped].sent(f"{self.name}.{at}")


class Feeds:
    """Those of one server."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running: dict[str, Feed] = {}
        self._over: OrderedDict[str, Feed] = OrderedDict()
        self._looking: dict[str, asyncio.Task[None]] = {}
        self.closing = asyncio.Event()

    # What comes in ----------------------------------------------------------------------------------------

    def take(self, dispatch_id: str, event: str, data: Mapping[str, Any]) -> None:
        """An event from a coordinator."""
        if dispatch_id in self._looking:
            return  # somebody asked before the coordinator told: what is seen in the store is as good
        if event == "Finished":
            self._finish(dispatch_id, data["status"])
        elif event in _NAMES:
            feed = self._running.get(dispatch_id)
            if feed is None:
                feed = self._running[dispatch_id] = Feed()
            feed.add(_NAMES[event], {name: value for name, value in data.items() if name != "lattice"})

    def began(self, dispatch_id: str) -> None:
        """A coordinator has started it, and will tell how it goes, if it has not yet."""
        if dispatch_id not in self._over and dispatch_id not in self._running:
            entry = ledger.get(self._store, dispatch_id)
            if not entry.status.is_final:
                self._running[dispatch_id] = Feed()

    def lost(self, dispatch_ids: Sequence[str]) -> None:
        """Their coordinator died."""
        for one in dispatch_ids:
            with suppress(CasRunError):
                self._finish(one, ledger.get(self._store, one).status.value)

    def _finish(self, dispatch_id: str, status: str) -> None:
        feed = self._running.pop(dispatch_id, None)
        if feed is None:
            return
        error = None
        with suppress(CasRunError):
            error = ledger.get(self._store, dispatch_id).error or None
        feed.finish({"dispatch_id": dispatch_id, "status": status, "error": error})
        if feed.is_whole:
            self._over[dispatch_id] = feed
            while len(self._over) > _KEPT:
                self._over.popitem(last=False)

    # Waiting ----------------------------------------------------------------------------------------------

    async def settled(self, dispatch_id: str, seconds: float) -> Entry:
        """The dispatch, once it is over or the time is. Raises NotFound."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            entry = ledger.get(self._store, dispatch_id)
            left = deadline - loop.time()
            if entry.status.is_final or left <= 0 or self.closing.is_set():
                return entry
            feed = self._feed_of(entry)
            try:
                await asyncio.wait_for(feed.over.wait(), min(left, _TRUTH_S))
            except asyncio.TimeoutError:
                self._check(dispatch_id)

    def _feed_of(self, entry: Entry) -> Feed:
        feed = self._running.get(entry.id)
        if feed is None:
            feed = self._running[entry.id] = Feed()
            self._looking[entry.id] = asyncio.create_task(self._look(entry.id, feed))
        return feed

    async def _look(self, dispatch_id: str, feed: Feed) -> None:
        """Follow a dispatch that another process runs, by what it writes down."""
        seen: set[int] = set()
        pause, longest = _LOOKS_S
        try:
            result = await asyncio.to_thread(Result, self._store, ledger.get(self._store, dispatch_id))
            labels, graph = await asyncio.to_thread(_labels, result)
            feed.add("planned", {"total": len(labels), "hits": 0, "estimate_s": 0.0})
            while not self.closing.is_set():
                entry = ledger.get(self._store, dispatch_id)
                news = await asyncio.to_thread(_settled_beyond, self._store, entry, seen)
                for index, one in news:
                    seen.add(index)
                    feed.add("node", _node(index, labels[index], graph.row_of(index).slot, one))
                if entry.status.is_final:
                    self._finish(dispatch_id, entry.status.value)
                    return
                pause = _LOOKS_S[0] if news else min(longest, pause * 1.5)
                await asyncio.sleep(pause)
        except CasRunError as error:  # removed meanwhile, or its blobs cannot be read
            self._running.pop(dispatch_id, None)
            feed.finish({"dispatch_id": dispatch_id, "status": "INTERRUPTED", "error": str(error)})
        finally:
            self._looking.pop(dispatch_id, None)

    # Watching ---------------------------------------------------------------------------------------------

    async def watch(self, dispatch_id: str, last: str) -> AsyncIterator[bytes]:
        """The events after the one called `last`, or all, as they are sent, until the dispatch is over.

        Raises NotFound before the first.
        """
        entry = ledger.get(self._store, dispatch_id)
        named, _, number = last.partition(".")
        after = int(number) + 1 if number.isdecimal() and len(number) < 12 else 0
        kept = self._over.get(dispatch_id)
        if entry.status.is_final and (kept is None or named == _REPLAYED):
            async for text in self._replay(entry, after if named == _REPLAYED else 0):
                yield text
            return
        feed = kept or self._feed_of(entry)
        at = after if named == feed.name else 0
        quiet_s = 0.0
        while True:
            while (next_ := feed.next_from(at)) is not None:
                at, text = next_
                yield text
                quiet_s = 0.0
            if feed.over.is_set() or self.closing.is_set():
                return
            if await feed.news(_TRUTH_S):
                continue
            quiet_s += _TRUTH_S
            self._check(dispatch_id)
            if quiet_s >= HEARTBEAT_S:
                quiet_s = 0.0
                yield HEARTBEAT

    def _check(self, dispatch_id: str) -> None:
        """Whether a dispatch that has been silent is over after all: its process may have died."""
        if dispatch_id in self._looking:
            return  # whoever looks sees it
        try:
            entry = ledger.get(self._store, dispatch_id)
        except NotFound:
            self._finish(dispatch_id, Status.INTERRUPTED.value)
            return
        if entry.status.is_final:
            self._finish(dispatch_id, entry.status.value)

    async def _replay(self, entry: Entry, after: int) -> AsyncIterator[bytes]:
        """What a dispatch that is over would have told."""
        result = Result(self._store, entry)
        events = await asyncio.to_thread(_replayed, result)
        for number, event in enumerate(events):
            if number >= after:
                yield event.sent(f"{_REPLAYED}.{number}")
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def close(self) -> None:
        """Nobody is told any more."""
        self.closing.set()
        for feed in self._running.values():
            feed.wake()


def _replayed(result: Result) -> Iterator[Event]:
    labels, graph = _labels(result)
    total, hits = len(labels), result.hits
    outcomes = result.outcomes

    def events() -> Iterator[Event]:
        yield Event("planned", write({"total": total, "hits": hits, "estimate_s": 0.0}))
        for index, one in enumerate(outcomes):
            if one.status not in (NodeStatus.PENDING, NodeStatus.RUNNING):
                yield Event("node", write(_node(index, labels[index], graph.row_of(index).slot, one)))
        end = {"dispatch_id": result.dispatch_id, "status": result.status.value, "error": result.error}
        yield Event("finished", write(end))

    return events()


def _labels(result: Result) -> tuple[Sequence[str], Any]:
    graph = result.manifest.graph
    return graph.labels(), graph


def _settled_beyond(store: Store, entry: Entry, seen: set[int]) -> list[tuple[int, NodeOutcome]]:
    nodes = Result(store, entry).outcomes if entry.outcome else outcomes_of(store, entry)
    unsettled = (NodeStatus.PENDING, NodeStatus.RUNNING)
    return [(i, one) for i, one in enumerate(nodes) if i not in seen and one.status not in unsettled]


def _node(index: int, label: str, electron: str, one: NodeOutcome) -> dict[str, Any]:
    is_hit = one.status is NodeStatus.HIT
    return {
        "index": index,
        "label": label,
        "electron": electron,
        "status": one.status.word,
        "reason": one.reason,
        "seconds": 0.0 if is_hit else one.seconds,
        "saved_s": one.seconds if is_hit else 0.0,
    }
