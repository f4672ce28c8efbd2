"""What a redispatch costs over HTTP with nothing changed, beside a bare handler of the framework; and who shares."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import Figure, Options, Report, json_of, measured, spread_of, table_of

_HERE = Path(__file__).parent
_EXAMPLES = Path(__file__).parents[2] / "examples"
_CLIENTS = 32


def run(options: Options) -> Report:
    requests, inputs = (1_000, 20) if options.quick else (6_000, 200)
    with tempfile.TemporaryDirectory() as there:
        folder = Path(there)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CAS_RUN_")},
            "CAS_RUN_STORE": str(folder / "store"),
            "CAS_RUN_CONFIG": str(folder / "config.ini"),
        }
        parent = _recorded(folder, environment)
        with _serving([sys.executable, "-m", "cas_run", "serve", "--port", "0", "--json"], environment) as told:
            token = Path(told["local_token_file"]).read_text(encoding="ascii").strip()
            path = f"/api/v1/dispatches/{parent}/redispatch"
            with _serving([sys.executable, str(_HERE / "bare.py")], environment) as bare:
                ours, limit = list[dict[str, Any]](), list[dict[str, Any]]()
                spent = [0.0, 0.0]
                _asked(told["port"], path, token, 10 * _CLIENTS)  # its coordinators are there
                for _ in range(3):  # by turns: what disturbs one disturbs the other
                    for at, (server, to, taken) in enumerate(((told, path, ours), (bare, "/", limit))):
                        before = _processor_time(server["pid"])
                        taken.append(_asked(server["port"], to, token, requests // 3))
                        spent[at] += (_processor_time(server["pid"]) - before) / requests
            figures = _no_ops(ours, limit, spent)
            ran = _shared(told["port"], path, token, inputs)
    figures += [
        Figure(f"{inputs} redispatches of the SVM with inputs of their own, a second", "", ran.pop("a second")),
        *(Figure(f"  times that `{name}` ran", "", count, reach=reach) for name, (count, reach) in ran.items()),
    ]
    return Report(table_of(figures), json_of(figures))


def _processor_time(pid: int) -> float:
    """Seconds, of a process and those below it: the coordinators are part of what a redispatch costs."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK") + sum(_processor_time(int(one)) for one in below)


def _no_ops(ours: list[dict[str, Any]], limit: list[dict[str, Any]], spent: list[float]) -> list[Figure]:
    rates = [len(one["taken"]) / one["seconds"] for one in ours]
    bare = [len(one["taken"]) / one["seconds"] for one in limit]
    is_ = f"a handler of the same framework that reads and writes JSON, {_CLIENTS} clients"
    taken, least = ([each for one in some for each in one["taken"]] for some in (ours, limit))
    _, _, p99, _ = spread_of(least)
    return [
        Figure("redispatches over HTTP, nothing changed, a second", "", max(rates), max(bare), is_),
        measured("  one of them", "ms", taken, 1e3, least, is_),
        Figure("  p99 of the bare handler", "ms", p99 * 1e3),
        Figure("  processor time of one, with its coordinator", "ms", spent[0] * 1e3, spent[1] * 1e3, is_),
    ]


def _shared(port: int, path: str, token: str, count: int) -> dict[str, Any]:
    """How often each electron ran for that many redispatches, all of them after the one that they come from."""
    done = _asked(port, f"{path}?wait=60", token, count, "inputs")
    ran: Counter[str] = Counter()
    for place in done["locations"]:
        for node in _load("get", port, place, token)["nodes"]:
            ran[node["electron"]] += node["status"] == "ran"
    shared = {name: (float(ran[name]), "0: all share those of the first") for name in ("load", "split", "scale")}
    own = {name: (float(ran[name]), f"{count}") for name in ("train", "compute_accuracy", "bootstrap")}
    return {"a second": count / done["seconds"], **shared, **own}


def _recorded(folder: Path, environment: dict[str, str]) -> str:
    """A dispatch of the example, whose source is gone by the time it is served."""
    shutil.copy(_EXAMPLES / "svm.py", folder / "svm.py")
    command = [sys.executable, "-m", "cas_run", "run", "-q", "svm.py:svm"]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    (folder / "svm.py").unlink()
    return done.stdout.strip()


def _asked(port: int, path: str, token: str, requests: int, what: str = "same") -> dict[str, Any]:
    return _load(what, port, path, token, requests, _CLIENTS)


def _load(*words: object) -> dict[str, Any]:
    command = [sys.executable, str(_HERE / "load.py"), *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def _serving(command: list[str], environment: dict[str, str]) -> Iterator[dict[str, Any]]:
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())
        finally:
            server.terminate()
            server.wait(60)
