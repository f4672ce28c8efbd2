"""Whatever some clients do, memory stays bounded and others are served."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cas_run.server import limits

pytestmark = pytest.mark.xdist_group("server")
MIB = 1 << 20


@contextlib.contextmanager
def others_are_served(served: Any, growth: int) -> Iterator[None]:
    """While this lasts somebody asks all the time, and is answered soon; and the server does not grow by more."""
    slowest, stop, most = [0.0], threading.Event(), [0]
    before = served.memory()

    def ask() -> None:
        while not stop.is_set():
            began = time.monotonic()
            assert served.get("/healthz", timeout=20).status == 200
            slowest[0] = max(slowest[0], time.monotonic() - began)
            most[0] = max(most[0], served.memory() - before)
            time.sleep(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert slowest[0] > 0
    assert slowest[0] < 10
    assert most[0] < growth


def _head(served: Any, path: str, *more: str, content_type: str = "application/json") -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {served.token}",
        f"Content-Type: {content_type}",
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize("path", ["/api/v1/dispatches/{flow}/plan", "/api/v1/blobs", "/api/v1/dispatches"])
def test_a_gigabyte_in_chunks_is_refused_early(served: Any, ids: dict[str, str], path: str) -> None:
    kind = "application/x-npy" if path.endswith("blobs") else "application/json"
    head = _head(served, path.format_map(ids), "Transfer-Encoding: chunked", content_type=kind)
    chunk = b"100000\r\n" + b"\0" * MIB + b"\r\n"
    sent, answer = 0, b""
    with others_are_served(served, 64 * MIB), socket.create_connection(("127.0.0.1", served.port), timeout=30) as to:
        with contextlib.suppress(ConnectionError):
            to.sendall(head)
            for _ in range(1024):
                to.sendall(chunk)
                sent += MIB
        with contextlib.suppress(ConnectionError):
            answer = to.recv(1 << 16)
    assert sent < limits.UPLOAD + 64 * MIB if kind != "application/json" else sent < 32 * MIB
    assert answer[:12] in (b"", b"HTTP/1.1 413", b"HTTP/1.1 405")


def test_two_hundred_event_streams_share_what_they_watch(served: Any, ids: dict[str, str]) -> None:
    told = served.redispatch(ids["flow"], wait=0, inputs={"C": 31.5, "seconds": 3.0}).json
    path = f"/api/v1/dispatches/{told['dispatch_id']}/events"

    async def watch() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        text = await reader.read()
        writer.close()
        return text

    async def watch_all() -> list[bytes]:
        return await asyncio.gather(*(watch() for _ in range(200)))

    with others_are_served(served, 64 * MIB):
        texts = asyncio.run(watch_all())
    assert all(text.startswith(b"HTTP/1.1 200") for text in texts)
    assert all(b"event: finished" in text for text in texts)
    assert len({text.partition(b"\r\n\r\n")[2] for text in texts}) == 1
    assert "cas_run_event_streams 0" in served.get("/metrics").raw.decode()


def test_more_streams_than_the_limit_are_told_to_come_later(served: Any, ids: dict[str, str]) -> None:
    told = served.redispatch(ids["flow"], wait=0, inputs={"C": 32.5, "seconds": 20}).json
    path = f"/api/v1/dispatches/{told['dispatch_id']}/events"
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with contextlib.ExitStack() as open_:
        for _ in range(limits.STREAMS):
            one = open_.enter_context(socket.create_connection(("127.0.0.1", served.port)))
            one.sendall(request)
            assert one.recv(12) == b"HTTP/1.1 200"
        refused = served.get(path)
        assert (refused.status, refused.headers["retry-after"]) == (429, "5")
        assert served.get("/healthz").status == 200
    served.post(f"/api/v1/dispatches/{told['dispatch_id']}/cancel")
    deadline = time.monotonic() + 20
    while "cas_run_event_streams 0" not in served.get("/metrics").raw.decode():
        assert time.monotonic() < deadline


def test_watchers_that_leave_as_they_come_leave_nothing_behind(
    served: Any, ids: dict[str, str], eventually: Any
) -> None:
    told = served.redispatch(ids["flow"], wait=0, inputs={"C": 35.5, "seconds": 60}).json
    request = f"GET {told['events']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    for number in range(150):
        with socket.create_connection(("127.0.0.1", served.port)) as one:
            one.sendall(request)
            time.sleep(number * 2e-5)  # each a little later than the last: some meet the first event on its way
    eventually(lambda: "cas_run_event_streams 0" in served.get("/metrics").raw.decode())
    served.post(f"{told['location']}/cancel")


def test_who_sends_nothing_more_is_answered_all_the_same(served: Any, ids: dict[str, str]) -> None:
    """`nc -N`, say; but half of a body is no request."""
    path = f"/api/v1/dispatches/{ids['flow']}"

    def sent(request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as to:
            to.sendall(request)
            to.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: to.recv(1 << 16), b""))

    told = served.redispatch(ids["flow"], wait=0, inputs={"C": 36.5, "seconds": 1.0}).json
    waiting = f"GET {told['location']}/result?wait=30 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    assert b'"value":1642.5' in sent(waiting)
    plan = _head(served, f"{path}/plan", "Content-Length: 2")
    assert sent(plan + b"{}").startswith(b"HTTP/1.1 200")
    assert not sent(plan + b"{")


def test_slow_clients_hold_nothing_up(served: Any, ids: dict[str, str]) -> None:
    """A head, a body and an answer that never come to their end."""
    body = json.dumps({"inputs": {"C": 33.0}}).encode()
    head = _head(served, f"/api/v1/dispatches/{ids['flow']}/plan", f"Content-Length: {len(body)}")
    reading = f"GET /api/v1/dispatches/{ids['flow']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 50
    with contextlib.ExitStack() as open_, others_are_served(served, 64 * MIB):
        slow = [open_.enter_context(socket.create_connection(("127.0.0.1", served.port))) for _ in range(90)]
        for i, one in enumerate(slow):
            one.sendall([head[:40], head + body[:3], reading][i % 3])
        for _ in range(10):
            assert served.redispatch(ids["flow"], inputs={"C": 33.0}).status == 200


@pytest.mark.slow
def test_a_request_that_does_not_end_is_given_up_and_a_stream_in_which_nothing_happens_beats(
    served: Any, ids: dict[str, str]
) -> None:
    told = served.redispatch(ids["flow"], wait=0, inputs={"C": 34.5, "seconds": 60}).json
    with contextlib.ExitStack() as open_:
        stream = open_.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=40))
        stream.sendall(f"GET {told['events']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        silent, half = (open_.enter_context(socket.create_connection(("127.0.0.1", served.port))) for _ in range(2))
        half.sendall(b"GET /healthz HTTP/1.1\r\nHost: loc")
        for one in (silent, half):
            one.settimeout(limits.HEADERS_S + 10)
            assert one.recv(100) == b""
        seen = b""
        while b": still here" not in seen:
            piece = stream.recv(1 << 16)
            assert piece
            seen += piece
    served.post(f"{told['location']}/cancel")
