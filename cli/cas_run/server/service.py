"""The server's work: what each operation does, over the store and the coordinators."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.known import KnownElectrons
from cas_engine.bookkeeping.ledger import Entry, Status
from cas_engine.errors import AmbiguousElectron, UnknownElectron
from cas_engine.evaluating.result import Result
from cas_engine.graphs.signatures import Signature
from cas_run.server import jsonwork, limits, reading, schema
from cas_run.server.coordinators import Coordinators
from cas_run.server.feeds import Feeds
from cas_run.server.metrics import Metrics
from cas_run.server.problems import Field, Problem, problem_of, unprocessable
from cas_run.server.remembered import Note, Remembered
from cas_run.server.tokens import Grant
from cas_run.server.uploads import Uploads
from cas_store.digest import Digest
from cas_store.errors import CasRunError
from cas_store.store import Store

_KEPT = 512  # signatures and results that are remembered
_SMALL = 1 << 16  # bytes of JSON: results that are remembered
_MAYBE_JSON = ("list", "tuple", "dict", "str", "int")  # types of which JSON may hold more than is told beside a result
_OF_ELECTRONS = ("UnknownElectron", "AmbiguousElectron", "BindError")
CAPSULE = "$capsule"


class Settings(NamedTuple):
    """How a server was started."""

    version: str
    executor: str
    environment: Mapping[str, str]
    coordinators: int
    allow_code: bool


class Service:
    """Everything that a running server has."""

    def __init__(self, store: Store, settings: Settings, metrics: Metrics) -> None:
        self.store, self.settings, self.metrics = store, settings, metrics
        self.feeds = Feeds(store)
        self.uploads = Uploads()
        self.remembered = Remembered(store)
        self.coordinators = Coordinators(
            str(store.path), settings.executor, settings.coordinators, settings.environment, self._on_event
        )
        self.coordinators.on_loss = self._on_loss
        self._electrons = KnownElectrons(store)
        self._electrons_lock = asyncio.Lock()
        self._signatures: OrderedDict[str, Signature] = OrderedDict()
        self._found: OrderedDict[tuple[str, str], reading.Found] = OrderedDict()

    def entry(self, text: str) -> Entry:
        """The dispatch of an id, or of its beginning. Raises UnknownDispatch."""
        return ledger.get(self.store, reading.full_id(self.store, text))

    async def settled(self, text: str, wait_s: float) -> Entry:
        """The same, once it is over or the time is."""
        entry = self.entry(text)
        return await self.feeds.settled(entry.id, wait_s) if wait_s and not entry.status.is_final else entry

    # Redispatch -------------------------------------------------------------------------------------------

    async def redispatch(self, parent: Entry, body: Mapping[str, Any], grant: Grant) -> str:
        """Start one; its id. Raises Problem, CasRunError."""
        key = body.get("idempotency_key")
        if key is None:
            made = await self._start(parent, body, grant, None)
            assert made is not None  # noqa: S101 - nothing was to be noted
            return made
        request = {"parent": parent.id, **{name: value for name, value in body.items() if name != "idempotency_key"}}
        async with self.remembered.alone(key):
            while True:
                known, note = self.remembered.dispatch_of(key, request)
                if (made := known or await self._start(parent, body, grant, note)) is not None:
                    return made

    async def _start(self, parent: Entry, body: Mapping[str, Any], grant: Grant, note: Note | None) -> str | None:
        """The id of a new one; None if the key was noted meanwhile: by another server, or one that is gone."""
        asked = await self._asked(parent, body, grant)
        noting = None if note is None else note._asdict()
        found = await self._told_of(self.coordinators.ask("redispatch", **asked, note=noting), body)
        dispatch_id: str | None = found["dispatch_id"]
        if dispatch_id is not None and not found["over"]:
            self.feeds.began(dispatch_id)
        return dispatch_id

    async def plan(self, parent: Entry, body: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
        """What a redispatch would do. Raises Problem, CasRunError."""
        asked = await self._asked(parent, body, grant)
        return await self._told_of(self.coordinators.ask("plan", **asked), body)

    async def explanation(self, entry: Entry, node: str | None) -> dict[str, Any]:
        """Why its nodes ran. Raises Problem."""
        return await self.coordinators.ask("explain", dispatch_id=entry.id, node=node)

    async def difference(self, one: Entry, other: Entry) -> dict[str, Any]:
        """Two dispatches side by side; by how much results differ, which is why values are loaded. Raises Problem."""
        return await self.coordinators.ask("diff", one=one.id, other=other.id)

    async def _asked(self, parent: Entry, body: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
        """The request as a coordinator takes it: inputs checked, stand-ins and uploads found. Raises Problem."""
        inputs = body.get("inputs") or {}
        if inputs:
            takes = schema.of_signature(self._signature(parent))
            wrong = list(schema.faults(inputs, {**takes, "required": ()}, "inputs", uploads=True))
            if wrong:
                raise unprocessable(wrong)
        named = [(f"inputs.{where}", name) for where, raw in inputs.items() for name in schema.uploads_in(raw)]
        uploads = self.uploads.named(named, code=False)
        replace: dict[str, dict[str, str]] = {}
        for name, what in (body.get("replace_electrons") or {}).items():
            where = f"replace_electrons.{name}"
            if isinstance(what, str):
                replace[name] = await self._known(where, what)
            else:
                if not (grant.may("code") and self.settings.allow_code):
                    advice = "it takes a token of the scope `code`, and a server started with --allow-code"
                    raise Problem(403, "CodeNotAllowed", f"`{where}` brings code of its own\n  -> {advice}")
                uploads |= self.uploads.named([(where, what[CAPSULE])], code=True)
                replace[name] = {"upload": what[CAPSULE]}
        asked = {**body, "inputs": inputs, "replace_electrons": replace}
        asked.pop("idempotency_key", None)
        return {"parent": parent.id, "body": asked, "uploads": uploads}

    async def _told_of(self, asking: Any, body: Mapping[str, Any]) -> dict[str, Any]:
        """What came of it; an electron that the engine does not know is told by its place in the request."""
        try:
            found: dict[str, Any] = await asking
        except Problem as problem:
            if problem.status == 422 and problem.kind in _OF_ELECTRONS and not problem.fields:
                replace = body.get("replace_electrons") or {}
                named = [f"replace_electrons.{name}" for name in replace if f"`{name}`" in problem.message]
                where = named[0] if named else "replace_electrons" if problem.kind == "BindError" else "recompute"
                problem.fields = (Field(where, problem.message.partition("\n")[0]),)
            raise
        return found

    async def _known(self, where: str, text: str) -> dict[str, str]:
        async with self._electrons_lock:
            try:
                one = await asyncio.to_thread(self._electrons.named, text)
            except (UnknownElectron, AmbiguousElectron) as error:
                told = problem_of(error)
                told.fields = (Field(where, str(error).replace("\n  -> ", "; ")),)
                raise told from None
        return {"dispatch_id": one.dispatch_id, "name": one.row.name, "fingerprint": one.fingerprint}

    async def electrons(self, name: str | None) -> list[dict[str, Any]]:
        """Those that could stand in."""
        async with self._electrons_lock:
            return await asyncio.to_thread(reading.electrons, self._electrons, name)

    def _signature(self, entry: Entry) -> Signature:
        found = self._signatures.get(entry.manifest)
        if found is None:
            found = self._signatures[entry.manifest] = reading.signature(self.store, entry)
            if len(self._signatures) > _KEPT:
                self._signatures.popitem(last=False)
        return found

    # Results ----------------------------------------------------------------------------------------------

    async def value(self, entry: Entry, node: str | None) -> tuple[reading.Found, str | None, dict[str, Any]]:
        """A result: where it lies, the label of the node, and what is told of it. Raises Problem, CasRunError."""
        found, label = await self.found(entry, node)
        told = found.told
        if told is None or ("value" not in told and told["type"] in _MAYBE_JSON):
            told = await self.coordinators.ask("value", dispatch_id=entry.id, node=label)
            if node is None and entry.outcome and len(jsonwork.write(told)) < _SMALL:
                # For whoever shares the outcome: what it came to stays so.
                self._remember(entry, found._replace(told=told))
        return found, label, dict(told)

    async def found(self, entry: Entry, node: str | None) -> tuple[reading.Found, str | None]:
        """Where a result lies. Dispatches that share their outcome share what is found."""
        before = self._found.get((entry.manifest, entry.outcome)) if node is None else None
        if before is not None and (before.blob is None or not self.store.find_missing([before.blob])):
            return before, None
        found, one = await asyncio.to_thread(reading.found, self.store, entry, node)
        if node is None and entry.outcome:
            self._remember(entry, found)
        return found, None if one is None else one.label

    def _remember(self, entry: Entry, found: reading.Found) -> None:
        self._found[entry.manifest, entry.outcome] = found
        if len(self._found) > _KEPT:
            self._found.popitem(last=False)

    async def started(self, entry: Entry) -> dict[str, Any]:
        """What a redispatch is answered with: the result too if it is over."""
        place = f"/api/v1/dispatches/{entry.id}"
        value = None
        if entry.status is Status.COMPLETED:
            try:
                _, _, value = await self.value(entry, None)
            except (Problem, CasRunError) as error:  # it is done all the same
                value = {"type": None, "preview": None, "error": str(error)}
        return {
            "dispatch_id": entry.id,
            "lattice": entry.lattice,
            "parent": entry.parent or None,
            "status": entry.status.value,
            "location": place,
            "events": f"{place}/events",
            "error": entry.error or None,
            "result": value,
        }

    async def dispatch(self, entry: Entry, start: int, count: int) -> dict[str, Any]:
        """All about one, with some of its nodes."""
        return await asyncio.to_thread(reading.dispatch, self.store, entry, start, count)

    def brief(self, entry: Entry) -> dict[str, Any]:
        return Result(self.store, entry).to_json(nodes=False)

    def pieces(self, blob: Digest) -> Any:
        return reading.pieces(self.store, blob)

    # Its own life -----------------------------------------------------------------------------------------

    def _on_event(self, dispatch_id: str, event: str, data: dict[str, Any]) -> None:
        if event == "Finished":
            self.metrics.dispatches[data["status"]] += 1
        with suppress(CasRunError):
            self.feeds.take(dispatch_id, event, data)

    def _on_loss(self, dispatch_ids: Any) -> None:
        self.feeds.lost(dispatch_ids)

    def gauges(self) -> list[tuple[str, str, float]]:
        """What is so right now, for the metrics."""
        alive = self.coordinators.alive
        found = [
            ("coordinators", "Coordinator processes alive.", float(len(alive))),
            ("coordinators_started", "Coordinator processes started.", float(self.coordinators.started)),
            ("coordinator_requests", "Requests that they have under way.", float(sum(one.pending for one in alive))),
            ("dispatches_running", "Dispatches that they run.", float(sum(len(one.running) for one in alive))),
        ]
        with suppress(OSError, ValueError, IndexError):
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            found.append(("resident_memory_bytes", "Memory of the server's own process.", pages * 4096.0))
        return found

    def close(self) -> None:
        """Let go of all but the coordinators."""
        self.feeds.close()
        self.uploads.close()


def waited(seconds: float) -> float:
    """A wait within the limits."""
    return max(0.0, min(seconds, float(limits.WAIT_S)))
