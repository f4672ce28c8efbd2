"""Inputs from JSON and uploads, results as JSON: where values are, in a coordinator, never in the server's process."""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cas_run.arguments import Input, arranged
from cas_run.conversion import Inconvertible, Typed, convert, told
from cas_run.server.limits import RESULT
from cas_run.server.problems import Field, Problem, unprocessable
from cas_run.server.schema import LITERAL, UPLOAD

CAPSULE = "application/vnd.cas-run.capsule"
NPY = "application/x-npy"
FRAMES = (
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.arrow.file",
    "application/vnd.apache.parquet",
)


class Upload(typing.NamedTuple):
    """A file that the server wrote, under a name of its own."""

    path: str
    media_type: str


Uploads = Mapping[str, Upload]


def call_of(
    inputs: Sequence[Input], given: Mapping[str, Any], uploads: Uploads, who: str
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call with these inputs by name. Raises Problem (422) naming the input."""
    by_name = {one.name: one for one in inputs if one.takes_one}
    rest = next((one for one in inputs if one.takes_others), None)
    values, wrong = dict[str, Any](), list[Field]()
    for name, raw in given.items():
        one = by_name.get(name, rest)
        where = f"inputs.{name}"
        if one is None:
            wrong.append(Field(where[:120], f"lattice `{who}` has no such input"))
            continue
        try:
            values[name] = _value(raw, one.annotation, uploads)
        except Inconvertible as error:
            wrong.append(Field(where, f"{error} (it takes {told(one.annotation)})"))
        except Exception as error:  # noqa: BLE001 - an annotation may be a class of the user's, which says what it takes
            wrong.append(Field(where, f"{type(error).__name__}: {error}"[:500]))
    if wrong:
        raise unprocessable(wrong)
    return arranged(inputs, values, who)


def _value(raw: Any, annotation: object, uploads: Uploads) -> Any:
    wanted = _frame_named(annotation)
    value = revived(raw, uploads, wanted)
    if value is not raw and _is_upload(raw):
        return value
    if wanted and isinstance(value, (dict, list)):
        return _frame_of(value, wanted)
    if isinstance(value, str) and annotation is float:
        return float(value)  # "nan", "inf": what the schema lets pass
    if _is_array(annotation) and isinstance(value, list):
        return _array_of(value)
    return convert(Typed(None, value), annotation)


def revived(raw: Any, uploads: Uploads, frame: str = "") -> Any:
    """The value with what was uploaded in its place. Raises Inconvertible."""
    if isinstance(raw, list):
        return [revived(item, uploads, frame) for item in raw]
    if not isinstance(raw, dict):
        return raw
    if len(raw) == 1 and LITERAL in raw:
        return raw[LITERAL]
    if _is_upload(raw):
        found = uploads.get(raw[UPLOAD]) if isinstance(raw[UPLOAD], str) else None
        if found is None:
            raise Inconvertible("there is no such upload")
        return loaded(found, frame)
    return {name: revived(item, uploads, frame) for name, item in raw.items()}


def _is_upload(raw: object) -> bool:
    return type(raw) is dict and len(raw) == 1 and UPLOAD in raw


def loaded(upload: Upload, frame: str = "") -> Any:
    """The array or frame in an upload; `frame` is the library that a frame is to be of. Never a pickle."""
    try:
        if upload.media_type == NPY:
            return _npy(upload.path)
        return _table(upload, frame or _installed())
    except Inconvertible:
        raise
    except Exception as error:  # noqa: BLE001 - of bytes from elsewhere: numpy and arrow raise what they like
        raise Inconvertible(f"the upload is not {upload.media_type}: {type(error).__name__}: {error}"[:500]) from None


def _npy(path: str) -> Any:
    # Not `np.load`, which takes archives and pickles too.
    from numpy.lib.format import read_array

    with Path(path).open("rb") as file:
        return read_array(file, allow_pickle=False)


def _table(upload: Upload, library: str) -> Any:
    if find_spec("pyarrow") is None:
        raise Inconvertible("the server has no pyarrow, which reads frames\n  -> pip install pyarrow there")
    import pyarrow as pa

    if upload.media_type.endswith("parquet"):
        import pyarrow.parquet as pq

        table = pq.read_table(upload.path, memory_map=False)
    elif upload.media_type.endswith("stream"):
        with pa.OSFile(upload.path) as file:
            table = pa.ipc.open_stream(file).read_all()
    else:
        with pa.OSFile(upload.path) as file:
            table = pa.ipc.open_file(file).read_all()
    if library == "pandas":
        return table.to_pandas()
    if library == "polars":
        import polars as pl

        return pl.from_arrow(table)
    return table


def _installed() -> str:
    return next((name for name in ("pandas", "polars") if find_spec(name) is not None), "pyarrow")


def _frame_named(annotation: object) -> str:
    """The library whose frame an annotation asks for, "" if it asks for none."""
    for one in (annotation, *typing.get_args(annotation)):
        library = getattr(one, "__module__", "") or ""
        library = library.partition(".")[0] if isinstance(library, str) else ""
        if (getattr(one, "__name__", ""), library) in {
            ("DataFrame", "pandas"),
            ("DataFrame", "polars"),
            ("Table", "pyarrow"),
        }:
            return library
    return ""


def _frame_of(value: Any, library: str) -> Any:
    if library == "pandas":
        return sys.modules["pandas"].DataFrame(value)
    if library == "polars":
        return sys.modules["polars"].DataFrame(value)
    table = sys.modules["pyarrow"].Table
    return table.from_pylist(value) if isinstance(value, list) else table.from_pydict(value)


def _is_array(annotation: object) -> bool:
    return any(
        getattr(one, "__name__", "") == "ndarray" and getattr(one, "__module__", "") == "numpy"
        for one in (annotation, typing.get_origin(annotation), *typing.get_args(annotation))
    )


def _array_of(value: list[Any]) -> Any:
    try:
        array = sys.modules["numpy"].asarray(value)
    except ValueError as error:
        raise Inconvertible(f"these lists are no array: {error}") from None
    if array.dtype.hasobject:
        raise Inconvertible("an array holds numbers, texts or truth values, all of one kind")
    return array


def shown(load: Callable[[], Any]) -> dict[str, Any]:
    """A result for JSON: type, preview, shape, and the value where JSON holds it and it is not too much."""
    from cas_engine.bookkeeping.previews import shape_of
    from cas_run.preview import as_json

    value = load()
    found = as_json(value)
    if (shape := shape_of(value)) is not None:
        found["shape"] = shape
    if "value" in found and len(json.dumps(found["value"])) > RESULT:
        del found["value"]
    return found


def code_of(upload: Upload) -> Callable[..., Any]:
    """The function in an uploaded capsule. Whoever sent it may run code here: asked for only if so."""
    from cas_engine.capsules import capsule
    from cas_engine.capsules.frames import FrameError

    try:
        return capsule.load(Path(upload.path).read_bytes())
    except FrameError as error:
        raise Problem(422, "InputError", f"the upload is no capsule: {error}") from None
