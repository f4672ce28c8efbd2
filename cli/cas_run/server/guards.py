"""Stands before all routing: what is not from whom it should be, or is too much, goes no further. Pure ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from cas_run.server import limits
from cas_run.server.jsonwork import write
from cas_run.server.metrics import Metrics
from cas_run.server.problems import Problem
from cas_run.server.tokens import Grant, Tokens

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE = ("GET", "HEAD", "OPTIONS")
JSON = "application/json"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(\d{1,5}))?")
_BEARER = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/-]{1,512}=*)")
_NOBODY = Grant("", frozenset())
_ANYBODY = Grant("", frozenset({"read"}))
_HARDENED = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
)


@dataclass(frozen=True, slots=True)
class Policy:
    """Whom the server answers. `hosts` are the names that it may be addressed by; `uploads` are the media types that
    paths take instead of JSON.
    """

    tokens: Tokens
    hosts: frozenset[str]
    any_address: bool  # it listens on all of them: by whichever it was reached, it may be addressed
    read_freely: bool
    uploads: dict[str, frozenset[str]] = field(default_factory=dict)


class Guard:
    """The application behind it sees requests that may be answered, with `scope["grant"]`, and bodies within limits."""

    def __init__(self, app: App, policy: Policy, metrics: Metrics) -> None:
        self._app, self._policy, self._metrics = app, policy, metrics
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # nothing here speaks another protocol: uvicorn refuses the upgrade
        body = _Body(receive, limits.UPLOAD if scope["path"] in self._policy.uploads else limits.BODY)
        answering = _Answering(scope, body, send, self._metrics)
        self._under_way += 1
        try:
            scope["grant"] = self._admitted(scope, body)
            scope["body"] = body
            await self._app(scope, body.receive, answering.send)
        except Problem as problem:
            await answering.problem(problem)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered, and told to whoever keeps the server
            if isinstance(error, asyncio.TimeoutError) and answering.has_begun:
                return  # a client that takes nothing of its answer: the connection ends
            traceback.print_exception(error, file=sys.stderr)
            fault = f"{type(error).__name__}\n  -> this is a fault of cas-run: please report it, with the server's log"
            await answering.problem(Problem(500, "InternalError", fault))
        finally:
            self._under_way -= 1
            answering.done()

    def _admitted(self, scope: Scope, body: _Body) -> Grant:
        """Who asks. Raises Problem."""
        headers = _headers(scope)
        if self._under_way > limits.REQUESTS + limits.STREAMS:
            message = "too many requests at a time\n  -> try again in a moment"
            raise Problem(503, "TooMany", message, headers={"Retry-After": "1"})
        url = len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"])
        if url > limits.URL:
            raise Problem(414, "TooLong", f"the URL has {url:,} bytes, and the most are {limits.URL:,}")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > limits.HEADERS:
            raise Problem(431, "TooLong", f"the headers have more than {limits.HEADERS:,} bytes")
        self._check_host(scope, headers)
        _check_origin(headers)
        grant = self._grant(headers)
        method = scope["method"]
        if method not in SAFE:
            if grant is None or not grant.name:
                raise _unauthorized("this needs a token")
            self._check_type(scope["path"], headers)
        elif grant is None and scope["path"] != "/healthz":
            raise _unauthorized("reading needs a token here")
        body.check(headers)
        return grant or _NOBODY

    def _check_host(self, scope: Scope, headers: dict[str, list[str]]) -> None:
        given = headers.get("host", [])
        match = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        if match is None:
            raise Problem(400, "BadRequest", "a request has one `Host`, a name or an address")
        name = match[1].lower().rstrip(".")
        reached = scope.get("server")
        if name in self._policy.hosts:
            return
        if self._policy.any_address and reached is not None and _same_address(name, reached[0]):
            return
        advice = "address it by its own name; `cas-run serve --allow-host NAME` adds another"
        raise Problem(421, "WrongHost", f"this server is not `{name[:80]}`\n  -> {advice}")

    def _grant(self, headers: dict[str, list[str]]) -> Grant | None:
        given = headers.get("authorization", [])
        if not given:
            return _ANYBODY if self._policy.read_freely else None
        match = _BEARER.fullmatch(given[0].strip()) if len(given) == 1 else None
        grant = None if match is None else self._policy.tokens.grant_of(match[1])
        if grant is None:
            # Also where reading is free: whoever sends a token wants to know that it is no good.
            raise _unauthorized("this token is not known here")
        return grant

    def _check_type(self, path: str, headers: dict[str, list[str]]) -> None:
        given = headers.get("content-type", [])
        media_type = given[0].partition(";")[0].strip().lower() if len(given) == 1 else ""
        takes = self._policy.uploads.get(path, frozenset({JSON}))
        if media_type not in takes:
            raise Problem(
                415, "WrongType", f"the content type is to be {' or '.join(sorted(takes))}, also without a body"
            )


class _Body:
    """The body of a request, counted as it comes."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most = receive, most
        self._count = 0
        self.over = False

    def check(self, headers: dict[str, list[str]]) -> None:
        """Refuse by what is announced, before anything is read. Raises Problem."""
        for text in headers.get("content-length", []):
            if not text.isdecimal() or len(text) > 19:
                raise Problem(400, "BadRequest", "the content length is no number")
            if int(text) > self._most:
                raise self._too_large()

    async def receive(self) -> Message:
        """The next piece. Raises Problem."""
        if self.over:
            return await self._receive()  # only a disconnection can come
        try:
            message = await asyncio.wait_for(self._receive(), limits.BODY_S)
        except asyncio.TimeoutError:
            raise Problem(408, "TooSlow", f"nothing of the body came for {limits.BODY_S:.0f} s") from None
        if message["type"] == "http.request":
            self._count += len(message.get("body", b""))
            if self._count > self._most:
                raise self._too_large()
            self.over = not message.get("more_body", False)
        else:
            self.over = True
        return message

    async def whole(self) -> bytes:
        """All of it. Raises Problem."""
        pieces = []
        while not self.over:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Problem(400, "BadRequest", "the body ends too early")
            pieces.append(message.get("body", b""))
        return b"".join(pieces)

    async def drain(self) -> None:
        """Read on for a little, and keep nothing: a client that is still sending when the connection is closed may
        never see the answer.
        """
        left = limits.DRAINED
        with contextlib.suppress(asyncio.TimeoutError):
            while not self.over and left > 0:
                message = await asyncio.wait_for(self._receive(), limits.DRAIN_S)
                left -= len(message.get("body", b"")) + 1
                self.over = message["type"] != "http.request" or not message.get("more_body", False)

    def _too_large(self) -> Problem:
        return Problem(413, "TooLong", f"the body has more than {self._most:,} bytes")


