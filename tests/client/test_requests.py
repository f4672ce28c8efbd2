"""What is sent, sent again, and made of the answers: a client on a network where anything may get lost."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.client.conftest import DROPPED, Request, Said, Script

from cas_run import client as client_module
from cas_run.client import (
    Busy,
    Client,
    ClientError,
    DispatchFailed,
    NotAllowed,
    NotFound,
    NotJson,
    Refused,
    ServerFault,
    StillRunning,
    Unreachable,
)

ID = "9f3a" * 8
NEW = "07bc" * 8
STARTED = Said(202, {"dispatch_id": NEW, "lattice": "svm", "parent": ID, "status": "RUNNING", "result": None})


def error(code: int, kind: str, message: str = "no", **more: Any) -> Said:
    return Said(code, {"error": {"kind": kind, "message": message, "advice": None, "exit_status": 2, **more}})


def test_a_redispatch_is_one_request_with_a_key_of_its_own(script: Script) -> None:
    server = script(STARTED)
    client = Client(server.url, "secret")
    started = client.redispatch(ID, {"C": 1.5}, replace_electrons={"score": "recall"}, recompute=["train"])
    client.redispatch(ID)
    (first, second) = server.requests
    assert (started.id, str(started), started.status, started.is_over) == (NEW, NEW, "RUNNING", False)
    assert first.path == f"/api/v1/dispatches/{ID}/redispatch"
    assert first.headers["Authorization"] == "Bearer secret"
    assert first.headers["Content-Type"] == second.headers["Content-Type"] == "application/json"
    key = first.json.pop("idempotency_key")
    assert len(key) == 32
    assert first.json == {
        "inputs": {"C": 1.5},
        "replace_electrons": {"score": "recall"},
        "recompute": ["train"],
        "idempotency_key": key,
    }
    assert set(second.json) == {"idempotency_key"}
    assert second.json["idempotency_key"] != key
    assert server.connections == 1  # it is kept


@pytest.mark.parametrize("fault", [DROPPED, Said(503), Said(429), Said(502), Said(504), Said(200, {"a": 1}, cut=3)])
def test_what_got_lost_is_sent_again_with_the_same_key(script: Script, fault: Said | None) -> None:
    server = script(fault, fault, STARTED)
    assert Client(server.url).redispatch(ID).id == NEW
    bodies = {request.body for request in server.requests}
    assert len(server.requests) == 3
    assert len(bodies) == 1


def test_a_key_of_the_callers_is_the_one_that_is_sent(script: Script) -> None:
    server = script(STARTED)
    Client(server.url).redispatch(ID, idempotency_key="order-4711")
    assert server.requests[0].json == {"idempotency_key": "order-4711"}


def test_retries_come_to_an_end(script: Script) -> None:
    busy, gone = script(Said(503, b"later", {"Retry-After": "0"})), script(DROPPED)
    with pytest.raises(Busy) as caught:
        Client(busy.url, retries=2).redispatch(ID)
    assert caught.value.status == 503
    assert len(busy.requests) == 3
    with pytest.raises(Unreachable, match="can't be reached"):
        Client(gone.url, retries=1).lattices()
    assert len(gone.requests) == 2
    with pytest.raises(Unreachable):
        Client("http://127.0.0.1:9", retries=0).lattices()


def test_the_server_says_how_long_to_wait(script: Script) -> None:
    from time import monotonic

    server = script(Said(429, {}, {"Retry-After": "1"}), STARTED)
    began = monotonic()
    Client(server.url).redispatch(ID)
    assert monotonic() - began >= 1  # PAUSE_S is a thousandth of that here


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 422, 500])
def test_what_the_server_means_is_not_sent_again(script: Script, status: int) -> None:
    server = script(error(status, "Anything"))
    with pytest.raises(ClientError) as caught:
        Client(server.url).redispatch(ID)
    assert (caught.value.status, caught.value.kind) == (status, "Anything")
    assert len(server.requests) == 1


def test_a_connection_that_was_closed_meanwhile_costs_no_retry(script: Script) -> None:
    server = script(Said(200, {"lattices": []}, close=True))
    client = Client(server.url, retries=0)
    for _ in range(3):
        client.lattices()
    assert server.connections == 3


def test_errors_say_which_field_and_what_to_do(script: Script) -> None:
    fields = [{"name": "inputs.C", "message": "`abc` is not a number"}]
    server = script(error(422, "InputError", "input `C: float`: `abc` is not a number", advice="C=1.5", fields=fields))
    with pytest.raises(Refused) as caught:
        Client(server.url).redispatch(ID, {"C": "abc"})
    found = caught.value
    assert (found.field, found.fields) == ("inputs.C", (("inputs.C", "`abc` is not a number"),))
    assert str(found) == "input `C: float`: `abc` is not a number\n  -> C=1.5"
    again = pickle.loads(pickle.dumps(found))
    assert (type(again), str(again), again.status, again.fields) == (Refused, str(found), 422, found.fields)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (error(404, "UnknownDispatch"), NotFound),
        (error(401, "NoToken"), NotAllowed),
        (error(403, "NoScope"), NotAllowed),
        (error(500, "InternalError"), ServerFault),
        (error(409, "KeyReused"), Refused),
        (error(409, "NoResult", status="FAILED"), DispatchFailed),
        (error(409, "NoResult", status="RUNNING"), StillRunning),
        (Said(200, b"<html>hello</html>"), ServerFault),
        (Said(200, b"[]"), ServerFault),
        (Said(302, b"", {"Location": "https://elsewhere.example.org"}), ServerFault),
        (Said(404, b"<html>no such page</html>"), NotFound),
    ],
)
def test_each_ending_has_a_class(script: Script, said: Said, kind: type[ClientError]) -> None:
    with pytest.raises(kind) as caught:
        Client(script(said).url, "secret").result(ID)
    assert type(caught.value) is kind


def test_a_redirect_does_not_carry_the_token_away(script: Script) -> None:
    elsewhere = script(Said())
    server = script(Said(307, {}, {"Location": elsewhere.url}))
    with pytest.raises(ServerFault, match="redirects are not followed"):
        Client(server.url, "secret").lattices()
    assert elsewhere.requests == []


# --- tokens ---


def test_the_token_is_the_one_given_else_of_the_environment_else_of_this_machine(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = script(Said(200, {"lattices": []}))
    folder = tmp_path / "config" / "cas-run"

    def sent(token: str | None = None, url: str = "") -> str | None:
        Client(url or server.url, token).lattices()
        found: str | None = server.requests[-1].headers.get("Authorization")
        return found

    assert sent() is None
    folder.mkdir(parents=True)
    (folder / "tokens.local").write_text("of-this-machine\n")
    assert sent() == "Bearer of-this-machine"
    monkeypatch.setenv("CAS_RUN_TOKEN", "of-the-environment\n")
    assert sent() == "Bearer of-the-environment"
    assert sent("given") == "Bearer given"
    monkeypatch.delenv("CAS_RUN_TOKEN")
    monkeypatch.setenv("CAS_RUN_CONFIG", str(tmp_path / "other" / "config.ini"))
    assert sent() is None


@pytest.mark.parametrize(
    "host", ["127.evil.example.org", "localhost.example.org", "10.0.0.1", "[::2]", "0.0.0.0", "127.0.0.1.nip.io"]
)
def test_the_token_of_this_machine_goes_nowhere_else(host: str, tmp_path: Path) -> None:
    (tmp_path / "config" / "cas-run").mkdir(parents=True)
    (tmp_path / "config" / "cas-run" / "tokens.local").write_text("of-this-machine")
    assert Client(f"http://{host}:8227")._server.token == ""


@pytest.mark.parametrize("token", ["a b", "a\r\nX-Evil: 1", "é"])
def test_what_can_be_no_token_is_refused_before_it_is_sent(token: str) -> None:
    with pytest.raises(Refused, match="characters"):
        Client("http://localhost:1", token)


@pytest.mark.parametrize(
    "url", ["", "ftp://a", "http://", "http://a:b@c", "http://a?b=c", "http://a:99999", "file:///etc/passwd"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        Client(url)


def test_an_address_may_have_a_folder_and_lack_its_scheme(script: Script) -> None:
    server = script(Said(200, {"lattices": []}))
    Client(server.url + "/runs/").lattices()
    Client(server.url.partition("://")[2]).lattices()
    assert server.paths() == ["GET /runs/api/v1/lattices", "GET /api/v1/lattices"]


def test_names_are_quoted(script: Script) -> None:
    server = script(Said(200, {"dispatch_id": ID, "value": 1, "schema": {}}))
    client = Client(server.url)
    client.result("../../../etc", "train#0")
    client.inputs("a/b c")
    assert server.paths() == [
        "GET /api/v1/dispatches/..%2F..%2F..%2Fetc/result?node=train%230",
        "GET /api/v1/lattices/a%2Fb%20c/inputs",
    ]


def test_plain_http_goes_through_the_proxy_of_the_environment(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = script(Said(200, {"lattices": []}))
    monkeypatch.setenv("http_proxy", proxy.url.replace("://", "://me:pass%20word@"))
    Client("http://runs.example.org:8000", "secret").lattices()
    (request,) = proxy.requests
    assert request.path == "http://runs.example.org:8000/api/v1/lattices"
    assert request.headers["Host"] == "runs.example.org:8000"
    assert request.headers["Proxy-Authorization"] == "Basic bWU6cGFzcyB3b3Jk"
    here = script(Said(200, {"lattices": []}))
    Client(here.url).lattices()  # a token of this machine is for no proxy
    assert (len(proxy.requests), len(here.requests)) == (1, 1)
    monkeypatch.setenv("no_proxy", "example.org")
    with pytest.raises(Unreachable):
        Client("http://nowhere.example.org", retries=0).lattices()
    assert len(proxy.requests) == 1


# --- waiting and results ---


def test_waiting_asks_until_it_is_over_and_the_result_comes_with_it(script: Script) -> None:
    def answer(request: Request) -> Said:
        if request.method == "POST":
            return STARTED
        if "/result" in request.path:
            return Said(200, {"dispatch_id": NEW, "type": "float", "preview": "0.97", "value": 0.97})
        asked = sum(path.startswith("GET") for path in server.paths())
        return Said(200, {"dispatch_id": NEW, "status": "COMPLETED" if asked == 3 else "RUNNING", "nodes": []})

    server = script(answer)
    assert Client(server.url).redispatch(ID, inputs={"C": 1.5}).wait().result() == 0.97
    assert server.paths()[1:] == [
        *[f"GET /api/v1/dispatches/{NEW}?nodes_limit=0&wait=25"] * 3,
        f"GET /api/v1/dispatches/{NEW}/result",
    ]


def test_waiting_has_an_end(script: Script) -> None:
    server = script(Said(200, {"dispatch_id": NEW, "status": "RUNNING"}))
    dispatch = Client(server.url).dispatch(NEW)
    with pytest.raises(TimeoutError, match=r"was not over after 0\.05 s"):
        dispatch.wait(0.05)
    with pytest.raises(StillRunning):
        dispatch.wait(0)


def test_short_work_is_one_request(script: Script) -> None:
    done = {"dispatch_id": NEW, "status": "COMPLETED", "result": {"type": "int", "preview": "7", "value": 7}}
    server = script(Said(200, done))
    assert Client(server.url).redispatch(ID, wait=30).wait().result() == 7
    assert server.paths() == [f"POST /api/v1/dispatches/{ID}/redispatch?wait=30"]


def test_a_result_that_json_does_not_hold_says_what_it_is(script: Script) -> None:
    server = script(Said(200, {"dispatch_id": NEW, "type": "sklearn.svm.SVC", "preview": "SVC(C=1.5)"}))
    with pytest.raises(NotJson, match=r"sklearn\.svm\.SVC") as caught:
        Client(server.url).result(NEW)
    assert (caught.value.type, caught.value.preview) == ("sklearn.svm.SVC", "SVC(C=1.5)")


def test_bytes_go_to_a_file_whole_or_not_at_all(script: Script, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    server = script(Said(200, content, cut=200_000), Said(200, content))
    file = tmp_path / "result"
    Client(server.url).download(NEW, "train", to=str(file))
    assert file.read_bytes() == content
    assert len(server.requests) == 2
    assert Client(server.url).download(NEW) == content


def test_pages_of_dispatches_and_nodes_are_put_together(script: Script) -> None:
    def answer(request: Request) -> Said:
        if "nodes_from=2" in request.path:
            return Said(200, {"dispatch_id": ID, "nodes": [{"index": 2}], "nodes_next": None})
        if "nodes_limit" in request.path:
            return Said(200, {"dispatch_id": ID, "nodes": [{"index": 0}, {"index": 1}], "nodes_next": 2})
        if "cursor=x" in request.path:
            return Said(200, {"dispatches": [], "next_cursor": "y"})
        if "cursor=y" in request.path:
            return Said(200, {"dispatches": [{"dispatch_id": "2"}], "next_cursor": None})
        return Said(200, {"dispatches": [{"dispatch_id": "0"}, {"dispatch_id": "1"}], "next_cursor": "x"})

    server = script(answer)
    client = Client(server.url)
    assert [node["index"] for node in client.get(ID)["nodes"]] == [0, 1, 2]
    assert [one["dispatch_id"] for one in client.list(lattice="svm", limit=3)] == ["0", "1", "2"]
    assert server.paths()[2] == "GET /api/v1/dispatches?lattice=svm&limit=3"
    assert client._path("@last~2").endswith("/dispatches/2")
    with pytest.raises(NotFound, match="@last~9"):
        client.get("@last~9")


def test_threads_share_a_client(script: Script) -> None:
    server = script(STARTED)
    client = Client(server.url)
    keys: list[str] = []

    def redispatch() -> None:
        keys.extend(client.redispatch(ID).id for _ in range(20))

    threads = [threading.Thread(target=redispatch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys == [NEW] * 160
    assert len({request.json["idempotency_key"] for request in server.requests}) == 160
    assert server.connections <= 8
    client.close()


def test_waiting_outlasts_a_server_that_is_started_again(script: Script) -> None:
    running, done = ({"dispatch_id": NEW, "status": status} for status in ("RUNNING", "COMPLETED"))
    gone: list[Said | None] = [DROPPED] * 12  # twice as many as there are retries
    server = script(Said(200, running), *gone, Said(200, done))
    assert Client(server.url).dispatch(NEW).wait().status == "COMPLETED"
    forever = script(Said(200, running), DROPPED)
    with pytest.raises(Unreachable):
        Client(forever.url, patience=0).dispatch(NEW).wait()


def test_a_connection_that_lay_unused_for_long_is_not_trusted(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    server = script(Said(200, {"lattices": []}))
    client = Client(server.url)
    client.lattices()
    client.lattices()
    assert server.connections == 1
    monkeypatch.setattr(client_module, "IDLE_S", 0.0)
    client.lattices()
    assert server.connections == 2


def test_where_too_many_wait_it_is_asked_now_and_then(script: Script) -> None:
    def answer(request: Request) -> Said:
        if "wait=" in request.path:
            return Said(429, {"error": {"kind": "TooMany", "message": "too many wait"}})
        over = len(server.requests) > 10
        return Said(200, {"dispatch_id": NEW, "status": "COMPLETED" if over else "RUNNING"})

    server = script(answer)
    assert Client(server.url, patience=0.5).dispatch(NEW).wait().status == "COMPLETED"
    assert sum("wait=" in path for path in server.paths()) == 6  # once, and five retries


def test_a_wait_is_no_longer_than_the_server_takes(script: Script) -> None:
    server = script(STARTED)
    Client(server.url).redispatch(ID, wait=900)
    assert server.paths()[0].endswith("?wait=60")
