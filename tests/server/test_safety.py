"""Nobody gets further than they may: not by address, header, method, size or shape of what they send."""

from __future__ import annotations

import hmac
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest

from cas_engine.capsules import capsule
from cas_engine.errors import UsageError
from cas_engine.fingerprint import Fingerprinter
from cas_run.server import jsonwork, limits, tokens
from cas_run.server.problems import Problem

pytestmark = pytest.mark.xdist_group("server")

LIST = "/api/v1/dispatches"


def raw(port: int, text: bytes, seconds: float = 20) -> bytes:
    """What comes back for these bytes, until the server closes the connection, or, with nothing more to come, we do."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(text)
        if b"Connection: close" not in text:
            connection.shutdown(socket.SHUT_WR)
        found = b""
        while piece := connection.recv(1 << 16):
            found += piece
        return found


def may_be_reset() -> AbstractContextManager[None]:
    """A connection that the server closes may break while we still send."""
    return suppress(OSError)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


# Who asks, and by what way ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "localhost.evil.example:1"}, 421),
        ({"Host": "127.0.0.1.nip.io"}, 421),
        ({"Host": "8.8.8.8"}, 421),
        ({"Host": "evil.example@127.0.0.1"}, 400),
        ({"Host": "127.0.0.1/evil"}, 400),
        ({"Host": ""}, 400),
        ({"Host": "localhost"}, 200),
        ({"Host": "LOCALHOST.:80"}, 200),
        ({"Host": "[::1]:8227"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
    ],
)
def test_another_host_or_origin_is_refused_for_requests_and_streams_alike(
    served: Any, ids: dict[str, str], headers: dict[str, str], status: int
) -> None:
    place = f"{LIST}/{ids['flow']}"
    assert served.get(LIST, headers=headers).status == status
    assert served.get(f"{place}/events", headers=headers).status == status
    assert served.get("/healthz", headers=headers).status == status
    assert served.post(f"{place}/plan", {}, headers=headers).status == status
    if status != 200:
        assert served.ask("HEAD", LIST, headers=headers).status == status
        assert served.ask("OPTIONS", LIST, headers=headers).status == status


def test_a_page_of_this_very_server_may_ask(served: Any) -> None:
    own = f"127.0.0.1:{served.port}"
    assert served.get(LIST, headers={"Host": own, "Origin": f"http://{own}"}).status == 200


def test_two_hosts_are_none(served: Any) -> None:
    answer = raw(served.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n")
    assert status_of(answer) == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "FROBNICATE", "get"])
def test_every_method_but_reading_takes_a_token_and_json_also_without_a_body(
    served: Any, ids: dict[str, str], method: str
) -> None:
    path = f"{LIST}/{ids['flow']}/plan"
    for body in (None, b"{}"):
        assert served.ask(method, path, body, headers={"Authorization": None}).status == 401
        assert served.ask(method, path, body, headers={"Authorization": "Bearer " + "x" * 43}).status == 401
        assert served.ask(method, path, body, headers={"Authorization": f"Basic {served.token}"}).status == 401
        for content_type in (
            None,
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
        ):
            assert served.ask(method, path, body, headers={"Content-Type": content_type}).status == 415
        assert served.ask(method, path, body).status == (200 if method == "POST" else 405)


def test_a_token_in_a_url_or_cookie_is_none(served: Any, ids: dict[str, str]) -> None:
    path = f"{LIST}/{ids['flow']}/plan"
    for scheme in ("bearer", "BEARER"):  # how the scheme is written is no matter
        assert served.post(path, {}, headers={"Authorization": f"{scheme} {served.token}"}).status == 200
    nobody = {"Authorization": None}
    assert served.post(f"{path}?token={served.token}", {}, headers=nobody).status == 401
    assert served.post(f"{path}?access_token={served.token}", {}, headers=nobody).status == 401
    assert served.post(path, {}, headers={**nobody, "Cookie": f"token={served.token}"}).status == 401


def test_scopes_say_what_a_token_may(served: Any, ids: dict[str, str]) -> None:
    file = Path(served.told["token_file"])
    made = {scope: tokens.make(file, f"of-{scope}", [scope]) for scope in tokens.SCOPES}
    path = f"{LIST}/{ids['flow']}/plan"
    capsule = {"Content-Type": "application/vnd.cas-run.capsule"}
    for scope, token in made.items():
        assert served.get(LIST, token=token).status == 200
        expected = 200 if scope in ("run", "admin") else 403
        assert served.post(path, {}, token=token).status == expected, scope
        # The server was not started with --allow-code: nobody may.
        assert served.post("/api/v1/code", b"x", headers=capsule, token=token).status == 403
    tokens.revoke(file, "of-run")
    assert served.post(path, {}, token=made["run"]).status == 401


def test_code_takes_the_scope_and_that_the_server_allows_it(served: Any, ids: dict[str, str]) -> None:
    body = {"replace_electrons": {"total": {"$capsule": "0" * 32}}}
    answer = served.post(f"{LIST}/{ids['flow']}/redispatch", body)
    assert (answer.status, answer.kind) == (403, "CodeNotAllowed")


def test_code_that_is_allowed_stands_in_for_an_electron(
    served: Any, ids: dict[str, str], tmp_path: Path, start: Any
) -> None:
    def product(xs: list[float]) -> float:
        found = 1.0
        for x in xs:
            found *= x + 1
        return found

    session = Fingerprinter()
    code = capsule.pack(product, session.of(product), session)
    media_type = {"Content-Type": "application/vnd.cas-run.capsule"}
    file = tmp_path / "tokens"
    may, may_not = tokens.make(file, "may", ["run", "code"]), tokens.make(file, "may-not", ["run"])
    only_code = tokens.make(file, "only-code", ["code"])
    allowing = start(served.folder, "--allow-code", "--token-file", str(file))
    sent = allowing.post("/api/v1/code", code, headers=media_type, token=may)
    assert sent.status == 201
    assert allowing.post("/api/v1/code", code, headers=media_type, token=may_not).status == 403
    body = {"replace_electrons": {"total": {"$capsule": sent.json["id"]}}}
    path = f"{LIST}/{ids['flow']}/redispatch?wait=30"
    refused = allowing.post(path, body, token=may_not)
    assert (refused.status, refused.kind) == (403, "CodeNotAllowed")
    assert allowing.post(path, body, token=only_code).status == 403
    answer = allowing.post(path, body, token=may)
    assert answer.status == 200, answer
    assert answer.json["result"]["value"] == 654729075.0
    # An upload is what it was sent as: an array is no code, and code no array.
    array = allowing.post("/api/v1/blobs", code, headers={"Content-Type": "application/x-npy"}, token=may).json["id"]
    swapped = {"replace_electrons": {"total": {"$capsule": array}}}
    assert allowing.post(path, swapped, token=may).kind == "UnknownUpload"
    assert allowing.post(path, {"inputs": {"C": {"$blob": sent.json["id"]}}}, token=may).kind == "UnknownUpload"


@pytest.mark.parametrize("media_type", ["application/python-pickle", "application/octet-stream", "application/json"])
def test_uploads_are_arrays_and_frames_and_never_pickles(served: Any, media_type: str) -> None:
    assert served.post("/api/v1/blobs", b"\x80\x04N.", headers={"Content-Type": media_type}).status == 415


# How much, and in what shape -----------------------------------------------------------------------------------


def test_bodies_are_counted_as_they_come(served: Any, ids: dict[str, str]) -> None:
    path = f"{LIST}/{ids['flow']}/plan"
    assert served.post(path, b" " * limits.BODY).status == 200
    assert served.post(path, b" " * (limits.BODY + 1)).status == 413
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.token}\r\n"
        "Content-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    assert status_of(raw(served.port, head.encode() + chunk * 16 + b"0\r\n\r\n")) == 200
    assert status_of(raw(served.port, head.encode() + chunk * 17 + b"0\r\n\r\n")) == 413
    lying = head.replace("Transfer-Encoding: chunked", "Content-Length: 99999999999999999999").encode()
    assert status_of(raw(served.port, lying)) in (400, 413)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b"[" * 100_000 + b"]" * 100_000,
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[{" * 300,
        b'{"inputs": {"C": ' + b"9" * 100_000 + b"}}",
        b'{"inputs": {"C": 1e' + b"9" * 10 + b"}}",
        b'{"inputs": {"C": 0.' + b"9" * 100_000 + b"}}",
        b'{"inputs": {"C": NaN}}',
        b'{"inputs": {"C": 1, "C": 2}}',
        b'{"inputs": "' + b'\\"' * 500_000,
    ],
    ids=range(12),
)
def test_json_beyond_the_limits_is_refused_and_costs_little(served: Any, ids: dict[str, str], body: bytes) -> None:
    answer = served.post(f"{LIST}/{ids['flow']}/redispatch", body)
    assert (answer.status, answer.kind) == (400, "BadRequest")
    assert served.get("/healthz").status == 200


def test_what_is_within_the_limits_is_read() -> None:
    nested = b"[" * limits.DEPTH + b"]" * limits.DEPTH
    assert jsonwork.read(nested) is not None
    with pytest.raises(Problem):
        jsonwork.read(b"[" + nested + b"]")
    brackets = json.dumps(["[" * 1000, '"[{' * 1000, "\\" * 1001])
    assert jsonwork.read(brackets.encode()) == json.loads(brackets)
    assert jsonwork.read(b"9" * limits.DIGITS) == int("9" * limits.DIGITS)


def test_urls_headers_and_pages_have_their_limits(served: Any) -> None:
    assert served.get(f"{LIST}?lattice={'x' * limits.URL}").status == 414
    assert served.get(LIST, headers={"X-Long": "x" * limits.HEADERS}).status == 431
    huge = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200_000 + b"\r\n"
    with may_be_reset():
        assert status_of(raw(served.port, huge)) in (0, 400, 431)
    assert served.get(f"{LIST}?limit={limits.MOST_PAGE + 1}").status == 400
    assert served.get("/healthz").status == 200


@pytest.mark.parametrize(
    "text",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET \xff\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\r\n" * 1000,
    ],
    ids=range(10),
)
def test_what_is_no_request_harms_nothing(served: Any, text: bytes) -> None:
    with may_be_reset():
        answer = raw(served.port, text)
        assert status_of(answer) < 500
        assert b"root:" not in answer
    assert served.get("/healthz").status == 200


def test_answers_tell_browsers_to_do_nothing_with_them(served: Any) -> None:
    for path in (LIST, "/nothing"):
        headers = served.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["content-type"] == "application/json"
        assert not [name for name in headers if name.startswith("access-control")]


# Addresses and tokens -------------------------------------------------------------------------------------------


def test_an_address_that_others_reach_takes_a_token_even_to_read(
    served: Any, tmp_path: Path, cas_run: list[str], start: Any
) -> None:
    command = [*cas_run, "serve", "--host", "0.0.0.0", "--port", "0", "--json"]
    environment = {**served.environment, "CAS_RUN_CONFIG": str(tmp_path / "config.ini")}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert json.loads(refused.stdout)["error"]["kind"] == "NotAllowed"
    assert "cas-run token new" in refused.stderr

    token = tokens.make(tmp_path / "tokens", "remote", ["run"])
    options = ("--host", "0.0.0.0", "--token-file", str(tmp_path / "tokens"), "--allow-host", "cas.example.org")
    open_to_all = start(served.folder, *options)
    assert open_to_all.get(LIST).status == 401
    assert open_to_all.get("/openapi.json").status == 401
    assert open_to_all.get("/healthz").status == 200
    assert open_to_all.get(LIST, token=token).status == 200
    assert open_to_all.get(LIST, token=token, headers={"Host": "cas.example.org"}).status == 200
    assert open_to_all.get(LIST, token=token, headers={"Host": "evil.example"}).status == 421
    assert open_to_all.get(LIST, token=token, headers={"Host": "8.8.8.8"}).status == 421


def test_a_port_that_is_taken_and_an_address_that_is_none_are_told(served: Any, cas_run: list[str]) -> None:
    for options in (["--port", str(served.port)], ["--host", "192.0.2.1"]):
        done = subprocess.run(
            [*cas_run, "serve", *options], env=served.environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2
        assert "->" in done.stderr


def test_without_the_extra_it_is_told_what_to_install(served: Any, tmp_path: Path, cas_run: list[str]) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['uvicorn'] = None\n")
    environment = {**served.environment, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([*cas_run, "serve"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "pip install 'cas-run[server]'" in done.stderr


def test_other_commands_load_nothing_of_the_server(served: Any) -> None:
    program = """
