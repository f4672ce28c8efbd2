"""`import cas_run as ct` and the command do over a server what they do over a store, and answer in the same shape."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.client.conftest import Served, settings_in

import cas_run as ct
from cas_run.client import NotFound
from cas_run.remote import annotation_of

Ids = dict[str, str]
STORE = "--store"


# --- from Python ---


@pytest.fixture
def there(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Served:
    """Somebody on another machine: a token, and a store of their own that does not exist."""
    monkeypatch.setenv("CAS_RUN_TOKEN", served.token)
    monkeypatch.delenv("CAS_RUN_STORE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return served


def test_a_redispatch_over_a_server_gives_an_id_and_that_a_result(there: Served, ids: Ids) -> None:
    new = ct.redispatch(ids["flow"], server=there.url)(power=3)
    result = ct.get_result(new, wait=True, server=there.url)
    assert (result.status, result.status is ct.Status.COMPLETED, result.lattice) == ("COMPLETED", True, "flow")
    assert (result.result["total"], result.hits, result.ran, result.parent) == (36.0, 2, 1, ids["flow"])
    assert result.inputs["power"] == "3.0"
    assert [(node.label, node.status) for node in result.nodes] == [("load", "hit"), ("total", "ran"), ("draw", "hit")]
    assert result.node("load").result == [0, 1, 2, 3]
    assert there.ran() == ["total"]
    plan = ct.plan(new, server=there.url)(power=4)
    assert isinstance(plan, ct.Plan)
    assert (plan.hits, plan.misses) == (2, 1)
    assert ct.cancel(new, server=there.url) is False
    assert ct.list_dispatches(limit=1, server=there.url)[0].dispatch_id == new
    by_position = ct.redispatch(ids["flow"], server=there.url)(5, 2)
    assert ct.get_result(by_position, wait=True, server=there.url).result["total"] == 30.0
    replaced = ct.redispatch(ids["flow"], {"total": "biggest"}, server=there.url)()
    assert ct.get_result(replaced, wait=True, server=there.url).replaced == {"total": "biggest"}


def test_the_errors_are_those_of_a_store(there: Served, ids: Ids) -> None:
    server = there.url
    with pytest.raises(ct.NotFound):
        ct.get_result("0" * 32, server=server)
    with pytest.raises(ct.NotFound, match="did you mean `load`"):
        ct.get_result(ids["flow"], server=server).node("lod")
    for wrong in ({"power": "large"}, {"powr": 1}, {"power": {1, 2}}):
        with pytest.raises(ct.UsageError):
            ct.redispatch(ids["flow"], server=server)(**wrong)
    with pytest.raises(ct.UsageError, match="twice"):
        ct.redispatch(ids["flow"], server=server)(1, n=2)
    with pytest.raises(ct.UsageError, match="4 inputs by position"):
        ct.redispatch(ids["flow"], server=server)(1, 2, 3, 4)
    with pytest.raises(ct.UsageError, match="name or fingerprint"):
        ct.redispatch(ids["flow"], {"total": 7}, server=server)()  # type: ignore[dict-item]
    with pytest.raises(ct.StoreError, match="can't be reached"):
        ct.get_result(ids["flow"], server="http://127.0.0.1:9")
    with pytest.raises(ct.StoreError):
        ct.redispatch(ids["flow"], server=server, token="wrong")()
    slow = ct.redispatch(ids["sleeps"], server=server)(seconds=20.25)
    with pytest.raises(TimeoutError):
        ct.get_result(slow, wait=True, server=server, timeout=0.1)
    assert ct.cancel(slow, server=server) is True
    with pytest.raises(ct.UsageError, match="two places"):
        ct.redispatch(ids["flow"], server=server, store="here")
    with pytest.raises(ct.UsageError, match="of a store"):
        ct.redispatch(ids["flow"], server=server, executor="inline")
    there.ran()


def test_values_that_json_does_not_hold_come_when_they_are_asked_for(there: Served, ids: Ids) -> None:
    result = ct.get_result(ids["table"], server=there.url)
    with pytest.raises(ct.CasRunError, match=r"numpy\.ndarray.*\n  -> load"):
        _ = result.result
    assert result.load().tolist() == [[1.0, 1.0]] * 3
    large = ct.redispatch(ids["table"], server=there.url)(n=100_000)
    assert np.array_equal(ct.get_result(large, wait=True, server=there.url).load(), np.ones((100_000, 2)))


def test_arrays_are_inputs_as_they_are(there: Served, ids: Ids) -> None:
    new = ct.redispatch(ids["arrays"], server=there.url)(array=np.zeros((2, 2), np.float32))
    assert ct.get_result(new, wait=True, server=there.url).result[:2] == ["float32", [2, 2]]


def test_code_is_sent_only_where_it_is_taken(there: Served, ids: Ids, tmp_path: Path) -> None:
    def smallest(values: list[int], power: float) -> float:
        return min(values) + power

    with pytest.raises(ct.CasRunError, match="code"):
        ct.redispatch(ids["flow"], {"total": smallest}, server=there.url)()
    taking = Served(there.folder, "--executor", "thread", "--allow-code")
    try:
        new = ct.redispatch(ids["flow"], {"total": smallest}, server=taking.url, token=taking.token)(power=0.5)
        result = ct.get_result(new, wait=True, server=taking.url)
        assert (result.result["total"], result.replaced) == (0.5, {"total": "smallest"})
    finally:
        taking.stop()


# --- which of them ---


@ct.electron
def one() -> int:
    return 1


@ct.lattice
def here() -> int:
    return one()


def test_what_is_given_comes_before_the_environment_and_that_before_the_config(
    there: Served, ids: Ids, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "mine"
    mine = ct.dispatch_sync(here, store=store)().dispatch_id

    def is_there() -> bool:
        return ct.list_dispatches(limit=1)[0].lattice != "here"

    monkeypatch.setenv("CAS_RUN_SERVER", there.url)
    assert is_there()
    monkeypatch.setenv("CAS_RUN_STORE", str(store))
    assert is_there()  # a store there always is; a server only if somebody named it
    assert ct.list_dispatches(store)[0].dispatch_id == mine
    assert ct.get_result(mine, store=store).result == 1
    monkeypatch.delenv("CAS_RUN_SERVER")
    assert not is_there()
    config = tmp_path / "config.ini"
    config.write_text(f"[cas-run]\nserver = {there.url}\n")
    monkeypatch.setenv("CAS_RUN_CONFIG", str(config))
    assert not is_there()
    monkeypatch.delenv("CAS_RUN_STORE")
    assert is_there()
    assert ct.get_result(ids["other"]).result == 4.0


def test_what_was_dispatched_here_is_found_here_whatever_server_is_named(
    there: Served, ids: Ids, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAS_RUN_SERVER", there.url)
    monkeypatch.setenv("CAS_RUN_STORE", str(tmp_path / "mine"))
    mine = ct.dispatch(here)()
    assert ct.get_result(mine, wait=True).result == 1
    assert ct.get_result(ct.redispatch(mine)(), wait=True).hits == 1
    assert (ct.plan(mine)().hits, ct.plan(here)().hits, ct.cancel(mine)) == (1, 1, False)
    with pytest.raises(ct.NotFound):
        ct.get_result(mine, server=there.url)
    # The same id in both: the server, as asked.
    monkeypatch.setenv("CAS_RUN_STORE", str(there.folder / "store"))
    assert type(ct.get_result(ids["other"])).__name__ == "RemoteResult"


# --- the command ---


class Shell:
    """The command on the platform's machine, and on another that has a token."""

    def __init__(self, served: Served, home: Path) -> None:
        self.served, self.home = served, home

    def at_home(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self._run(settings_in(self.served.folder), words)

    def over(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        own = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}
        return self._run({**own, "CAS_RUN_SERVER": self.served.url, "CAS_RUN_TOKEN": self.served.token, **more}, words)

    def _run(self, environment: dict[str, str], words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cas_run", *words],
            cwd=self.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def shell(served: Served, tmp_path: Path) -> Shell:
    return Shell(served, tmp_path)


def ageless(text: str) -> str:
    return " ".join(re.sub(r"just now|\d+ (s|min) ago", "AGO", text).split())


def shape(value: Any) -> Any:
    """Keys and types, all the way down."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value).__name__


def test_what_is_only_read_is_the_same_from_anywhere(shell: Shell, ids: Ids) -> None:
    for words in (
        ("list", "--json", "-n", "3", "--lattice", "flow"),
        ("list", "-q", "--status", "failed"),
        ("show", ids["flow"], "--json"),
        ("show", ids["flow"].upper()),
        ("show", ids["fails"][:8], "-v"),
        ("result", ids["flow"], "--json"),
        ("result", ids["flow"], "--node", "load", "--json"),
        ("result", ids["fails"], "--json"),
        ("plan", ids["flow"], "-p", "power=7.5", "--json"),
        ("plan", ids["flow"], "--recompute", "stochastic", "--check"),
        ("plan", ids["flow"], "-p", "m=2", "--json"),
        ("redispatch", ids["flow"], "--recompute", "lod", "--json"),
        ("cancel", ids["flow"], "--json"),
        ("show", "00000000000000000000000000000000", "--json"),
    ):
        at_home, over = shell.at_home(*words), shell.over(*words)
        assert ageless(over.stdout) == ageless(at_home.stdout), words
        assert (over.returncode, over.stderr) == (at_home.returncode, at_home.stderr), words


def test_why_and_what_differs_are_told_the_same_from_anywhere(shell: Shell, there: Served, ids: Ids) -> None:
    client = there.client()
    fresh = client.redispatch(ids["flow"], {"power": 71}).wait()
    for words in (
        ("explain", fresh.id),
        ("explain", fresh.id, "--json"),
        ("explain", fresh.id, "load"),
        ("explain", ids["fails"], "--json"),
        ("explain", fresh.id, "lod", "--json"),
        ("explain", "0" * 32),
        ("diff", ids["flow"], fresh.id),
        ("diff", ids["flow"], fresh.id, "-v", "--json"),
        ("diff", ids["flow"], ids["fails"]),
        ("diff", ids["flow"], "f" * 32, "--json"),
    ):
        at_home, over = shell.at_home(*words), shell.over(*words)
        assert over.stdout == at_home.stdout, words
        assert (over.returncode, over.stderr) == (at_home.returncode, at_home.stderr), words
    # And from Python: the same values.
    store = there.folder / "store"
    assert ct.explain(fresh.id, server=there.url) == ct.explain(fresh.id, store=store)
    assert ct.explain(fresh.id, "total", server=there.url).nodes[0].cause == "input power 1.0 → 71.0"
    assert ct.diff(ids["flow"], fresh.id, server=there.url) == ct.diff(ids["flow"], fresh.id, store)
    told = ct.explain(fresh.id, "total", store=store).to_json()
    assert fresh.explain("total") == json.loads(json.dumps(told))
    assert fresh.diff(ids["flow"][:6])["b"] == ids["flow"]
    assert list(ct.logs(fresh.id, server=there.url)) == list(ct.logs(fresh.id, store=store))
    there.ran()


def test_a_redispatch_shows_how_it_goes_and_what_came_of_it(shell: Shell, ids: Ids) -> None:
    at_home = shell.at_home("redispatch", ids["flow"], "-p", "power=61", "-v")
    over = shell.over("redispatch", ids["flow"], "-p", "power=62", "-v")

    def words(text: str) -> list[str]:
        return [word for word in text.replace("62", "61").split() if not any(letter.isdigit() for letter in word)]

    assert over.returncode == 0
    assert words(over.stdout) == words(at_home.stdout)
    assert over.stderr.startswith("flow ")
    for line in ("hit       load", "start     total", "ran       total"):
        assert line in over.stderr
        assert line in at_home.stderr
    both = [json.loads(run("redispatch", ids["flow"], "--json").stdout) for run in (shell.at_home, shell.over)]
    assert shape(both[0]) == shape(both[1])
    failed = shell.over("redispatch", ids["fails"], "-p", "x=5")
    assert failed.returncode == 1
    assert "ValueError: no such mass" in failed.stderr
    assert len(shell.over("redispatch", "-q", ids["flow"], "--replace", "total=biggest").stdout.strip()) == 32
    shell.served.ran()


def test_ctrl_c_cancels_what_runs_on_the_server(shell: Shell, ids: Ids) -> None:
    # Whoever runs the tests may ignore it, and what they start too.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += "import sys; from cas_run.main import main; sys.exit(main())"
    running = subprocess.Popen(
        [sys.executable, "-c", program, "redispatch", ids["sleeps"], "-p", "seconds=20.75", "-v"],
        env={**settings_in(shell.home), "CAS_RUN_SERVER": shell.served.url, "CAS_RUN_TOKEN": shell.served.token},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert running.stderr is not None
    for line in running.stderr:
        if "start     sleep" in line:
            break
    running.send_signal(signal.SIGINT)
    said = running.stderr.read()
    assert running.wait(20) == 130, said
    running.stderr.close()
    newest = next(shell.served.client().list())
    assert newest["parent"] == ids["sleeps"]
    assert f"`cas-run redispatch {newest['dispatch_id'][:12]}` takes it up again" in said
    assert shell.served.client().dispatch(newest["dispatch_id"]).wait(20).status == "CANCELLED"


def test_what_is_typed_is_read_by_what_the_server_says_of_an_input(shell: Shell, ids: Ids) -> None:
    done = shell.over("redispatch", ids["flow"], "-p", "name=1", "-p", "power=inf", "-p", "n=3e0", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["inputs"] == {"n": "3", "power": "inf", "name": "'1'"}
    assert "value" not in told["result"]


def test_what_needs_the_store_says_so_and_a_store_given_is_one(shell: Shell, tmp_path: Path) -> None:
    for words in (["gc"], ["run", "flow.py"], ["doctor"], ["import", "x"], ["verify", "@last"], ["plan", "x.py"]):
        done = shell.over(*words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert f"`cas-run {words[0]}` needs the store itself, and CAS_RUN_SERVER names a server" in done.stderr
    assert shell.over("list", STORE, str(tmp_path / "mine")).returncode == 3
    assert shell.over("stats", STORE, str(shell.served.folder / "store")).returncode == 0
    both = shell.over("list", STORE, "x", "--server", shell.served.url)
    assert (both.returncode, "two places" in both.stderr) == (2, True)
    told = shell.over("gc", "--server", shell.served.url, "--json")
    assert json.loads(told.stdout)["error"]["advice"] == "run it where the store is"


def test_a_server_that_cannot_be_used_is_status_3(shell: Shell, ids: Ids) -> None:
    nobody = shell.over("list", "--server", "http://127.0.0.1:9", "--json")
    assert nobody.returncode == 3
    assert "can't be reached" in json.loads(nobody.stdout)["error"]["message"]
    stranger = shell.over("redispatch", ids["flow"], CAS_RUN_TOKEN="wrong")
    assert stranger.returncode == 3
    refused = shell.over("redispatch", ids["flow"], "--executor", "inline")
    assert (refused.returncode, "the server's" in refused.stderr) == (2, True)
    code = shell.home / "mine.py"
    code.write_text("def smallest(values, power):\n    return min(values)\n")
    assert "code" in shell.over("redispatch", ids["flow"], "--replace", "total=mine.py:smallest").stderr


def test_looking_at_a_server_loads_neither_store_nor_what_runs(shell: Shell) -> None:
    program = (
        "import sys; from cas_run.main import main; main(['list', '--json']); print(*sys.modules, file=sys.stderr)"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(shell.home), "CAS_RUN_SERVER": shell.served.url}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    loaded = set(done.stderr.split())
    assert json.loads(done.stdout)["dispatches"]
    heavy = {"lmdb", "xxhash", "cloudpickle", "asyncio", "cas_store.store", "cas_engine.evaluating.result"}
    assert loaded & heavy == set()
    assert len([name for name in loaded if name.startswith("cas_engine.")]) <= 5


def test_ids_of_a_server_complete(shell: Shell, ids: Ids) -> None:
    line = f"cas-run show {ids['other'][:6]}"
    done = shell.over(_CAS_RUN_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD="2")
    assert ids["other"][:12] in done.stdout


@pytest.mark.parametrize(
    ("schema", "annotation"),
    [
        ({}, Any),
        ({"type": "integer"}, int),
        ({"type": "number", "x-float": True}, float),
        ({"type": "number"}, Any),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, str | None),
        ({"type": "array", "items": {"type": "integer"}}, Any),
        ({"type": "from later versions"}, Any),
    ],
)
def test_a_schema_is_read_no_narrower_than_it_is(schema: dict[str, Any], annotation: Any) -> None:
    assert annotation_of(schema) == annotation


# --- what electrons print ---


def test_what_electrons_print_is_told_over_a_server_also_while_they_run(there: Served, ids: Ids) -> None:
    client = there.client()
    running = client.redispatch(ids["sleeps"], {"seconds": 2.5})
    told = running.logs(follow=True)
    piece = next(told)
    assert running.refresh().status == "RUNNING"
    assert (piece["node"], piece["stream"], piece["text"]) == ("sleep", "stdout", "sleeping 2.5\n")
    assert list(told) == []
    assert running.refresh().status == "COMPLETED"
    assert [one["text"] for one in running.logs("sleep")] == ["sleeping 2.5\n"]
    assert list(client.logs(running.id, "sleep#0"))
    with pytest.raises(NotFound, match="did you mean `sleep`"):
        list(running.logs("slep"))
    over = [sys.executable, "-m", "cas_run", "logs", running.id, "--server", there.url]
    environment = {**os.environ, "CAS_RUN_TOKEN": there.token}
    said = subprocess.run(over, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == "sleep | sleeping 2.5\n"
    assert list(client.logs(ids["flow"])) == []
    there.ran()
