"""client.py alone, copied somewhere, does it all: with Python 3.8 or newer and nothing else."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.client.conftest import PYTHON, Request, Said, Script, Scripted

import cas_run.client

FILE = Path(cas_run.client.__file__)
ID = "9f3a" * 8


def alone(folder: Path, program: str, *words: str, **environment: str) -> str:
    """A program beside a copy of client.py, without site-packages, the user's settings or anything of ours."""
    shutil.copy(FILE, folder / "client.py")
    start = f"import sys; sys.path.insert(0, {str(folder)!r})\n"
    done = subprocess.run(
        [PYTHON, "-I", "-S", "-W", "error", "-c", start + program, *words],
        cwd=folder,
        env={"PATH": os.defpath, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def server(script: Script) -> Scripted:
    def answer(request: Request) -> Said:
        if request.path.endswith("/events"):
            text = b'event: finished\ndata: {"status": "COMPLETED"}\n\n'
            return Said(200, text, {"Content-Type": "text/event-stream"})
        if request.path.startswith("/api/v1/dispatches?"):
            return Said(200, {"dispatches": [{"dispatch_id": ID}], "next_cursor": None})
        if request.path.endswith("/result"):
            return Said(200, {"value": {"score": 0.97}})
        if "/logs" in request.path:
            piece = {"at": 1.0, "node": "a", "attempt": 0, "stream": "stdout", "text": "hello"}
            return Said(200, {"status": "COMPLETED", "more": False, "printed": [piece] * 2})
        if request.path.endswith("/missing/plan"):
            return Said(404, {"error": {"kind": "UnknownDispatch", "message": "there is none", "advice": "look"}})
        return Said(200, {"dispatch_id": ID, "status": "COMPLETED", "cancelled": True})

    return script(answer)


def test_its_syntax_is_that_of_python_3_8() -> None:
    ast.parse(FILE.read_text(encoding="utf-8"), feature_version=(3, 8))


def test_it_works_where_there_is_nothing_else(server: Scripted, tmp_path: Path) -> None:
    program = """
import asyncio, pickle, sys
from client import AsyncClient, Client, NotFound
url = sys.argv[1]
with Client(url, "secret") as client:
    dispatch = client.redispatch(sys.argv[2], inputs={"C": 1.5})
    print(dispatch.wait().result()["score"], [event.kind for event in dispatch.events()], dispatch.cancel())
    try:
        client.plan("missing")
    except NotFound as error:
        print(repr(str(pickle.loads(pickle.dumps(error)))))

async def story():
    async with AsyncClient(url, "secret") as client:
        dispatch = await client.redispatch(sys.argv[2])
        print((await (await dispatch.wait()).result())["score"], [event.kind async for event in dispatch.events()])

asyncio.run(story())
"""
    out = alone(tmp_path, program, server.url, ID).splitlines()
    assert out == [
        "0.97 ['finished'] True",
        repr("there is none\n  -> look"),
        "0.97 ['finished']",
    ]
    assert {request.headers["Authorization"] for request in server.requests} == {"Bearer secret"}


def shell(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(FILE, folder / "client.py")
    command = [PYTHON, "-I", "-S", str(folder / "client.py"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_it_is_a_small_command_too(server: Scripted, tmp_path: Path) -> None:
    def said(*words: str) -> Any:
        done = shell(tmp_path, *words, CAS_RUN_SERVER=server.url, CAS_RUN_TOKEN="secret")
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert said("redispatch", ID, "C=1.5", "kernel=rbf", "--recompute", "stochastic", "--replace", "a=b").strip() == ID
    body = server.requests[0].json
    assert body["inputs"] == {"C": 1.5, "kernel": "rbf"}
    assert (body["recompute"], body["replace_electrons"]) == ("stochastic", {"a": "b"})
    assert json.loads(said("redispatch", ID, "--wait")) == {"score": 0.97}
    assert json.loads(said("list", "-n", "1"))["dispatch_id"] == ID
    assert json.loads(said("events", ID))["event"] == "finished"
    assert json.loads(said("logs", ID, "--node", "a"))["text"] == "hello"
    said("explain", ID, "--node", "a#0")
    said("diff", ID, ID[:6])
    assert [one.path.rpartition("/dispatches/")[2] for one in server.requests[-2:]] == [
        f"{ID}/explain?node=a%230",
        f"{ID}/diff/{ID[:6]}",
    ]
    command = (
        f"for i in 1 2 3 4 5 6 7 8 9; do {PYTHON} -I -S client.py list || exit; done | true; echo ${{PIPESTATUS[0]}}"
    )
    piped = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env={"CAS_RUN_SERVER": server.url}, capture_output=True, text=True
    )
    assert (piped.stdout, piped.stderr) == ("141\n", "")
    assert "Talk to a `cas-run serve`" in said("--help")
    for words in (("plan", "missing", "--url", server.url), ("--url", server.url, "plan", "missing")):
        failed = shell(tmp_path, *words)
        assert (failed.returncode, failed.stderr) == (1, "error: there is none\n  -> look\n")
    assert shell(tmp_path, "list").stderr.startswith("error: there is no address of a server\n")
    wrong = shell(tmp_path, "--url", "http://[::1", "list")
    assert (wrong.returncode, wrong.stderr.partition("\n")[0]) == (
        1,
        "error: `http://[::1` is not the address of a server",
    )
    for line in ("list", f"redispatch {ID}"):
        full = subprocess.run(
            ["bash", "-c", f"{PYTHON} -I -S client.py {line} > /dev/full"],
            cwd=tmp_path,
            env={"CAS_RUN_SERVER": server.url},
            capture_output=True,
            text=True,
        )
        assert (full.returncode, full.stderr) == (74, "error: can't write the answer: No space left on device\n")


def test_it_is_loaded_without_what_few_callers_use(tmp_path: Path) -> None:
    loaded = set(alone(tmp_path, "import client; print(*sys.modules)").split())
    assert loaded & {"asyncio", "logging", "concurrent", "urllib.request", "argparse"} == set()
