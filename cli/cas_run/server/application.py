"""The ASGI application: each operation of the table with its endpoint, behind the guard."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router, compile_path

from cas_run.server import jsonwork, limits, metrics, reading, schema
from cas_run.server.guards import Guard, Policy, Receive, Scope, Send
from cas_run.server.openapi import openapi
from cas_run.server.operations import OPERATIONS, Endpoint, Operation
from cas_run.server.problems import Field, Problem, problem_of, unprocessable
from cas_run.server.service import Service
from cas_run.server.tokens import Grant
from cas_store.errors import CasRunError

_PIECE = 1 << 18  # bytes of a download at a time
_CANCELLED_S = 0.5  # in which a task that is cancelled has ended
_SCOPES = {"code": "code", "run": "run", "read": "read"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is allowed and well-formed: its parameters, and its body if the operation has one."""

    service: Service
    scope: Scope
    grant: Grant
    of: Mapping[str, Any]
    body: Any


def application(service: Service, policy: Policy) -> Guard:
    """All of it."""
    routes = []
    for operation in OPERATIONS:
        path = operation.path.replace("{name}", "{name:path}")
        routes.append(Route(path, _endpoint(service, operation), methods=[operation.method], name=operation.name))
    router = Router(routes, redirect_slashes=False, default=_nothing)
    paths = [(compile_path(route.path)[0], route.methods or set()) for route in routes]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "OPTIONS":
            found = [methods for pattern, methods in paths if pattern.match(scope["path"])]
            if not found:
                raise _not_found(scope)
            allow = ", ".join(sorted({"OPTIONS", *(one for methods in found for one in methods)}))
            await Response(status_code=204, headers={"Allow": allow})(scope, receive, send)
            return
        scope["app"] = app  # as Starlette wants it: what it refuses it then raises
        try:
            await router(scope, receive, send)
        except HTTPException as refused:
            kind = "NotFound" if refused.status_code == 404 else "WrongMethod"
            message = f"`{scope['path'][:80]}` has no {scope['method'][:20]}"
            raise Problem(refused.status_code, kind, message, headers=refused.headers) from None
        except CasRunError as error:
            raise _soon_again(problem_of(error)) from error
        except Problem as problem:  # what a coordinator could not do
            _soon_again(problem)
            raise

    return Guard(app, policy, service.metrics)


def _soon_again(problem: Problem) -> Problem:
    """The same, with when to ask again if it is the store that cannot be used."""
    if problem.status == 503:
        problem.headers.setdefault("Retry-After", "5")
    return problem


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    del receive, send
    raise _not_found(scope)


def _not_found(scope: Scope) -> Problem:
    return Problem(404, "NotFound", f"there is nothing at `{scope['path'][:80]}`\n  -> see /openapi.json")


def _endpoint(service: Service, operation: Operation) -> Any:
    endpoint = _ENDPOINTS[operation.name]

    async def called(request: Request) -> Response:
        scope = request.scope
        scope["operation"] = operation.name
        grant: Grant = scope["grant"]
        if operation.scope and not grant.may(operation.scope):
            message = f"this token has no scope `{operation.scope}`\n  -> `cas-run token new --scope {operation.scope}`"
            raise Problem(403, "Forbidden", message)
        of = {**_queried(operation, scope["query_string"]), **_of_path(operation, scope["path_params"])}
        body = None
        if operation.body is not None:
            raw = await scope["body"].whole()
            body = jsonwork.read(raw) if raw.strip() else {}
            if wrong := list(schema.faults(body, operation.body)):
                raise unprocessable([Field(one.name or "the body", one.message) for one in wrong])
        return await endpoint(Asked(service, scope, grant, of, body))

    return called


def _queried(operation: Operation, query: bytes) -> dict[str, Any]:
    """The parameters of a query. Raises Problem (400)."""
    takes = {one.name: one.schema for one in operation.parameters if one.where == "query"}
    if not query:
        return {}
    found: dict[str, Any] = {}
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=100, errors="replace")
    for name, text in pairs:
        if name not in takes:
            near = schema.nearest(name, list(takes)) or (f"it takes {', '.join(takes)}" if takes else "it takes none")
            raise _bad(name, f"there is no such parameter; {near}")
        if name in found:
            raise _bad(name, "it is given twice")
        found[name] = _read(name, text, takes[name])
    return found


def _of_path(operation: Operation, given: Mapping[str, str]) -> dict[str, Any]:
    del operation
    return dict(given)  # an id that is none is one that nothing has


