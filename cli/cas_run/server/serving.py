"""The server's process: its socket, its signals, its beginning and its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from cas_engine.errors import UsageError
from cas_run.server import limits
from cas_run.server.application import application
from cas_run.server.guards import Policy
from cas_run.server.metrics import Metrics
from cas_run.server.operations import OPERATIONS
from cas_run.server.service import Service, Settings
from cas_run.server.tokens import Tokens, local_path, local_secret
from cas_store.errors import StoreError
from cas_store.store import Store

_BACKLOG = 1024
_TIDY_S = 600.0
_ENDING_S = 10.0  # for answers that are on their way when it ends


class Options(NamedTuple):
    """How to serve."""

    host: str
    port: int
    token_file: Path
    private: bool
    allowed_hosts: tuple[str, ...]
    grace_s: float
    settings: Settings


class Listening(NamedTuple):
    """What is told once clients can connect."""

    url: str
    host: str
    port: int
    token_file: str
    local_token_file: str


class Served(NamedTuple):
    """What is told at the end: processes that go on with what runs."""

    left_running: list[int]


class NotAllowed(UsageError):
    """An address that it does not serve, as asked for or at all."""


def serve(store: Store, options: Options, listening: Callable[[Listening], None]) -> Served:
    """Serve until a signal says to end. Raises NotAllowed, TokenError, before anything is served."""
    loopback = _is_loopback(options.host)
    tokens = Tokens(options.token_file, local_secret(options.token_file))
    if not loopback and not tokens.count:
        raise NotAllowed(
            f"`{options.host}` can be reached from other machines, and {options.token_file} has no token\n"
            "  -> make one first: `cas-run token new --scope run`, or serve 127.0.0.1 behind something that has them"
        )
    listener = _listener(options.host, options.port)
    host, port = listener.getsockname()[:2]
    policy = Policy(
        tokens=tokens,
        hosts=_names(options, loopback=loopback),
        any_address=ipaddress.ip_address(host.partition("%")[0]).is_unspecified,
        read_freely=loopback and not options.private,
        uploads={one.path: one.uploads for one in OPERATIONS if one.uploads},
    )
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    told = Listening(url, host, port, str(options.token_file), str(local_path(options.token_file)))
    with contextlib.closing(listener):
        return asyncio.run(_serve(store, options, policy, listener, lambda: listening(told)))


async def _serve(
    store: Store, options: Options, policy: Policy, listener: socket.socket, listening: Callable[[], None]
) -> Served:
    _allow_files()
    service = Service(store, options.settings, Metrics())
    config = uvicorn.Config(
        application(service, policy),
        http=_Protocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=int(_ENDING_S),
        h11_max_incomplete_event_size=limits.HEADERS + limits.URL + 4096,
        backlog=_BACKLOG,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    server = _Server(config)

    def end() -> None:
        if server.should_exit:
            server.force_exit = True  # asked twice: without waiting for answers
        server.should_exit = True
        service.feeds.close()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    tasks = [loop.create_task(service.coordinators.warm_up()), loop.create_task(_tidy(service))]
    listening()
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in tasks:
            task.cancel()
        service.close()
    return Served(await service.coordinators.drain(options.grace_s))


def _allow_files() -> None:
    """Each connection is a descriptor, and the store needs some too: what is allowed at first may be less than both."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * limits.CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 4 * limits.CONNECTIONS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _tidy(service: Service) -> None:
    """Forget what is known long enough, now and from time to time."""
    while True:
        with contextlib.suppress(StoreError):  # the next time, then
            await asyncio.to_thread(service.remembered.forget_old)
        service.uploads.expire()
        await asyncio.sleep(_TIDY_S)


class _Server(uvicorn.Server):
    """Leaves signals to us: it would raise them again, and end before what runs is handed over."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(H11Protocol):
    """Does not wait for ever for the first line and the headers of a request."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._wait_no_more()
        elif self._waiting is None and not self.transport.is_closing():
            self._wait()  # half of a head is there

    def eof_received(self) -> bool:  # type: ignore[override]  # True keeps the other half of the connection open
        """A client that sends no more (`nc -N`) may wait for its answer. One of a stream has gone."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body or limits.ENDLESS in self.scope:
            return False
        cycle.keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(limits.HEADERS_S, self._give_up)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if self.conn.their_state is h11.IDLE:
            self.transport.close()


def _listener(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise NotAllowed(f"`{host}` is no address of this machine: {error}\n  -> 127.0.0.1, for instance") from None
    made = socket.socket(family, kind, proto)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        advice = "another port, `--port 0` for any" if error.errno == errno.EADDRINUSE else "give another address"
        raise NotAllowed(f"{host} port {port}: {error.strerror}\n  -> {advice}") from None
    return made


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found)


def _names(options: Options, *, loopback: bool) -> frozenset[str]:
    """What `Host` may be."""
    own = options.host.lower()
    names = {f"[{own}]" if ":" in own else own, *(name.lower().rstrip(".") for name in options.allowed_hosts)}
    return frozenset(names | ({"localhost", "127.0.0.1", "[::1]"} if loopback else set()))
