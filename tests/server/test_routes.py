"""Whoever has an id and a token redispatches a workflow, watches it, and has its result, with none of its packages."""

from __future__ import annotations

import io
import json
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.xdist_group("server")


def test_new_inputs_run_what_hangs_on_them(served: Any, ids: dict[str, str]) -> None:
    answer = served.redispatch(ids["flow"], inputs={"C": 3})
    assert answer.status == 200
    told = answer.json
    assert answer.headers["location"] == told["location"] == f"/api/v1/dispatches/{told['dispatch_id']}"
    assert told["parent"] == ids["flow"]
    assert told["status"] == "COMPLETED"
    assert told["result"] == {"type": "float", "preview": "135.0", "value": 135.0}
    nodes = served.get(told["location"]).json["nodes"]
    assert {node["label"]: node["status"] for node in nodes}["load"] == "hit"
    assert {node["label"]: node["status"] for node in nodes}["scale"] == "ran"


def test_work_that_takes_longer_is_answered_at_once_and_waited_for_elsewhere(served: Any, ids: dict[str, str]) -> None:
    answer = served.redispatch(ids["flow"], wait=0, inputs={"C": 4.5, "seconds": 0.7})
    assert answer.status == 202
    assert answer.json["status"] == "RUNNING"
    assert answer.json["result"] is None
    place = answer.json["location"]
    early = served.get(f"{place}/result")
    assert (early.status, early.kind, early.json["error"]["status"]) == (409, "NoResult", "RUNNING")
    assert served.get(f"{place}?wait=20&nodes_limit=0").json["status"] == "COMPLETED"
    assert served.get(f"{place}/result").json["value"] == 202.5


def test_what_nothing_has_changed_is_a_hit_as_a_whole(served: Any, ids: dict[str, str]) -> None:
    told = served.redispatch(ids["flow"], wait=0).json
    assert told["status"] == "COMPLETED"
    assert told["result"]["value"] == 90.0
    found = served.get(told["location"]).json
    assert (found["hits"], found["ran"]) == (4, 0)


def test_an_electron_that_the_store_knows_stands_in_by_name_or_fingerprint(served: Any, ids: dict[str, str]) -> None:
    by_name = served.redispatch(ids["flow"], replace_electrons={"total": "biggest"}).json
    assert by_name["result"]["value"] == 18.0
    (known,) = served.get("/api/v1/electrons?name=biggest").json["electrons"]
    by_fingerprint = served.redispatch(ids["flow"], replace_electrons={"total": known["fingerprint"][:12]}).json
    assert by_fingerprint["result"]["value"] == 18.0
    assert served.get(by_fingerprint["location"]).json["replaced"] == {"total": "biggest"}
    assert served.get(by_fingerprint["location"]).json["ran"] == 0


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"inputs": {"C": "x"}}, ["inputs.C"]),
        ({"inputs": {"C": None}}, ["inputs.C"]),
        ({"inputs": {"C": True}}, ["inputs.C"]),
        ({"inputs": {"D": 1, "n": 1.5}}, ["inputs.D", "inputs.n"]),
        ({"inputs": [1]}, ["inputs"]),
        ({"input": {}}, ["input"]),
        ({"recompute": "everything"}, ["recompute"]),
        ({"recompute": ["nothing"]}, ["recompute"]),
        ({"recompute": 1}, ["recompute"]),
        ({"reuse_previous_results": "no"}, ["reuse_previous_results"]),
        ({"replace_electrons": {"totl": "biggest"}}, ["replace_electrons.totl"]),
        ({"replace_electrons": {"total": "bigest"}}, ["replace_electrons.total"]),
        ({"replace_electrons": {"total": 1}}, ["replace_electrons.total"]),
        ({"replace_electrons": {"total": "scale"}}, ["replace_electrons.total"]),
        ({"inputs": {"C": {"$blob": "0" * 32}}}, ["inputs.C"]),
        ({"idempotency_key": ""}, ["idempotency_key"]),
    ],
)
def test_what_is_wrong_is_told_by_its_field_before_anything_runs(
    served: Any, ids: dict[str, str], body: Any, fields: list[str]
) -> None:
    before = served.get("/api/v1/dispatches?limit=1").json["dispatches"][0]["dispatch_id"]
    answer = served.post(f"/api/v1/dispatches/{ids['flow']}/redispatch", body)
    assert answer.status == 422, answer
    assert answer.fields == fields
    assert served.get("/api/v1/dispatches?limit=1").json["dispatches"][0]["dispatch_id"] == before