def _read(name: str, text: str, takes: schema.Schema) -> Any:
    value: Any = text
    if takes.get("type") in ("integer", "number"):
        try:
            value = json.loads(text) if len(text) <= 30 else None
        except (ValueError, RecursionError):
            value = None
        # (Python reads NaN and Infinity as well.)
        kinds = (int,) if takes["type"] == "integer" else (int, float)
        if type(value) not in kinds or not math.isfinite(value):
            raise _bad(name, f"it is to be {schema.told(takes)}")
    for fault in schema.faults(value, takes):
        raise _bad(name, fault.message)
    return value


def _bad(name: str, why: str) -> Problem:
    return Problem(400, "BadRequest", f"parameter `{name[:80]}`: {why}", [Field(name[:80], why)])


def _json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(jsonwork.write(value), status, headers, "application/json")


# Endpoints ------------------------------------------------------------------------------------------------


async def _list_dispatches(asked: Asked) -> Response:
    of, service = asked.of, asked.service
    found = await asyncio.to_thread(
        reading.page, service.store, of.get("lattice"), of.get("status"), of.get("limit", limits.PAGE), of.get("cursor")
    )
    return _json(found)


async def _get_dispatch(asked: Asked) -> Response:
    entry = await asked.service.settled(asked.of["id"], asked.of.get("wait", 0))
    start, count = asked.of.get("nodes_from", 0), asked.of.get("nodes_limit", limits.NODES)
    return _json(await asked.service.dispatch(entry, start, count))


async def _redispatch(asked: Asked) -> Response:
    service = asked.service
    dispatch_id = await service.redispatch(service.entry(asked.of["id"]), asked.body, asked.grant)
    told = await service.started(await service.settled(dispatch_id, asked.of.get("wait", 0)))
    status = 202 if told["status"] == "RUNNING" else 200
    return _json(told, status, {"Location": told["location"]})


async def _plan(asked: Asked) -> Response:
    service = asked.service
    return _json(await service.plan(service.entry(asked.of["id"]), asked.body, asked.grant))


async def _cancel(asked: Asked) -> Response:
    from cas_engine.dispatch import cancel

    service = asked.service
    entry = service.entry(asked.of["id"])
    cancelled = await asyncio.to_thread(cancel, entry.id, store=service.store)
    status = service.entry(entry.id).status.value
    return _json({"dispatch_id": entry.id, "cancelled": cancelled, "status": status})


async def _get_result(asked: Asked) -> Response:
    entry = await asked.service.settled(asked.of["id"], asked.of.get("wait", 0))
    found, label, told = await asked.service.value(entry, asked.of.get("node"))
    download = None
    if found.blob is not None:
        download = f"/api/v1/dispatches/{entry.id}/result/bytes"
        if label is not None:
            from urllib.parse import quote

            download += f"?node={quote(label, safe='')}"
    answer = {"dispatch_id": entry.id, "node": label, "status": entry.status.value, "size": found.size}
    return _json({**answer, "download": download, **told})


async def _get_result_bytes(asked: Asked) -> Response:
    entry = asked.service.entry(asked.of["id"])
    found, _ = await asked.service.found(entry, asked.of.get("node"))
    if found.blob is None:
        message = "this result is put together from several stored ones\n  -> ask for those of its nodes: ?node="
        raise Problem(409, "NoResult", message)
    pieces = await asyncio.to_thread(asked.service.pieces, found.blob)
    return _Download(pieces, entry.id)


async def _get_logs(asked: Asked) -> Response:
    entry = asked.service.entry(asked.of["id"])
    node, since = asked.of.get("node"), asked.of.get("since", 0.0)
    return _json(await asyncio.to_thread(reading.printed, asked.service.store, entry, node, since))


async def _explain(asked: Asked) -> Response:
    return _json(await asked.service.explanation(asked.service.entry(asked.of["id"]), asked.of.get("node")))


async def _diff(asked: Asked) -> Response:
    one, other = (asked.service.entry(asked.of[name]) for name in ("id", "other"))
    return _json(await asked.service.difference(one, other))


async def _watch(asked: Asked) -> Response:
    service = asked.service
    entry = service.entry(asked.of["id"])
    if asked.scope["method"] == "HEAD":
        return Response(media_type=_EVENTS)
    if service.metrics.streams >= limits.STREAMS:
        message = f"{limits.STREAMS} event streams are open already\n  -> try again in a moment"
        raise Problem(429, "TooMany", message, headers={"Retry-After": "5"})
    last = next((v.decode("latin-1") for k, v in asked.scope["headers"] if k.lower() == b"last-event-id"), "")
    return _Events(service, service.feeds.watch(entry.id, last[:100]))


