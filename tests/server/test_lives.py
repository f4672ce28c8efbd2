"""What runs is finished, handed over, or known to be interrupted and taken up by its id: however processes end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

Eventually = Callable[..., None]
pytestmark = pytest.mark.xdist_group("server")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_flow: Any) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("lives")
    return folder, make_flow(folder)


def status_of(served: Any, dispatch_id: str) -> str:
    return str(served.get(f"/api/v1/dispatches/{dispatch_id}").json["status"])


def told_here(served: Any, cas_run: list[str], dispatch_id: str) -> str:
    """The status as the command tells it, without any server."""
    done = subprocess.run(
        [*cas_run, "show", "-q", dispatch_id], env=served.environment, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()


def test_sigterm_lets_what_runs_finish(place: tuple[Path, dict[str, str]], start: Any, cas_run: list[str]) -> None:
    folder, ids = place
    served = start(folder)
    told = served.redispatch(ids["flow"], wait=0, inputs={"C": 11.0, "seconds": 1.5}).json
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(30) == 0
    assert told_here(served, cas_run, told["dispatch_id"]) == "completed"


def test_what_takes_longer_than_the_grace_goes_on_without_the_server(
    place: tuple[Path, dict[str, str]], start: Any, cas_run: list[str], eventually: Eventually
) -> None:
    folder, ids = place
    served = start(folder, "--grace", "0.2")
    told = served.redispatch(ids["flow"], wait=0, inputs={"C": 12.0, "seconds": 4.0}).json
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(30) == 0
    assert "goes on" in served.said()
    assert told_here(served, cas_run, told["dispatch_id"]) == "running"
    again = start(folder)
    found = again.get(f"/api/v1/dispatches/{told['dispatch_id']}?wait=30").json
    assert found["status"] == "COMPLETED"
    assert again.get(f"{told['location']}/result").json["value"] == 540.0


def test_a_server_that_is_killed_leaves_true_statuses_and_work_that_goes_on(
    place: tuple[Path, dict[str, str]], start: Any
) -> None:
    folder, ids = place
    served = start(folder)
    told = served.redispatch(ids["flow"], wait=0, inputs={"C": 13.0, "seconds": 1.5}, idempotency_key="killed").json
    served.process.kill()
    served.process.wait()
    again = start(folder)
    assert again.get(f"/api/v1/dispatches/{told['dispatch_id']}?wait=30").json["status"] == "COMPLETED"
    # And the key is still known.
    repeated = again.redispatch(ids["flow"], inputs={"C": 13.0, "seconds": 1.5}, idempotency_key="killed").json
    assert repeated["dispatch_id"] == told["dispatch_id"]
    refused = again.redispatch(ids["flow"], inputs={"C": 14.0}, idempotency_key="killed")
    assert (refused.status, refused.kind) == (409, "KeyReused")


@pytest.mark.parametrize("retried", ["while the first is prepared", "once it has begun"])
def test_a_key_is_known_from_the_moment_that_its_dispatch_exists_also_if_the_server_hears_no_more_of_it(
    place: tuple[Path, dict[str, str]], start: Any, eventually: Eventually, retried: str
) -> None:
    folder, ids = place
    served, again = start(folder), start(folder)
    once = retried.startswith("once")
    seconds = 1.5 if once else 2.5
    asked: dict[str, Any] = {"inputs": {"seconds": seconds}, "idempotency_key": retried}

    def made() -> list[str]:
        page = again.get("/api/v1/dispatches?lattice=thinking").json["dispatches"]
        return [one["dispatch_id"] for one in page if one["inputs"] == {"seconds": str(seconds)}]

    def ask() -> None:
        with suppress(OSError, HTTPException):
            served.redispatch(ids["thinking"], **asked)

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(lambda: "cas_run_coordinator_requests 1" in served.get("/metrics").raw.decode())
    time.sleep(0.2)  # the lattice is being traced by now, which takes it longer than this
    served.process.send_signal(signal.SIGSTOP)
    if once:
        eventually(made)
        served.process.kill()
    answer = again.redispatch(ids["thinking"], **asked).json
    assert answer["status"] == "COMPLETED"
    assert made() == [answer["dispatch_id"]]
    served.process.kill()
    asking.join()


def test_when_all_processes_are_killed_the_work_is_taken_up_by_its_id(
    place: tuple[Path, dict[str, str]], start: Any, eventually: Eventually
) -> None:
    folder, ids = place
    served = start(folder)
    told = served.redispatch(ids["flow"], wait=0, inputs={"C": 15.0, "seconds": 20.0}).json
    eventually(lambda: [n["status"] for n in served.get(told["location"]).json["nodes"]].count("ran") == 2)
    coordinators = served.coordinators()
    assert coordinators
    for pid in (served.process.pid, *coordinators):
        os.kill(pid, signal.SIGKILL)
    served.process.wait()
    again = start(folder)
    assert status_of(again, told["dispatch_id"]) == "INTERRUPTED"
    assert again.events(told["dispatch_id"])[-1][2]["status"] == "INTERRUPTED"
    taken_up = again.redispatch(told["dispatch_id"], inputs={"seconds": 0.0}).json
    assert taken_up["status"] == "COMPLETED"
    nodes = {n["label"]: n["status"] for n in again.get(taken_up["location"]).json["nodes"]}
    assert nodes == {"load": "hit", "scale": "hit", "total": "hit", "wait": "ran"}


def test_a_coordinator_that_dies_fails_its_request_and_is_replaced(
    place: tuple[Path, dict[str, str]], start: Any
) -> None:
    folder, ids = place
    served = start(folder)
    running = served.redispatch(ids["flow"], wait=0, inputs={"C": 16.0, "seconds": 20.0}).json
    answer = served.redispatch(ids["deadly"], inputs={"C": -1.0})
    assert (answer.status, answer.kind) == (502, "CoordinatorLost")
    # What it ran is known to be interrupted, by those who watch it too.
    assert served.get(f"{running['location']}?wait=20").json["status"] == "INTERRUPTED"
    assert served.events(running["dispatch_id"])[-1][2]["status"] == "INTERRUPTED"
    assert served.redispatch(ids["flow"], inputs={"C": 17.0}).json["status"] == "COMPLETED"
    assert "cas_run_coordinators 1" in served.get("/metrics").raw.decode()


def test_streams_end_when_the_server_does(place: tuple[Path, dict[str, str]], start: Any) -> None:
    folder, ids = place
    served = start(folder, "--grace", "0")
    told = served.redispatch(ids["flow"], wait=0, inputs={"C": 18.0, "seconds": 2.0}).json
    threading.Timer(0.5, served.process.send_signal, [signal.SIGTERM]).start()
    seen = served.events(told["dispatch_id"])
    assert seen[0][1] == "planned"
    assert seen[-1][1] != "finished"
    assert served.process.wait(20) == 0


def test_electrons_run_in_workers_unless_their_lattice_says_otherwise(served: Any, ids: dict[str, str]) -> None:
    def ran_in(lattice: str, n: int) -> int:
        pid: int = served.redispatch(ids[lattice], inputs={"n": n}).json["result"]["value"]
        return pid

    beside, apart = ran_in("beside", 10), ran_in("apart", 11)
    assert beside in served.coordinators()
    assert apart not in served.coordinators()


def test_a_store_that_cannot_be_used_is_said_so_with_when_to_ask_again(
    place: tuple[Path, dict[str, str]], start: Any
) -> None:
    folder, ids = place
    served = start(folder)
    assert served.redispatch(ids["flow"], inputs={"C": 21.0}).status == 200
    (folder / "store").rename(folder / "elsewhere")
    try:
        answer = served.redispatch(ids["flow"], inputs={"C": 22.0})
        assert (answer.status, answer.headers["retry-after"]) == (503, "5"), answer
    finally:
        (folder / "elsewhere").rename(folder / "store")
    assert served.redispatch(ids["flow"], inputs={"C": 22.0}).json["status"] == "COMPLETED"


def test_uploads_of_a_server_that_was_killed_go_when_the_next_one_has_some(
    place: tuple[Path, dict[str, str]], start: Any, tmp_path: Path
) -> None:
    folder, _ = place
    servers = [start(folder, environment={"TMPDIR": str(tmp_path)}) for _ in range(3)]

    def upload(served: Any) -> str:
        known = set(tmp_path.glob("cas-run-uploads-*"))
        assert served.post("/api/v1/blobs", b"bytes", headers={"Content-Type": "application/x-npy"}).status == 201
        (made,) = set(tmp_path.glob("cas-run-uploads-*")) - known
        os.utime(made, (0, 0))
        return made.name

    killed, alive = map(upload, servers[:2])
    servers[0].process.kill()
    servers[0].process.wait(20)
    last = upload(servers[2])
    assert {each.name for each in tmp_path.glob("cas-run-uploads-*")} == {alive, last}
    assert killed not in (alive, last)
    for served in servers[1:]:
        served.stop()
    assert not list(tmp_path.glob("cas-run-uploads-*"))