def test_nearest_names_are_told(served: Any, ids: dict[str, str]) -> None:
    error = served.redispatch(ids["flow"], replace_electrons={"total": "bigest"}).json["error"]
    assert "biggest" in json.dumps(error)


def test_a_lattice_that_fails_with_the_inputs_is_told_with_its_traceback(served: Any, ids: dict[str, str]) -> None:
    answer = served.redispatch(ids["deadly"], inputs={"C": 1000})
    assert (answer.status, answer.kind) == (422, "LatticeFailed")
    assert "C is too large" in answer.json["error"]["message"]


def test_the_same_key_gives_the_same_dispatch_and_another_request_is_refused(served: Any, ids: dict[str, str]) -> None:
    first = served.redispatch(ids["drawing"], recompute="all", idempotency_key="k1").json
    again = served.redispatch(ids["drawing"], recompute="all", idempotency_key="k1").json
    assert again["dispatch_id"] == first["dispatch_id"]
    assert again["result"] == first["result"]
    other = served.redispatch(ids["drawing"], recompute="stochastic", idempotency_key="k1")
    assert (other.status, other.kind) == (409, "KeyReused")
    assert served.redispatch(ids["drawing"], recompute="all").json["result"] != first["result"]


def test_requests_with_one_key_at_the_same_time_make_one_dispatch(served: Any, ids: dict[str, str]) -> None:
    found: list[str] = []

    def ask() -> None:
        found.append(served.redispatch(ids["drawing"], recompute="all", idempotency_key="k2").json["dispatch_id"])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_redispatches_with_inputs_of_their_own_share_what_those_do_not_reach(served: Any, ids: dict[str, str]) -> None:
    with ThreadPoolExecutor(16) as clients:
        inputs = [{"C": 100 + number / 8, "n": 77} for number in range(40)]
        told = [one.json for one in clients.map(lambda each: served.redispatch(ids["flow"], inputs=each), inputs)]
    assert {one["status"] for one in told} == {"COMPLETED"}
    assert [one["result"]["value"] for one in told] == [each["C"] * 77 * 76 / 2 for each in inputs]
    nodes = [node for one in told for node in served.get(one["location"]).json["nodes"]]
    ran = Counter(node["electron"] for node in nodes if node["status"] == "ran")
    assert ran == {"load": 1, "scale": 40, "total": 40, "wait": 40}


def test_a_plan_says_what_would_run_and_runs_nothing(served: Any, ids: dict[str, str]) -> None:
    plan = served.post(f"/api/v1/dispatches/{ids['flow']}/plan", {"inputs": {"C": 7.5}}).json
    assert (plan["hits"], plan["misses"]) == (1, 3)
    assert [node["decision"] for node in plan["nodes"]] == ["hit", "miss", "miss", "miss"]


def test_what_runs_can_be_cancelled(served: Any, ids: dict[str, str]) -> None:
    place = served.redispatch(ids["flow"], wait=0, inputs={"C": 5.5, "seconds": 30}).json["location"]
    time.sleep(0.3)
    began = time.monotonic()
    told = served.post(f"{place}/cancel").json
    assert told["cancelled"] is True
    assert served.get(f"{place}?wait=20").json["status"] == "CANCELLED"
    assert time.monotonic() - began < 10
    assert served.post(f"{place}/cancel", {}).json == {**told, "cancelled": False, "status": "CANCELLED"}


def test_events_come_node_by_node_and_end_with_the_dispatch(served: Any, ids: dict[str, str]) -> None:
    told = served.redispatch(ids["flow"], wait=0, inputs={"C": 6.5, "seconds": 0.5}).json
    live = served.events(told["dispatch_id"])
    assert live[0][1] == "planned"
    settled = [data for _, name, data in live if name == "node"]
    assert {node["label"]: node["status"] for node in settled} == {
        "load": "hit", "scale": "ran", "total": "ran", "wait": "ran"
    }  # fmt: skip
    assert "wait" in [data["label"] for _, name, data in live if name == "started"]
    assert live[-1][1:] == ("finished", {"dispatch_id": told["dispatch_id"], "status": "COMPLETED", "error": None})
    # From where it was left; and from the beginning for an id of another time.
    rest = served.events(told["dispatch_id"], **{"Last-Event-ID": live[2][0]})
    assert rest == live[3:]
    assert len(served.events(told["dispatch_id"], **{"Last-Event-ID": "ffff.2"})) == len(live)