async def _list_lattices(asked: Asked) -> Response:
    from urllib.parse import quote

    found = await asyncio.to_thread(reading.lattices, asked.service.store)
    return _json(
        {"lattices": [{**one, "inputs": f"/api/v1/lattices/{quote(one['name'], safe='')}/inputs"} for one in found]}
    )


async def _get_inputs(asked: Asked) -> Response:
    entry = await asyncio.to_thread(reading.latest, asked.service.store, asked.of["name"])
    signature = await asyncio.to_thread(reading.signature, asked.service.store, entry)
    told = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema.of_signature(signature)}
    return _json({"lattice": entry.lattice, "dispatch_id": entry.id, "schema": told})


async def _list_electrons(asked: Asked) -> Response:
    return _json({"electrons": await asked.service.electrons(asked.of.get("name"))})


async def _upload(asked: Asked) -> Response:
    media_type = next(v for k, v in asked.scope["headers"] if k.lower() == b"content-type").decode("latin-1")
    name, found = await asked.service.uploads.take(
        asked.scope["body"].receive, media_type.partition(";")[0].strip().lower()
    )
    told = {"id": name, "media_type": found.media_type, "size": found.size, "expires": found.expires}
    return _json(told, 201)


async def _upload_code(asked: Asked) -> Response:
    if not asked.service.settings.allow_code:
        message = "this server takes no code\n  -> whoever keeps it may start it with --allow-code"
        raise Problem(403, "CodeNotAllowed", message)
    return await _upload(asked)


async def _openapi(asked: Asked) -> Response:
    return _json(openapi(asked.service.settings.version))


async def _health(asked: Asked) -> Response:
    await asyncio.to_thread(reading.page, asked.service.store, None, None, 1, None)
    return _json({"status": "ok", "version": asked.service.settings.version})


async def _metrics(asked: Asked) -> Response:
    return Response(asked.service.metrics.text(asked.service.gauges()), media_type=metrics.TYPE)


_ENDPOINTS: Mapping[str, Endpoint] = {
    "list_dispatches": _list_dispatches,
    "get_dispatch": _get_dispatch,
    "redispatch": _redispatch,
    "plan": _plan,
    "cancel": _cancel,
    "get_result": _get_result,
    "get_result_bytes": _get_result_bytes,
    "get_logs": _get_logs,
    "explain": _explain,
    "diff": _diff,
    "watch": _watch,
    "list_lattices": _list_lattices,
    "get_inputs": _get_inputs,
    "list_electrons": _list_electrons,
    "upload_blob": _upload,
    "upload_code": _upload_code,
    "openapi": _openapi,
    "health": _health,
    "metrics": _metrics,
}
_EVENTS = "text/event-stream"


class _Download(Response):
    """Bytes as they lie in the store, a piece at a time: memory does not grow with them."""

    media_type = "application/vnd.cas-run.blob"

    def __init__(self, pieces: Iterable[memoryview], name: str) -> None:
        self._pieces = list(pieces)
        size = sum(piece.nbytes for piece in self._pieces)
        attachment = f'attachment; filename="{name}.cas"'
        super().__init__(headers={"Content-Length": str(size), "Content-Disposition": attachment})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        del receive
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            for piece in self._pieces:
                for at in range(0, piece.nbytes, _PIECE):
                    body = bytes(piece[at : at + _PIECE])
                    await asyncio.wait_for(
                        send({"type": "http.response.body", "body": body, "more_body": True}), limits.SEND_S
                    )
        await send({"type": "http.response.body", "body": b""})


class _Events(Response):
    """A stream that ends with its dispatch, with the client, or with the server."""

    media_type = _EVENTS

    def __init__(self, service: Service, events: AsyncIterator[bytes]) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._service, self._events = service, events

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._service.metrics.streams += 1
        scope[limits.ENDLESS] = True
        try:
            await scope["body"].whole()
            sending = asyncio.create_task(self._send(send))
            gone = asyncio.create_task(_disconnected(receive))
            _, pending = await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            while pending:
                # Until it is so: before Python 3.12 `wait_for` forgets that it was cancelled when what it waits for is
                # there in the same moment, https://github.com/python/cpython/issues/86296
                for task in pending:
                    task.cancel()
                _, pending = await asyncio.wait(pending, timeout=_CANCELLED_S)
            if sending.done() and not sending.cancelled() and (error := sending.exception()) is not None:
                raise error
        finally:
            self._service.metrics.streams -= 1

    async def _send(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for text in self._events:
            # One that does not read holds a buffer and this task, and after a while not even those.
            await asyncio.wait_for(send({"type": "http.response.body", "body": text, "more_body": True}), limits.SEND_S)
        await send({"type": "http.response.body", "body": b""})


async def _disconnected(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
