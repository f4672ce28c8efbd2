"""The server's own process unpickles nothing and loads no code: not in any route, whatever lies in the store."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cas_run.server.operations import OPERATIONS

pytestmark = pytest.mark.xdist_group("server")

# Put into every process that the server starts, itself included: what is unpickled, and at the end what was imported.
WATCH = """
import atexit, json, os, sys

def note(kind, what):
    with open(os.environ["WATCHED"], "a") as file:
        file.write(json.dumps([os.getpid(), kind, what]) + "\\n")

def hook(event, arguments):
    if event in ("pickle.find_class", "marshal.loads"):
        note(event, [str(each)[:80] for each in arguments])

import _pickle

def watched(name):
    real = getattr(_pickle, name)
    def load(*args, **kwargs):
        note("loads", name)
        return real(*args, **kwargs)
    return load

# Without a class in it, a pickle is loaded without an event: so the functions are watched too.
_pickle.loads, _pickle.load = watched("loads"), watched("load")
sys.addaudithook(lambda event, arguments: hook(event, arguments) if event == "pickle.find_class" else None)
atexit.register(lambda: note("modules", sorted(sys.modules)))
"""


def test_no_route_unpickles_anything_in_the_servers_process(tmp_path: Path, make_flow: Any, start: Any) -> None:
    ids = make_flow(tmp_path)
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    log = tmp_path / "watched"
    served = start(tmp_path, "--allow-code", environment={"PYTHONPATH": str(tmp_path / "watch"), "WATCHED": str(log)})
    asked = set()

    def ask(operation: str, answer: Any, *statuses: int) -> Any:
        asked.add(operation)
        assert answer.status in (statuses or (200,)), answer
        return answer

    place = f"/api/v1/dispatches/{ids['flow']}"
    array = io.BytesIO()
    np.save(array, np.ones(3))
    blob = served.post("/api/v1/blobs", array.getvalue(), headers={"Content-Type": "application/x-npy"})
    blob = ask("upload_blob", blob, 201).json["id"]
    capsule = {"Content-Type": "application/vnd.cas-run.capsule"}
    code = ask("upload_code", served.post("/api/v1/code", b"\x80\x04N.", headers=capsule), 201).json["id"]
    for body in (
        {"inputs": {"C": 2.5}},
        {"replace_electrons": {"total": "biggest"}, "idempotency_key": "a"},
        {"recompute": "all"},
        {"inputs": {"C": "wrong"}},
    ):
        ask("redispatch", served.post(f"{place}/redispatch?wait=30", body), 200, 422)
        plan = {name: value for name, value in body.items() if name != "idempotency_key"}
        ask("plan", served.post(f"{place}/plan", plan), 200, 422)
    bad = {"replace_electrons": {"total": {"$capsule": code}}}
    assert served.post(f"{place}/redispatch", bad).status == 422
    shaped = served.redispatch(ids["shapes"], inputs={"array": {"$blob": blob}, "frame": {"x": [1]}})
    assert shaped.status == 200, shaped
    for one in ids.values():
        ask("get_dispatch", served.get(f"/api/v1/dispatches/{one}?wait=1"))
        ask("get_result", served.get(f"/api/v1/dispatches/{one}/result"))
        ask("get_result_bytes", served.get(f"/api/v1/dispatches/{one}/result/bytes"), 200, 409)
        ask("get_logs", served.get(f"/api/v1/dispatches/{one}/logs"))
        ask("explain", served.get(f"/api/v1/dispatches/{one}/explain"))
        ask("diff", served.get(f"/api/v1/dispatches/{one}/diff/{ids['flow']}"))
        ask("watch", served.get(f"/api/v1/dispatches/{one}/events"))
    ask("cancel", served.post(f"{place}/cancel"))
    ask("list_dispatches", served.get("/api/v1/dispatches"))
    ask("list_lattices", served.get("/api/v1/lattices"))
    ask("get_inputs", served.get("/api/v1/lattices/flow/inputs"))
    ask("list_electrons", served.get("/api/v1/electrons"))
    ask("openapi", served.get("/openapi.json"))
    ask("health", served.get("/healthz"))
    ask("metrics", served.get("/metrics"))
    assert asked == {operation.name for operation in OPERATIONS}
    assert served.stop() == 0

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    elsewhere = [line for line in lines if line[0] != served.process.pid]
    assert any(kind == "pickle.find_class" for _, kind, _ in elsewhere), "the watch does not work"
    own = [(kind, what) for pid, kind, what in lines if pid == served.process.pid]
    ((kind, modules),) = own
    assert kind == "modules"
    assert {"cloudpickle", "numpy", "pandas", "sklearn", "flow"} & set(modules) == set()