def test_events_of_what_is_over_or_runs_elsewhere_come_all_the_same(
    served: Any, ids: dict[str, str], cas_run: list[str]
) -> None:
    over = served.events(ids["flow"])
    assert [name for _, name, _ in over] == ["planned", *["node"] * 4, "finished"]
    assert served.events(ids["flow"], **{"Last-Event-ID": over[3][0]}) == over[4:]
    command = [*cas_run, "redispatch", ids["flow"], "-q", "-p", "C=8.25", "-p", "seconds=1.5"]
    with subprocess.Popen(command, env=served.environment, stdout=subprocess.PIPE, text=True) as elsewhere:
        deadline = time.monotonic() + 20
        rows: list[Any] = []
        while not rows:
            assert time.monotonic() < deadline
            running = served.get("/api/v1/dispatches?status=running&lattice=flow").json["dispatches"]
            rows = [one for one in running if one["inputs"]["C"] == "8.25"]
        seen = served.events(rows[0]["dispatch_id"])
        assert elsewhere.stdout is not None
        assert elsewhere.stdout.read().strip() == rows[0]["dispatch_id"]
    assert sorted(data["label"] for _, name, data in seen if name == "node") == ["load", "scale", "total", "wait"]
    assert seen[-1][1] == "finished"


def test_a_list_comes_in_pages(served: Any, ids: dict[str, str]) -> None:
    everything = served.get("/api/v1/dispatches?limit=500").json["dispatches"]
    assert set(ids.values()) <= {one["dispatch_id"] for one in everything}
    found, cursor = [], ""
    while True:
        page = served.get(f"/api/v1/dispatches?limit=3{cursor}").json
        found += page["dispatches"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert [one["dispatch_id"] for one in found] == [one["dispatch_id"] for one in everything]
    only = served.get("/api/v1/dispatches?lattice=other&status=completed").json["dispatches"]
    assert {one["lattice"] for one in only} == {"other"}


def test_nodes_come_in_pages_with_whose_results_they_take(served: Any, ids: dict[str, str]) -> None:
    first = served.get(f"/api/v1/dispatches/{ids['flow'][:10].upper()}?nodes_limit=3").json
    assert first["dispatch_id"] == ids["flow"]
    assert [node["parents"] for node in first["nodes"]] == [[], [0], [1]]
    assert (first["node_count"], first["nodes_next"]) == (4, 3)
    rest = served.get(f"/api/v1/dispatches/{ids['flow']}?nodes_from=3").json
    assert [node["label"] for node in rest["nodes"]] == ["wait"]
    assert rest["nodes_next"] is None


def test_results_are_json_where_they_are_that_and_else_told_of(served: Any, ids: dict[str, str]) -> None:
    def result(of: str, more: str = "") -> Any:
        return served.get(f"/api/v1/dispatches/{ids[of]}/result{more}").json

    assert result("flow")["value"] == 90.0
    assert result("flow", "?node=load")["value"] == list(range(10))
    assert result("pair")["value"] == {"xs": [0, 1, 2], "total": 3}
    assert result("pair")["download"] is None
    large = result("large")
    assert "value" not in large
    assert (large["type"], large["shape"]) == ("numpy.ndarray", [1000, 3])
    stored = served.get(large["download"])
    assert stored.headers["content-type"] == "application/vnd.cas-run.blob"
    assert len(stored.raw) > 24_000


def test_a_large_list_is_json_too(served: Any, ids: dict[str, str]) -> None:
    told = served.redispatch(ids["pair"], inputs={"n": 20_000}).json
    found = served.get(f"{told['location']}/result?node={quote('load#0')}").json
    assert len(found["value"]) == 20_000
    assert len(told["result"]["value"]["xs"]) == 20_000


def test_inputs_of_lattices_are_told_as_json_schema(served: Any) -> None:
    lattices = {one["name"]: one for one in served.get("/api/v1/lattices").json["lattices"]}
    assert {"flow", "other", "shapes"} <= lattices.keys()
    told = served.get(lattices["flow"]["inputs"]).json
    assert told["lattice"] == "flow"
    assert told["schema"]["required"] == ["C"]
    assert told["schema"]["properties"]["n"]["type"] == "integer"
    assert told["schema"]["properties"]["n"]["default"] == 10
    kind = served.get(lattices["shapes"]["inputs"]).json["schema"]["properties"]["kind"]
    assert kind["enum"] == ["a", "b"]
    missing = served.get("/api/v1/lattices/flo/inputs")
    assert missing.status == 404
    assert "flow" in missing.json["error"]["advice"]


def test_arrays_and_frames_come_as_nested_lists_or_as_uploads(served: Any, ids: dict[str, str], tmp_path: Path) -> None:
    def shapes(**inputs: Any) -> Any:
        answer = served.redispatch(ids["shapes"], inputs=inputs)
        return answer.json["result"]["value"] if answer.status == 200 else answer

    def upload(raw: bytes, media_type: str) -> dict[str, str]:
        answer = served.post("/api/v1/blobs", raw, headers={"Content-Type": media_type})
        assert answer.status == 201, answer
        return {"$blob": answer.json["id"]}

    plain = shapes(array=[[1.5, 2], [3, 4]], frame={"a": [1, 2], "b": ["x", "y"]}, kind="b", words=["w"])
    assert plain == {
        "array": ["float64", [2, 2]], "frame": ["pandas", "DataFrame", ["a", "b"], 2], "kind": "b", "words": ["w"]
    }  # fmt: skip
    assert shapes(frame=[{"p": 1}, {"p": 2}, {"p": 3}])["frame"][2:] == [["p"], 3]
    file = io.BytesIO()
    np.save(file, np.ones((4, 5), np.float32))
    assert shapes(array=upload(file.getvalue(), "application/x-npy"))["array"] == ["float32", [4, 5]]
    frame = pd.DataFrame({"u": range(7)})
    frame.to_parquet(tmp_path / "frame")
    parquet = upload((tmp_path / "frame").read_bytes(), "application/vnd.apache.parquet")
    assert shapes(frame=parquet)["frame"] == ["pandas", "DataFrame", ["u"], 7]
    frame.to_feather(tmp_path / "arrow", compression="uncompressed")
    arrow = upload((tmp_path / "arrow").read_bytes(), "application/vnd.apache.arrow.file")
    assert shapes(frame=arrow)["frame"] == ["pandas", "DataFrame", ["u"], 7]

    unknown = shapes(array={"$blob": "0" * 32}, words=[{"$blob": "1" * 32}])
    assert (unknown.status, unknown.kind, unknown.fields) == (422, "UnknownUpload", ["inputs.array", "inputs.words"])

    objects = io.BytesIO()
    np.save(objects, np.array([{}], object), allow_pickle=True)
    wrong: dict[str, Any]
    for wrong in (
        {"array": upload(objects.getvalue(), "application/x-npy")},
        {"array": upload(b"no array", "application/x-npy")},
        {"frame": upload(b"no frame", "application/vnd.apache.parquet")},
        {"array": [[1], [2, 3]]},
        {"array": [{}]},
        {"frame": 1},
        {"kind": "c"},
        {"words": [1]},
    ):
        answer = shapes(**wrong)
        assert answer.status == 422, (wrong, answer)
        assert answer.fields[0].startswith(f"inputs.{next(iter(wrong))}")


def test_it_is_well_and_counts(served: Any) -> None:
    assert served.get("/healthz").json["status"] == "ok"
    text = served.get("/metrics").raw.decode()
    assert 'cas_run_http_requests_total{operation="health",status="200"}' in text
    for line in text.splitlines():
        assert line.startswith("#") or len(line.rsplit(" ", 1)) == 2


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/dispatches/ffffffffffffffffffffffffffffffff", 404),
        ("/api/v1/dispatches/..%2f..%2fetc%2fpasswd", 404),
        ("/api/v1/dispatches/FLOW/result", 404),
        ("/api/v1/dispatches?limit=0", 400),
        ("/api/v1/dispatches?limit=501", 400),
        ("/api/v1/dispatches?limit=1e9", 400),
        ("/api/v1/dispatches?cursor=x", 400),
        ("/api/v1/dispatches?status=gone", 400),
        ("/api/v1/dispatches?lattice=%00%ff", 200),
        ("/api/v1/dispatches?limt=3", 400),
        ("/api/v1/dispatches/FLOW?wait=NaN", 400),
        ("/api/v1/dispatches/FLOW?wait=Infinity", 400),
        ("/api/v1/dispatches/FLOW/logs?since=NaN", 400),
        ("/api/v1/lattices/%ed%a0%80/inputs", 404),
        ("/nothing", 404),
    ],
)
def test_what_is_not_there_or_no_such_thing_is_told(served: Any, path: str, status: int) -> None:
    answer = served.get(path)
    assert answer.status == status, answer
    assert status == 200 or answer.json["error"]["message"]
