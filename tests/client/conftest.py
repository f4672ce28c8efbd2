"""A server that answers and hangs up as a test says, as networks and gateways do; and a real one."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cas_run import client as client_module
from cas_run.client import Client


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
                except (ConnectionError, ssl.SSLError):
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
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def wrap(self, context: ssl.SSLContext) -> None:
        """TLS from now on. The handshake is made by the thread of the connection, where a failed one ends quietly."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    def paths(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.requests]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def oldest_python() -> str:
    """The oldest from 3.8 on that this machine has: what version managers keep, else this one."""
    root = Path(os.environ.get("PYENV_ROOT", Path("~").expanduser() / ".pyenv"))
    found = [sys.executable]
    for minor in range(8, sys.version_info.minor):
        found += [str(path) for path in root.glob(f"versions/3.{minor}.*/bin/python")]
        found += [path] if (path := shutil.which(f"python3.{minor}")) else []
    versions = {}
    for path in found:
        said = subprocess.run([path, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True)
        if said.returncode == 0:
            versions[tuple(map(int, said.stdout.split()))] = path
    return versions[min(versions)]


PYTHON = oldest_python()  # the home of a test has no version manager


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


# --- a real server ---

FLOW = """
import os, time
import numpy as np
import pandas as pd
import cas_run as ct

def mark(name):
    with open(os.environ["TALLY"], "a") as tally:
        tally.write(name + "\\n")

@ct.electron
def load(n):
    mark("load")
    return list(range(n))

@ct.electron
def total(values, power: float):
    mark("total")
    return sum(v ** power for v in values)

@ct.electron
def biggest(values, power: float):
    mark("biggest")
    return max(values) * power

@ct.electron(stochastic=True)
def draw(values):
    return os.urandom(4).hex()

@ct.lattice
def flow(n: int = 4, power: float = 1.0, name: str = "a"):
    values = load(n)
    return {"total": total(values, power), "draw": draw(values), "name": name}

@ct.lattice
def other():
    return biggest(load(3), 2.0)

@ct.electron
def breaks(x):
    raise ValueError("no such mass")

@ct.lattice
def fails(x: int = 1):
    return breaks(x)

@ct.electron
def sleep(seconds):
    if seconds:
        print("sleeping", seconds, flush=True)
    mark("sleep")
    time.sleep(seconds)
    return seconds

@ct.lattice
def sleeps(seconds: float = 0.0):
    return sleep(seconds)

@ct.electron
def described(array, frame):
    return [str(array.dtype), list(array.shape), type(frame).__name__, list(frame.columns), frame.iloc[:, 0].tolist()]

@ct.lattice
def arrays(array: np.ndarray, frame: pd.DataFrame):
    return described(array, frame)

@ct.lattice
def table(n: int = 3):
    return ones(n)

@ct.electron
def ones(n):
    return np.ones((n, 2))

if __name__ == "__main__":
    import json
    arguments = {"arrays": (np.zeros(2), pd.DataFrame({"x": [1]}))}
    lattices = {"flow": flow, "other": other, "fails": fails, "sleeps": sleeps, "arrays": arrays, "table": table}
    made = {name: ct.dispatch_sync(one)(*arguments.get(name, ())).dispatch_id for name, one in lattices.items()}
    print(json.dumps(made))
"""


def settings_in(folder: Path) -> dict[str, str]:
    """The environment of a platform in this folder, and nothing of this machine's user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CAS_RUN_")}
    own = {"CAS_RUN_STORE": str(folder / "store"), "CAS_RUN_CONFIG": str(folder / "config" / "config.ini")}
    return {**kept, **own, "TALLY": str(folder / "tally")}


def cas_run_in(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cas_run", *words], cwd=folder, env=settings_in(folder), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_flow(folder: Path) -> dict[str, str]:
    """Every lattice above has run once: ids by name. The source is gone when this returns."""
    file = folder / "flow.py"
    file.write_text(textwrap.dedent(FLOW), encoding="utf-8")
    done = subprocess.run([sys.executable, str(file)], env=settings_in(folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file.unlink()
    (folder / "tally").unlink()
    made: dict[str, str] = json.loads(done.stdout)
    return made


class Served:
    """`cas-run serve` over the store in a folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.log = (folder / f"log-{time.monotonic_ns()}").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cas_run", "serve", "--port", "0", "--json", "--grace", "2", *options],
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=settings_in(folder),
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.log.seek(0)
        assert line, self.log.read()
        told = json.loads(line)
        self.url: str = told["url"]
        self.token = Path(told["local_token_file"]).read_text(encoding="ascii").strip()

    def client(self, **options: Any) -> Client:
        return Client(self.url, self.token, **options)

    def ran(self) -> list[str]:
        """The electrons that ran since this was last asked."""
        tally = self.folder / "tally"
        names = tally.read_text(encoding="utf-8").split() if tally.exists() else []
        tally.unlink(missing_ok=True)
        return sorted(names)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()


World = tuple[Served, dict[str, str]]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One server for all tests of a session, and the ids of what it has recorded."""
    folder = tmp_path_factory.mktemp("served")
    made = run_flow(folder)
    served = Served(folder, "--executor", "thread")
    yield served, made
    served.stop()


@pytest.fixture
def served(world: World) -> Served:
    world[0].ran()
    return world[0]


@pytest.fixture
def ids(world: World) -> dict[str, str]:
    return world[1]
