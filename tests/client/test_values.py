"""What inputs become on their way: JSON as it is, arrays and frames as uploads, and nothing changed without a word."""

from __future__ import annotations

import enum
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.client.conftest import Request, Said, Script, Scripted

from cas_run.client import CODE, Client, Refused, Upload

ID = "9f3a" * 8


class Colour(enum.IntEnum):
    RED = 1


@pytest.fixture
def server(script: Script) -> Scripted:
    def answer(request: Request) -> Said:
        if request.path in ("/api/v1/blobs", "/api/v1/code"):
            return Said(201, {"id": f"upload-{len(made.requests)}", "size": len(request.body)})
        return Said(202, {"dispatch_id": ID, "status": "RUNNING"})

    made = script(answer)
    return made


def sent(server: Scripted, value: Any) -> Any:
    Client(server.url).redispatch(ID, {"x": value})
    return server.requests[-1].json["inputs"]["x"]


@pytest.mark.parametrize(
    ("value", "as_json"),
    [
        (None, None),
        (True, True),
        (2**70, 2**70),
        (1.5, 1.5),
        ("é\u2028", "é\u2028"),
        ([1, (2, {"a": []})], [1, [2, {"a": []}]]),
        (np.float64(0.1), 0.1),
        (np.int32(3), 3),
        (np.bool_(1), True),
        (np.array(2.5), 2.5),
        (Colour.RED, 1),
        ({"$blob": "mine"}, {"$literal": {"$blob": "mine"}}),
        ({"$literal": {"$blob": 1}}, {"$literal": {"$literal": {"$blob": 1}}}),
        ({"$other": 1}, {"$other": 1}),
        ({"$blob": 1, "more": 2}, {"$blob": 1, "more": 2}),
    ],
)
def test_what_json_has_goes_as_it_is(server: Scripted, value: Any, as_json: Any) -> None:
    found = sent(server, value)
    assert found == as_json
    assert type(found) is type(as_json)


@pytest.mark.parametrize(
    ("value", "where", "what"),
    [
        (float("nan"), "x", "nan, for which JSON has no number"),
        ([1, {"a": float("inf")}], 'x[1]["a"]', "inf"),
        ({1: 2}, "x", "a dict with the key 1"),
        ([{1, 2}], "x[0]", "of type set"),
        (b"bytes", "x", "of type bytes"),
        (Path("data.csv"), "x", "a path of the server's machine is given as a text"),
        (np.array([object()]), "x", "can't be uploaded"),
        (np.datetime64("2025-01-31"), "x", "of type date"),
        (lambda: 1, "x", "of type function"),
        (pd.Series([1]), "x", "of type Series"),
        ({"$blob": np.zeros(2)}, 'x["$blob"]', "below a key that is the server's"),
    ],
)
def test_what_it_would_change_is_refused_with_the_place(server: Scripted, value: Any, where: str, what: str) -> None:
    with pytest.raises(Refused) as caught:
        sent(server, value)
    assert f"`{where}`" in str(caught.value)
    assert what in str(caught.value)
    assert (caught.value.field, caught.value.kind) == ("inputs.x", "InputError")
    assert server.requests == []


def test_what_is_nested_without_end_is_refused(server: Scripted) -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(Refused, match="nested too deep"):
        sent(server, value)


def test_an_array_is_uploaded_as_npy(server: Scripted) -> None:
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    assert sent(server, {"deep": [array]}) == {"deep": [{"$blob": "upload-1"}]}
    upload = server.requests[0]
    assert upload.headers["Content-Type"] == "application/x-npy"
    again = np.load(io.BytesIO(upload.body), allow_pickle=False)
    assert (again.dtype, again.tolist()) == (array.dtype, array.tolist())


def test_frames_are_uploaded_as_arrow(server: Scripted) -> None:
    columns = {"a": [1, 2], "b": ["x", None]}
    indexed = pd.DataFrame(columns, index=["i", "j"])
    for frame in (indexed, pl.DataFrame(columns), pa.table(columns)):
        sent(server, frame)
    uploads = [request for request in server.requests if request.path.endswith("blobs")]
    assert {request.headers["Content-Type"] for request in uploads} == {"application/vnd.apache.arrow.stream"}
    tables = [pa.ipc.open_stream(request.body).read_all() for request in uploads]
    assert [table.column("b").to_pylist() for table in tables] == [["x", None]] * 3
    pd.testing.assert_frame_equal(tables[0].to_pandas(), indexed)


def test_bytes_and_files_of_such_are_uploaded_as_they_are(server: Scripted, tmp_path: Path) -> None:
    file = tmp_path / "frame.parquet"
    file.write_bytes(b"PAR1")
    Client(server.url).redispatch(ID, {"a": Upload(b"npy", "application/x-npy"), "b": Upload(file)})
    first, second, redispatch = server.requests
    assert (first.body, first.headers["Content-Type"]) == (b"npy", "application/x-npy")
    assert (second.body, second.headers["Content-Type"]) == (b"PAR1", "application/vnd.apache.parquet")
    assert redispatch.json["inputs"] == {"a": {"$blob": "upload-1"}, "b": {"$blob": "upload-2"}}
    with pytest.raises(Refused, match="no media type"):
        Upload(tmp_path / "frame.xlsx")


def test_code_goes_where_code_goes(server: Scripted) -> None:
    Client(server.url).redispatch(ID, replace_electrons={"train": Upload(b"capsule", CODE), "score": "recall"})
    upload, redispatch = server.requests
    assert upload.path == "/api/v1/code"
    assert redispatch.json["replace_electrons"] == {"train": {"$capsule": "upload-1"}, "score": "recall"}


def test_an_upload_that_the_server_has_forgotten_is_sent_again(script: Script) -> None:
    forgotten = Said(422, {"error": {"kind": "UnknownUpload", "message": "no such upload"}})
    made = Said(201, {"id": "one"}), Said(201, {"id": "two"})
    server = script(made[0], forgotten, made[1], Said(202, {"dispatch_id": ID, "status": "RUNNING"}))
    Client(server.url).redispatch(ID, {"x": np.zeros(3)})
    assert server.requests[-1].json["inputs"] == {"x": {"$blob": "two"}}
    never = script(made[0], forgotten, made[1], forgotten)
    with pytest.raises(Refused, match="no such upload"):
        Client(never.url).redispatch(ID, {"x": np.zeros(3)})
