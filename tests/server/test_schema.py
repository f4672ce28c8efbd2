"""What an annotation says of an input is checked before anything runs; what it does not say is left to it."""

from __future__ import annotations

from typing import Any

import pytest

from cas_engine.graphs.signatures import signature_of
from cas_run.server.feeds import Feed
from cas_run.server.limits import STREAM_EVENTS
from cas_run.server.schema import faults, of_annotation, of_signature

NOTHING = object()
UPLOAD = {"$blob": "0" * 32}
CASES: list[tuple[str, list[Any], list[Any]]] = [
    ("int", [1, -3, 10**30, 2.0], [1.5, "1", True, None, [], {}]),
    ("float", [1, 1.5, "nan", "-inf"], ["1.5", True, None, 10**400]),
    ("str", ["", "x"], [1, None, ["x"]]),
    ("bool", [True, False], [0, 1, "true", None]),
    ("None", [None], [0, ""]),
    ("list", [[], [1, "x"]], [{}, "x", 1]),
    ("list[int]", [[], [1, 2]], [[1.5], ["x"], 1]),
    ("List[float]", [[1, 2.5]], [["x"]]),
    ("Sequence[str]", [["a"]], ["a", [1]]),
    ("set[int]", [[1]], [["a"]]),
    ("tuple[int, str]", [[1, "a"]], [[1], [1, 2], ["a", "a"]]),
    ("tuple[int, ...]", [[], [1, 2, 3]], [["a"]]),
    ("dict", [{}, {"a": 1}], [[], 1]),
    ("dict[str, float]", [{"a": 1}], [{"a": "x"}]),
    ("int | None", [1, None], ["x", 1.5]),
    ("Optional[int]", [1, None], ["x"]),
    ("typing.Union[int, str]", [1, "x"], [None, 1.5]),
    ("Literal['a', 'b', 3]", ["a", 3], ["c", 3.0, True]),
    ("np.ndarray", [[1, 2], [[1.5], [2]]], [1, "x", {}]),
    ("ndarray", [[1]], [None]),
    ("npt.NDArray[np.float64]", [[1.0]], [1]),
    ("pd.DataFrame", [{"a": [1]}, [{"a": 1}]], [1, [1], "x"]),
    ("Annotated[int, 'of apples']", [1], ["x"]),
    ("'int'", [1], ["x"]),
    ("datetime.date", ["2026-01-31"], [1]),
    # What is not understood takes anything: whoever has the class says what it takes.
    ("Model", [1, "x", {}], []),
    ("int | Model", [1, "x"], []),
    ("__import__('os').system('x')", [1], []),
    ("not python (", [1], []),
    ("", [1, None], []),
]


@pytest.mark.parametrize(("annotation", "taken", "refused"), CASES, ids=[case[0] for case in CASES])
def test_values_are_taken_as_annotations_say(annotation: str, taken: list[Any], refused: list[Any]) -> None:
    schema = of_annotation(annotation)
    for value in [*taken, UPLOAD, {"$literal": 1}]:
        assert not list(faults(value, schema, "x", uploads=True)), value
    for value in refused:
        (fault,) = faults(value, schema, "x", uploads=True)
        assert fault.name.startswith("x")
        assert fault.message


def test_a_signature_is_an_object_of_its_inputs() -> None:
    def lattice(a: int, b: float = 1.5, *rest: int, c: str | None = None, d: Any = NOTHING) -> None: ...

    schema = of_signature(signature_of(lattice))
    assert schema["required"] == ["a"]
    assert list(schema["properties"]) == ["a", "b", "c", "d"]
    assert schema["properties"]["b"]["default"] == 1.5
    assert schema["properties"]["c"]["default"] is None
    assert "default" not in schema["properties"]["d"]
    assert not list(faults({"a": 1, "c": None}, schema))
    assert [fault.name for fault in faults({"b": "x", "f": 1}, schema)] == ["a", "b", "f"]

    def open_one(**options: int) -> None: ...

    assert not list(faults({"anything": 1}, of_signature(signature_of(open_one))))


def test_a_feed_keeps_so_many_events_and_tells_who_comes_late_what_is_lost() -> None:
    feed = Feed()
    feed.add("planned", {"total": 1, "hits": 0, "estimate_s": 0})
    for index in range(3 * STREAM_EVENTS):
        feed.add("started", {"index": index})
    feed.finish({"status": "COMPLETED"})
    assert len(feed.events) <= 2 * STREAM_EVENTS + 1
    assert not feed.is_whole
    at, seen = 0, []
    while (found := feed.next_from(at)) is not None:
        at, text = found
        seen.append(text)
    assert b"event: lost" in seen[0]
    lost = feed.dropped
    assert b'data: {"count":%d}' % lost in seen[0]
    assert len(seen) == 1 + 3 * STREAM_EVENTS + 2 - lost
    assert b"event: finished" in seen[-1]
