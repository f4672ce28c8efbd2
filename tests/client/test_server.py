"""The client and a real server agree, and what gets lost between them happens once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.client.conftest import Faults, Scripted, Served, cas_run_in, run_flow

from cas_engine.capsules import codec
from cas_run.client import (
    AsyncClient,
    Client,
    DispatchFailed,
    NoResult,
    NotAllowed,
    NotFound,
    NotJson,
    Refused,
    StillRunning,
    Upload,
)

Proxy = Callable[[str, Faults], Scripted]
Ids = dict[str, str]


def children(client: Client, parent: str) -> list[str]:
    return [one["dispatch_id"] for one in client.list() if one["parent"] == parent]


def test_one_line_runs_a_workflow_with_new_inputs(served: Served, ids: Ids) -> None:
    client = served.client()
    assert client.redispatch(ids["flow"], inputs={"power": 2}).wait().result()["total"] == 14.0
    assert served.ran() == ["total"]
    short = client.redispatch(ids["flow"], {"power": 2}, wait=30)
    assert (short.status, short.result()["total"]) == ("COMPLETED", 14.0)
    assert served.ran() == []
    again = short.redispatch(recompute="stochastic", wait=30)
    assert again.result()["draw"] != short.result()["draw"]
    replaced = client.redispatch(ids["flow"], replace_electrons={"total": "biggest"}, wait=30)
    assert replaced.result()["total"] == 3.0
    everything = client.redispatch(ids["flow"], reuse_previous_results=False, wait=30)
    assert everything.get()["hits"] == 0


def test_all_that_can_be_asked_is_answered(served: Served, ids: Ids, tmp_path: Path) -> None:
    client = served.client()
    told = client.get(ids["flow"])
    assert [node["label"] for node in told["nodes"]] == ["load", "total", "draw"]
    assert client.dispatch(ids["flow"][:8]).id == ids["flow"]
    assert client.dispatch("@last").id == next(client.list(limit=1))["dispatch_id"]
    assert {one["name"] for one in client.lattices()} >= {"flow", "other", "fails", "sleeps"}
    assert client.inputs("flow")["properties"]["power"]["default"] == 1.0
    assert {one["name"] for one in client.electrons()} >= {"load", "total", "biggest"}
    plan = client.plan(ids["flow"], {"power": 7})
    assert (plan["hits"], plan["misses"]) == (2, 1)
    assert client.cancel(ids["flow"]) is False
    assert client.result(ids["flow"], "load") == [0, 1, 2, 3]
    assert codec.decode(client.download(ids["flow"], "load")) == [0, 1, 2, 3]
    kinds = [event.kind for event in client.events(ids["flow"])]
    assert (kinds[0], kinds[-1], kinds.count("node")) == ("planned", "finished", 3)
    assert {one["lattice"] for one in client.list(status="failed")} == {"fails"}
    with pytest.raises(NotJson) as caught:
        client.result(ids["table"])
    assert caught.value.type == "numpy.ndarray"
    client.download(ids["table"], to=str(tmp_path / "table"))
    assert codec.decode((tmp_path / "table").read_bytes()).tolist() == [[1.0, 1.0]] * 3
    (tmp_path / "kept").write_text("kept")
    with pytest.raises(NoResult):
        client.download(ids["fails"], to=str(tmp_path / "kept"))
    assert (tmp_path / "kept").read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} >= {"kept", "table"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    client.download(ids["flow"], "load", to="/dev/null")


def test_what_can_not_be_done_is_said_before_anything_runs(served: Served, ids: Ids) -> None:
    client = served.client()
    with pytest.raises(Refused) as caught:
        client.redispatch(ids["flow"], {"power": "large"})
    assert caught.value.field == "inputs.power"
    with pytest.raises(Refused) as caught:
        client.redispatch(ids["flow"], {"powr": 1})
    assert caught.value.field == "inputs.powr"
    with pytest.raises(Refused) as caught:
        client.redispatch(ids["flow"], replace_electrons={"total": "bigest"})
    assert "biggest" in caught.value.advice
    with pytest.raises(NotFound):
        client.redispatch("0" * 32)
    with pytest.raises(NotFound):
        client.result(ids["flow"], "lod")
    with pytest.raises(NotAllowed):
        Client(served.url, "no-such-token").redispatch(ids["flow"])
    with pytest.raises(NotAllowed):
        Client(served.url).redispatch(ids["flow"])
    assert served.ran() == []


def test_a_failure_comes_with_its_traceback(served: Served, ids: Ids) -> None:
    again = served.client().redispatch(ids["fails"], {"x": 2}).wait()
    assert again.status == "FAILED"
    with pytest.raises(DispatchFailed, match="no such mass") as caught:
        again.result()
    assert caught.value.dispatch_status == "FAILED"
    with pytest.raises(DispatchFailed, match="no such mass"):
        again.result("breaks")


def test_what_runs_can_be_waited_for_watched_and_cancelled(served: Served, ids: Ids) -> None:
    client = served.client()
    slow = client.redispatch(ids["sleeps"], {"seconds": 20.5})
    with pytest.raises(StillRunning):
        slow.result()
    with pytest.raises(StillRunning):
        slow.wait(0.2)
    events = slow.events()
    assert [next(events).kind, next(events).kind] == ["planned", "started"]
    assert slow.cancel() is True
    assert [event.kind for event in events][-1] == "finished"
    assert slow.wait(20).status == "CANCELLED"


def test_arrays_and_frames_arrive_as_what_they_are(served: Served, ids: Ids, tmp_path: Path) -> None:
    client = served.client()
    array, frame = np.arange(6, dtype=np.int16).reshape(2, 3), pd.DataFrame({"y": [1.5, 2.5]})
    found = client.redispatch(ids["arrays"], {"array": array, "frame": frame}, wait=30).wait().result()
    assert found == ["int16", [2, 3], "DataFrame", ["y"], [1.5, 2.5]]
    np.save(tmp_path / "array.npy", array)
    frame.to_parquet(tmp_path / "frame.parquet")
    files = {"array": Upload(tmp_path / "array.npy"), "frame": Upload(tmp_path / "frame.parquet")}
    assert client.redispatch(ids["arrays"], files, wait=30).wait().result() == found
    lists = client.redispatch(ids["arrays"], {"array": [[1, 2]], "frame": {"y": [3.5]}}, wait=30).wait()
    assert lists.result() == ["int64", [1, 2], "DataFrame", ["y"], [3.5]]


@pytest.mark.parametrize(
    "faults", [["after"], ["after", "after", "after"], ["before", "503", "after"], ["502", "after"]]
)
def test_a_redispatch_whose_answer_got_lost_runs_once(served: Served, ids: Ids, proxy: Proxy, faults: Faults) -> None:
    power = 100 + len("".join(faults))  # another input each time, so that there is something to run
    before = children(served.client(), ids["flow"])
    gateway = proxy(served.url, list(faults))
    started = Client(gateway.url, served.token).redispatch(ids["flow"], {"power": power})
    assert started.wait().status == "COMPLETED"
    assert served.ran() == ["total"]
    posts = [request for request in gateway.requests if request.method == "POST"]
    assert len(posts) == len(faults) + 1
    assert set(children(served.client(), ids["flow"])) - set(before) == {started.id}


def test_everything_works_over_a_line_that_loses_every_other_answer(served: Served, ids: Ids, proxy: Proxy) -> None:
    gateway = proxy(served.url, ["after", "", "before", "", "503", ""] * 20)
    client = Client(gateway.url, served.token)
    started = client.redispatch(ids["flow"], {"power": 31.0, "name": "x"})
    assert started.wait().result()["name"] == "x"
    assert [event.kind for event in started.events()].count("node") == 3
    assert client.result(started.id, "load") == [0, 1, 2, 3]
    assert served.ran() == ["total"]


def test_it_runs_once_though_the_server_is_killed_and_started_again_in_between(tmp_path: Path, proxy: Proxy) -> None:
    ids = run_flow(tmp_path)
    servers = [Served(tmp_path, "--executor", "thread")]
    first = servers[0]
    gateway = proxy(first.url, [])
    answer = gateway.answer

    def lost(request: Any) -> Any:
        answer(request)  # it has been taken, and the answer goes down with the server
        first.client().dispatch("@last").wait()
        first.stop(signal.SIGKILL)
        servers.append(Served(tmp_path, "--executor", "thread"))
        gateway.answer = proxy(servers[1].url, []).answer
        return None

    gateway.answer = lost
    try:
        started = Client(gateway.url, first.token).redispatch(ids["flow"], {"power": 2})
        assert started.wait().result()["total"] == 14.0
        assert first.ran() == ["total"]
        assert children(servers[1].client(), ids["flow"]) == [started.id]
    finally:
        for each in servers:
            each.stop()


def test_it_can_be_awaited(served: Served, ids: Ids) -> None:
    async def story() -> list[Any]:
        async with AsyncClient(served.url, served.token) as client:
            many = [client.redispatch(ids["flow"], {"power": float(p)}) for p in range(41, 51)]
            started = await asyncio.gather(*many)
            done = await asyncio.gather(*(one.wait() for one in started))
            kinds = [event.kind async for event in done[0].events()]
            assert (kinds[0], kinds[-1]) == ("planned", "finished")
            return await asyncio.gather(*(one.result() for one in done))

    totals = [found["total"] for found in asyncio.run(story())]
    assert totals == [float(sum(v**p for v in range(4))) for p in range(41, 51)]
    assert served.ran() == ["total"] * 10


def test_a_server_on_this_machine_lets_its_user_in_without_a_word(
    served: Served, ids: Ids, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAS_RUN_CONFIG", str(served.folder / "config" / "config.ini"))
    monkeypatch.setenv("CAS_RUN_SERVER", served.url)
    assert Client().redispatch(ids["other"], wait=30).result() == 4.0
    reader = cas_run_in(served.folder, "token", "new", "--scope", "read", "--name", "reader").strip()
    assert Client(token=reader).result(ids["other"]) == 4.0
    with pytest.raises(NotAllowed, match="run"):
        Client(token=reader).redispatch(ids["other"])
