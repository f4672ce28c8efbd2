"""A server that answers as a test says, and hangs up as a test says: what networks and gateways do to a client."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cas_run import client as client_module


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Said:
    """One answer. `cut`: so many bytes of the content come, then the connection breaks."""

    status: int = 200
    content: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    close: bool = False  # quietly, after the answer

    @property
    def raw(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()


DROPPED = None  # the connection is closed without an answer
Answering = Callable[[Request], Said | None]


class Scripted:
    """It listens on loopback; `answer` is asked for every request, and `requests` keeps them."""

    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                outer.connections += 1
                super().setup()

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                request = Request(self.command, self.path, self.headers, self.rfile.read(length))
                outer.requests.append(request)
                said = outer.answer(request)
                if said is DROPPED:
                    self.hang_up()
                    return
                self.send_response(said.status)
                headers = {"Content-Type": "application/json", "Content-Length": str(len(said.raw)), **said.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said.raw[: said.cut])
                if said.cut is not None or said.close:
                    self.hang_up()

            do_GET = do_POST = answer

            def hang_up(self) -> None:
                self.close_connection = True
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def paths(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.requests]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


Script = Callable[..., Scripted]


@pytest.fixture
def script() -> Iterator[Script]:
    """`script(answer)`, or `script(first, second, ...)`: the last one from then on."""
    made: list[Scripted] = []

    def script(*answers: Any) -> Scripted:
        if callable(answers[0]):
            scripted = Scripted(answers[0])
        else:
            left = list(answers)
            scripted = Scripted(lambda _: left.pop(0) if len(left) > 1 else left[0])
        made.append(scripted)
        return scripted

    yield script
    for each in made:
        each.close()


Faults = list[str]


@pytest.fixture
def proxy(script: Script) -> Callable[[str, Faults], Scripted]:
    """A gateway before a real server, with a list of what befalls requests: after the last of it all goes well.

    "before": hangs up without passing it on; "after": hangs up when the server has answered; "503": says so.
    """

    def proxy(url: str, faults: Faults) -> Scripted:
        host = url.partition("://")[2]

        def answer(request: Request) -> Said | None:
            fault = faults.pop(0) if faults else ""
            if fault == "before":
                return DROPPED
            if fault.isdigit():
                return Said(int(fault), b"<html>busy</html>", {"Content-Type": "text/html"})
            connection = http.client.HTTPConnection(host, timeout=60)
            kept = {k: v for k, v in request.headers.items() if k not in ("Host", "Connection")}
            connection.request(request.method, request.path, request.body or None, {**kept, "Host": host})
            found = connection.getresponse()
            content = found.read()
            connection.close()
            if fault == "after":
                return DROPPED
            return Said(found.status, content, {"Content-Type": found.headers["Content-Type"]})

        return script(answer)

    return proxy


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty home, and retries that do not wait."""
    for name in ("CAS_RUN_TOKEN", "CAS_RUN_SERVER", "CAS_RUN_CONFIG", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(client_module, "PAUSE_S", 0.001)