import sys
from cas_run.main import main
assert main(["list", "-q"]) == 0
assert not {"starlette", "uvicorn", "h11", "cas_run.server"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], env=served.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tokens_are_256_bits_in_a_file_of_its_owner_which_keeps_only_hashes(tmp_path: Path) -> None:
    file = tmp_path / "a" / "tokens"
    one, other = (tokens.make(file, name, ["run"]) for name in ("one", "other"))
    assert one != other
    assert len(one) >= 43 + len("cas_")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert one not in file.read_text()
    local = tokens.local_secret(file)
    assert stat.S_IMODE(tokens.local_path(file).stat().st_mode) == 0o600
    assert tokens.local_secret(file) == local
    with pytest.raises(UsageError, match="already"):
        tokens.make(file, "one", ["read"])
    for name in ("local", "", "a b", "../x", "x" * 65):
        with pytest.raises(UsageError):
            tokens.make(file, name, ["read"])


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o611])
def test_a_token_file_that_others_could_read_or_write_is_not_used(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "tokens"
    secret = tokens.make(file, "one", ["run"])
    known = tokens.Tokens(file, None)
    assert known.grant_of(secret) is not None
    file.chmod(mode)
    with pytest.raises(UsageError, match="chmod 600"):
        tokens.load(file)
    with pytest.raises(UsageError):
        tokens.Tokens(file, None)
    os.utime(file, (1, 1))  # a server that runs sees that it was touched
    assert known.grant_of(secret) is None


def test_a_token_file_is_no_link_to_somewhere_else(tmp_path: Path) -> None:
    tokens.make(tmp_path / "real", "one", ["run"])
    (tmp_path / "tokens").symlink_to(tmp_path / "real")
    with pytest.raises(UsageError):
        tokens.load(tmp_path / "tokens")


def test_tokens_that_are_made_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "config" / "tokens"
    made: dict[str, str] = {}

    def make(name: str) -> None:
        made[name] = tokens.make(file, name, ["run"])
        made[f"local of {name}"] = tokens.local_secret(file)

    threads = [threading.Thread(target=make, args=[f"t{number}"]) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known = tokens.Tokens(file, tokens.local_secret(file))
    assert len(made) == 24
    assert all(known.grant_of(secret) is not None for secret in made.values())


def test_a_token_is_compared_with_all_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tokens"
    secrets = [tokens.make(file, f"t{i}", ["run"]) for i in range(5)]
    known = tokens.Tokens(file, "local")
    compared: list[bytes] = []
    real = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    for secret, grant in [(secrets[0], "t0"), (secrets[4], "t4"), ("nothing", None)]:
        compared.clear()
        found = known.grant_of(secret)
        assert (found.name if found else None) == grant
        assert len(compared) == 6


def test_the_command_makes_lists_and_revokes_tokens(tmp_path: Path, cas_run: list[str]) -> None:
    def token(*words: str, status: int = 0) -> Any:
        command = [*cas_run, "token", *words, "--token-file", str(tmp_path / "tokens"), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == status, done.stderr
        return json.loads(done.stdout)

    made = token("new", "--scope", "run", "--scope", "read", "--name", "lambda")
    assert made["token"].startswith("cas_")
    (row,) = token("list")["tokens"]
    assert (row["name"], row["scopes"]) == ("lambda", ["run", "read"])
    assert made["token"] not in json.dumps(row)
    assert token("new", "--name", "x", status=2)["error"]["kind"] == "UsageError"
    assert token("revoke", "lambda") == {"revoked": "lambda"}
    assert token("list")["tokens"] == []
    assert token("revoke", "lambda", status=2)["error"]["kind"] == "TokenError"