class _Answering:
    """The way back: adds headers, counts, and makes answers of problems."""

    def __init__(self, scope: Scope, body: _Body, send: Send, metrics: Metrics) -> None:
        self._scope, self._body, self._send, self._metrics = scope, body, send, metrics
        self._began = metrics.begin()
        self._status = 0
        names = {name for name, _ in scope["headers"]}
        self._has_body = b"transfer-encoding" in names or any(
            name == b"content-length" and value.strip() != b"0" for name, value in scope["headers"]
        )

    @property
    def has_begun(self) -> bool:
        return self._status != 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            names = {name.lower() for name, _ in message.get("headers", ())}
            added = [pair for pair in _HARDENED if pair[0] not in names]
            if self._has_body and not self._body.over:
                added.append((b"connection", b"close"))  # what is left of the body is not waited for
            message["headers"] = [*message.get("headers", ()), *added]
        await self._send(message)

    async def problem(self, problem: Problem) -> None:
        """The answer to a request that came to nothing."""
        if self._status:
            return  # half of another answer is out: the connection is all that can end
        text = write(problem.to_json())
        headers = [(b"content-type", JSON.encode()), (b"content-length", str(len(text)).encode())]
        headers += [
            (name.lower().encode(), value.encode("latin-1", "replace")) for name, value in problem.headers.items()
        ]
        if problem.status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="cas-run"'))
        unread = self._has_body and not self._body.over
        if unread:
            headers.append((b"connection", b"close"))
        self._status = problem.status
        await self._send({"type": "http.response.start", "status": problem.status, "headers": [*headers, *_HARDENED]})
        shown = b"" if self._scope["method"] == "HEAD" else text
        await self._send({"type": "http.response.body", "body": shown, "more_body": unread})
        if unread:
            await self._body.drain()
            await self._send({"type": "http.response.body", "body": b""})

    def done(self) -> None:
        self._metrics.end(self._began, self._scope.get("operation", "none"), self._status)


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _check_origin(headers: dict[str, list[str]]) -> None:
    """A browser says where a page comes from that asks: only from here is right."""
    for origin in headers.get("origin", []):
        if origin.lower() not in {f"http://{headers['host'][0].lower()}", f"https://{headers['host'][0].lower()}"}:
            raise Problem(403, "WrongOrigin", f"pages of `{origin[:80]}` may not ask this server")
    for site in headers.get("sec-fetch-site", []):
        if site.lower() not in ("same-origin", "none"):
            raise Problem(403, "WrongOrigin", f"a request that is `{site[:40]}` is not answered")


def _unauthorized(why: str) -> Problem:
    advice = "send `Authorization: Bearer TOKEN`; `cas-run token new` makes one"
    return Problem(401, "Unauthorized", f"{why}\n  -> {advice}")


def _same_address(name: str, reached: str) -> bool:
    try:
        return ipaddress.ip_address(name.strip("[]")) == ipaddress.ip_address(reached)
    except ValueError:
        return False
