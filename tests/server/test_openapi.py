"""The table that the server routes by is what it tells of itself, and holds for whatever clients think of."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cas_run.server.openapi import openapi
from cas_run.server.operations import OPERATIONS

pytestmark = pytest.mark.xdist_group("server")
DOCS = Path(__file__).parents[2] / "docs" / "server.md"


def test_openapi_has_every_operation_and_the_page_about_it_too(served: Any) -> None:
    told = served.get("/openapi.json").json
    assert told == openapi(told["info"]["version"])
    assert told["openapi"] == "3.1.0"
    page = DOCS.read_text(encoding="utf-8")
    for operation in OPERATIONS:
        assert operation.method.lower() in told["paths"][operation.path]
        assert f"`{operation.path}`" in page


@pytest.mark.slow
def test_seven_hundred_requests_made_from_it_find_no_fault_of_the_server(
    tmp_path: Path, make_flow: Any, start: Any
) -> None:
    make_flow(tmp_path)
    served = start(tmp_path)  # of its own: what others left running might be waited for
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        "run",
        f"http://127.0.0.1:{served.port}/openapi.json",
        *("--header", f"Authorization: Bearer {served.token}"),
        *("--checks", checks),
        *("--max-examples", "30"),
        *("--request-timeout", "90"),  # `wait` is up to 60
        *("--seed", "1"),
        "--generation-deterministic",
        # Bodies of these are bytes: see below.
        *("--exclude-path-regex", "/api/v1/(blobs|code)"),
        "--no-color",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:] + served.said()
    cases = re.search(r"(\d+) generated", done.stdout)
    assert cases is not None
    assert int(cases[1]) >= 700
    assert "Traceback" not in served.said()


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff{", b"PAR1" * 3, b"ARROW1\0\0"]
)
def test_uploads_of_whatever_bytes_are_taken_and_told_when_they_are_used(
    served: Any, ids: dict[str, str], content: bytes
) -> None:
    for media_type, name in (("application/x-npy", "array"), ("application/vnd.apache.parquet", "frame")):
        sent = served.post("/api/v1/blobs", content, headers={"Content-Type": media_type})
        assert sent.status == 201
        used = served.redispatch(ids["shapes"], inputs={name: {"$blob": sent.json["id"]}})
        assert (used.status, used.fields) == (422, [f"inputs.{name}"])
