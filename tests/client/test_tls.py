"""Over TLS the server is who it says, or nothing is sent; also through a proxy."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.client.conftest import Said, Script, Scripted

from cas_run.client import Client, Unreachable

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """That of runs.example.org, which nobody has signed, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=runs"
    names = ["-addext", "subjectAltName=DNS:runs.example.org,DNS:localhost"]
    subprocess.run([*command.split(), *names, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


@pytest.fixture
def server(script: Script, certificate: tuple[Path, Path]) -> Scripted:
    made = script(Said(200, {"lattices": [{"name": "svm"}]}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    made.wrap(context)
    return made


def test_a_server_that_is_trusted_is_asked(server: Scripted, certificate: tuple[Path, Path]) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    client = Client(f"https://localhost:{server.port}", "secret", context=trusting)
    assert [client.lattices(), client.lattices()] == [[{"name": "svm"}]] * 2
    assert server.connections == 1
    with pytest.raises(Unreachable, match="not trusted"):
        Client(f"https://127.0.0.1:{server.port}", "secret", context=trusting).lattices()


def test_one_that_is_not_trusted_is_told_nothing(server: Scripted) -> None:
    with pytest.raises(Unreachable, match="not trusted"):
        Client(f"https://localhost:{server.port}", "secret").lattices()
    assert server.requests == []
    assert server.connections == 1  # and no second try


@pytest.fixture
def tunnel(server: Scripted) -> Iterator[tuple[str, list[str]]]:
    """A proxy that takes CONNECT, wherever to, and what it was asked."""
    listening = socket.create_server(("127.0.0.1", 0))
    asked: list[str] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # whichever of them hangs up first
            while block := source.recv(65536):
                sink.sendall(block)

    def serve() -> None:
        here, _ = listening.accept()
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += here.recv(1)
        asked.append(head.decode())
        with here, socket.create_connection(("127.0.0.1", server.port)) as there:
            here.sendall(b"HTTP/1.1 200 go on\r\n\r\n")
            back = threading.Thread(target=pump, args=(there, here), daemon=True)
            back.start()
            pump(here, there)
            with suppress(OSError):
                there.shutdown(socket.SHUT_RDWR)
            back.join(10)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
    thread.join(10)
    listening.close()


def test_a_proxy_sees_names_and_no_token(
    server: Scripted,
    certificate: tuple[Path, Path],
    tunnel: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, asked = tunnel
    monkeypatch.setenv("https_proxy", url)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    with Client("https://runs.example.org", "secret", context=trusting) as client:
        assert client.lattices() == [{"name": "svm"}]
    assert asked[0].startswith("CONNECT runs.example.org:443 HTTP/1.")
    assert "secret" not in asked[0]
    assert server.requests[0].headers["Authorization"] == "Bearer secret"
    assert server.requests[0].headers["Host"] == "runs.example.org"
