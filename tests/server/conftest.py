"""A server as users start it, over a store with dispatches whose source is gone; and a client that is all sockets."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

FLOW = """
import os, time
from typing import Literal
import numpy as np
import pandas as pd
import cas_run as ct

@ct.electron
def load(n: int) -> list:
    return list(range(n))

@ct.electron
def scale(xs, C: float):
    return [x * C for x in xs]

@ct.electron
def total(xs):
    return sum(xs)

@ct.electron
def biggest(xs):
    return max(xs)

@ct.electron
def wait(x, seconds):
    time.sleep(seconds)
    if seconds < 0.0001 and os.environ.get("NEVER"):
        raise RuntimeError
    return x

@ct.electron
def die(x):
    os._exit(7)

@ct.electron(stochastic=True)
def draw(x):
    return os.urandom(4).hex()

@ct.lattice
def flow(C: float, n: int = 10, seconds: float = 0.0):
    print("what a lattice prints")
    os.write(1, b"and what it writes is in nobody's way\\n")
    return wait(total(scale(load(n), C)), seconds)

@ct.lattice
def other(C: float):
    return biggest(scale(load(3), C))

@ct.lattice
def deadly(C: float):
    if C < 0:
        os._exit(9)
    if C > 100:
        raise ValueError("C is too large")
    return total(scale(load(3), C))

@ct.lattice
def thinking(seconds: float = 0.0):
    time.sleep(seconds)
    return total([1])

@ct.lattice
def drawing(x: int = 1):
    return draw(x)

@ct.electron
def shape(array, frame, kind, words):
    return {
        "array": [str(getattr(array, "dtype", None)), list(getattr(array, "shape", []))],
        "frame": [type(frame).__module__.split(".")[0], type(frame).__name__, list(frame.columns), len(frame)],
        "kind": kind,
        "words": words,
    }

@ct.electron
def ones(n):
    return np.ones((n, 3))

@ct.lattice
def shapes(array: np.ndarray, frame: pd.DataFrame, kind: Literal["a", "b"] = "a", words: list[str] = []):
    return shape(array, frame, kind, words)

@ct.lattice
def large(n: int = 1000):
    return ones(n)

@ct.lattice
def pair(n: int = 3):
    return {"xs": load(n), "total": total(load(n))}

@ct.electron
def where(n):
    return os.getpid()

@ct.lattice(executor="inline")
def beside(n: int = 0):
    return where(n)

@ct.lattice
def apart(n: int = 0):
    return where(n)

if __name__ == "__main__":
    made = {
        "flow": ct.dispatch(flow)(C=2.0),
        "other": ct.dispatch(other)(C=2.0),
        "deadly": ct.dispatch(deadly)(C=2.0),
        "thinking": ct.dispatch(thinking)(),
        "drawing": ct.dispatch(drawing)(),
        "shapes": ct.dispatch(shapes)(np.zeros(2), pd.DataFrame({"x": [1]})),
        "large": ct.dispatch(large)(),
        "pair": ct.dispatch(pair)(),
        "beside": ct.dispatch(beside)(),
        "apart": ct.dispatch(apart)(1),
    }
    for one in made.values():
        result = ct.get_result(one, wait=True)
        assert result.status == "COMPLETED", result.error
    import json
    print(json.dumps(made))
"""


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def kind(self) -> str:
        return str(self.json["error"]["kind"])

    @property
    def fields(self) -> list[str]:
        return [one["name"] for one in self.json["error"].get("fields", ())]


class Served:
    """A running server."""

    def __init__(self, folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.environment = environment_of(folder) | dict(environment or {})
        self.log = (folder / f"log-{time.monotonic_ns()}").open("w+b")
        self.process = subprocess.Popen(
            [*CAS_RUN, "serve", "--port", "0", "--json", *options],
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=self.environment,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.said()
        self.told: dict[str, Any] = json.loads(line)
        self.port: int = self.told.get("port", 0)
        self.token = Path(self.told["local_token_file"]).read_text().strip() if self.port else ""

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read().decode()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        token: str | None = None,
        timeout: float = 60,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        given = dict(headers or {})
        if method not in ("GET", "HEAD", "OPTIONS"):
            given = {"Content-Type": "application/json", "Authorization": f"Bearer {token or self.token}", **given}
        elif token:
            given["Authorization"] = f"Bearer {token}"
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, raw, {name: v for name, v in given.items() if v is not None})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **more: Any) -> Answer:
        return self.ask("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        return self.ask("POST", path, body, **more)

    def redispatch(self, dispatch_id: str, wait: float = 30, **body: Any) -> Answer:
        return self.post(f"/api/v1/dispatches/{dispatch_id}/redispatch?wait={wait:g}", body)

    def events(self, dispatch_id: str, **headers: str) -> list[tuple[str, str, Any]]:
        """All of a stream: id, event, data."""
        answer = self.get(f"/api/v1/dispatches/{dispatch_id}/events", headers=headers)
        assert answer.status == 200, answer
        return parsed(answer.raw.decode())

    def coordinators(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(one) for one in children]

    def memory(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()
        return status


CAS_RUN = [sys.executable, "-m", "cas_run"]


def parsed(text: str) -> list[tuple[str, str, Any]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if lines:
            found.append((lines["id"], lines["event"], json.loads(lines["data"])))
    return found


def environment_of(folder: Path) -> dict[str, str]:
    """Of programs that work with the store in this folder, and none other of the user's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CAS_RUN_")}
    return {**kept, "CAS_RUN_STORE": str(folder / "store"), "CAS_RUN_CONFIG": str(folder / "config" / "config.ini")}


def run_flow(folder: Path) -> dict[str, str]:
    """The dispatches of the workflow above by lattice; its source is gone when this returns."""
    file = folder / "flow.py"
    file.write_text(textwrap.dedent(FLOW))
    done = subprocess.run(
        [sys.executable, str(file)], env=environment_of(folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    file.unlink()
    made: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return made


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, dict[str, str]]]:
    """One server for all tests that do it no harm."""
    folder = tmp_path_factory.mktemp("served")
    made = run_flow(folder)
    served = Served(folder, "--grace", "5")
    yield served, made
    with suppress(AssertionError):
        served.stop()


@pytest.fixture
def served(world: tuple[Served, dict[str, str]]) -> Served:
    return world[0]


@pytest.fixture
def ids(world: tuple[Served, dict[str, str]]) -> dict[str, str]:
    return world[1]


@pytest.fixture
def cas_run() -> list[str]:
    """The command, as the words that start it."""
    return CAS_RUN


@pytest.fixture
def start() -> Iterator[Callable[..., Served]]:
    """`start(folder, *options)`: more servers, which end with the test."""
    made: list[Served] = []

    def start(folder: Path, *options: str, **more: Any) -> Served:
        made.append(Served(folder, *options, **more))
        return made[-1]

    yield start
    for one in made:
        one.stop()


@pytest.fixture(scope="session")
def make_flow() -> Callable[[Path], dict[str, str]]:
    return run_flow
