"""What is typed after `-p name=` becomes what the annotation asks for, or a refusal saying what would do."""

# ruff: noqa: UP007, UP045, PYI061 - the older spellings are what is tested
from __future__ import annotations

import datetime as dt
import enum
import math
import typing
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, Union

import numpy as np
import pytest

from cas_run.conversion import Inconvertible, convert, read


class Kernel(enum.Enum):
    LINEAR = "linear"
    RBF = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Grid:
    size: int
    step: float = 0.5


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Options(TypedDict, total=False):
    depth: int
    name: str


class Sized(typing.Protocol):
    def size(self) -> int: ...


Rate = NewType("Rate", float)
T = typing.TypeVar("T", bound=float)

GIVES: list[tuple[object, str, object]] = [
    # no annotation, or one that says nothing: a JSON literal, else the text
    (Any, "1", 1),
    (Any, "1.0", 1.0),
    (Any, "true", True),
    (Any, "null", None),
    (Any, '"1"', "1"),
    (Any, "[1, {}]", [1, {}]),
    (object, "linear", "linear"),
    (Any, "True", "True"),
    (Any, "NaN", "NaN"),
    (Any, "", ""),
    (Any, " x ", " x "),
    (Any, "01", "01"),
    ("NotResolvable", "1", 1),
    # numbers
    (float, "1", 1.0),
    (float, "1e-3", 0.001),
    (float, "inf", math.inf),
    (float, "-Infinity", -math.inf),
    (float, ".5", 0.5),
    (int, "3", 3),
    (int, "-3", -3),
    (int, "+3", 3),
    (int, "1e3", 1000),
    (int, "2.0", 2),
    (int, "1_000", 1000),
    (int, "123456789012345678901234567890", 123456789012345678901234567890),
    (complex, "1+2j", 1 + 2j),
    (complex, "2", 2 + 0j),
    (Decimal, "0.1", Decimal("0.1")),
    (Decimal, "1e400", Decimal("1e400")),
    (Fraction, "1/3", Fraction(1, 3)),
    (Fraction, "0.1", Fraction(1, 10)),
    (np.float64, "1", np.float64(1.0)),
    (np.int32, "7", np.int32(7)),
    (Rate, "2", 2.0),
    (T, "2", 2.0),
    (Annotated[float, "unit: m"], "2", 2.0),
    # truth
    (bool, "true", True),
    (bool, "False", False),
    (bool, "yes", True),
    (bool, "off", False),
    (bool, "1", True),
    (bool, "0", False),
    # texts stay what was typed, whatever they look like
    (str, "1", "1"),
    (str, "true", "true"),
    (str, "null", "null"),
    (str, "[1]", "[1]"),
    (str, '"quoted"', "quoted"),
    (str, "", ""),
    (str, "a=b", "a=b"),
    (Path, "data/x.csv", Path("data/x.csv")),
    (Path, "1", Path("1")),
    # choices
    (Literal["a", "b"], "a", "a"),
    (Literal["1", "2"], "1", "1"),
    (Literal[1, 2], "2", 2),
    (Literal[None, "x"], "null", None),
    (Literal[True, "auto"], "auto", "auto"),
    (Kernel, "RBF", Kernel.RBF),
    (Kernel, "linear", Kernel.LINEAR),
    (Kernel, "2", Kernel.RBF),
    (Level, "HIGH", Level.HIGH),
    (Level, "1", Level.LOW),
    # or nothing
    (Optional[float], "null", None),
    (Optional[float], "None", None),
    (Optional[float], "1", 1.0),
    (Optional[str], "null", None),
    (Optional[str], "None", "None"),
    (Optional[str], "1", "1"),
    (Optional[bool], "1", True),
    (type(None), "null", None),
    # several types: the literal's own first, text last
    (int | float, "1", 1),
    (int | float, "1.0", 1.0),
    (float | int, "1", 1),
    (str | int, "1", 1),
    (Union[int, str], "x", "x"),
    (int | str, '"5"', "5"),
    (str | Path, "x", Path("x")),
    (list[int] | int, "[1]", [1]),
    (Literal["auto"] | float, "2", 2.0),
    (Literal["auto"] | float, "auto", "auto"),
    # containers
    (list, "[1, 2]", [1, 2]),
    (list[float], "[1, 2]", [1.0, 2.0]),
    (list[list[float]], "[[1], []]", [[1.0], []]),
    (Sequence[str], '["a"]', ["a"]),
    (tuple, "[1]", (1,)),
    (tuple[int, ...], "[1, 2]", (1, 2)),
    (tuple[int, str], '[1, "a"]', (1, "a")),
    (tuple[()], "[]", ()),
    (set[int], "[1, 1]", {1}),
    (frozenset[str], '["a"]', frozenset({"a"})),
    (dict, '{"a": 1}', {"a": 1}),
    (dict[str, float], '{"a": 1}', {"a": 1.0}),
    (dict[int, str], '{"1": "x"}', {1: "x"}),
    (Mapping[str, list[int]], '{"a": [1]}', {"a": [1]}),
    (list[float], "[NaN, 1]", [math.nan, 1.0]),
    (list[Optional[int]], "[1, null]", [1, None]),
    # records
    (Grid, '{"size": 3}', Grid(3)),
    (Grid, '{"size": 3, "step": 1}', Grid(3, 1.0)),
    (Point, "[1, 2]", Point(1.0, 2.0)),
    (Point, '{"x": 1}', Point(1.0)),
    (Options, '{"depth": 2}', {"depth": 2}),
    # times
    (dt.date, "2025-01-31", dt.date(2025, 1, 31)),
    (dt.datetime, "2025-01-31T12:00:00Z", dt.datetime(2025, 1, 31, 12, tzinfo=dt.timezone.utc)),
    (dt.time, "12:30", dt.time(12, 30)),
    (uuid.UUID, "12345678123456781234567812345678", uuid.UUID("12345678123456781234567812345678")),
    # what can't be checked at run time is taken as typed
    (Sized, "1", 1),
]


def same(found: object, wanted: object) -> bool:
    """Equal, of one type, and NaN is itself."""
    if type(found) is not type(wanted):
        return False
    if isinstance(found, (list, tuple)) and isinstance(wanted, (list, tuple)):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return found == wanted or (found != found and wanted != wanted)  # noqa: PLR0124 - NaN


@pytest.mark.parametrize(("annotation", "text", "wanted"), GIVES, ids=lambda v: str(v)[:40])
def test_a_text_becomes_what_the_annotation_asks_for(annotation: object, text: str, wanted: object) -> None:
    found = convert(read(text), annotation)
    assert same(found, wanted), f"{found!r} of {type(found)}"


REFUSED: list[tuple[object, str, str]] = [
    (float, "abc", "`abc` is not a number"),
    (float, "", "`` is not a number"),
    (float, "true", "`true` is not a number"),
    (float, '"1"', "is not a number"),
    (float, "1" + "0" * 400, "a number that a float can hold"),
    (int, "1.5", "a whole number"),
    (int, "true", "a whole number"),
    (int, "[1]", "a whole number"),
    (int, "nan", "a whole number"),
    (bool, "2", "true or false"),
    (bool, "maybe", "true or false"),
    (Literal["a", "b"], "c", "one of `a`, `b`"),
    (Literal[1], "true", "one of `1`"),
    (Kernel, "poly", "one of `LINEAR`, `RBF`"),
    (type(None), "1", "null"),
    (Optional[int], "x", "int or NoneType"),
    (list[int], "1,2", "a JSON list"),
    (list[int], '["a"]', "a whole number"),
    (list[str], "[1]", "a text"),
    (tuple[int, int], "[1]", "a list of 2"),
    (dict[str, int], "[1]", "a JSON object"),
    (set[int], "3", "a JSON list"),
    (set[Any], "[[1]]", "can be in a set"),
    (Grid, '{"sise": 3}', "no field `sise`"),
    (Grid, "{}", "size"),
    (Point, "[1, 2, 3]", "a list of at most 2"),
    (Grid, "3", 'a JSON object with "size", "step"'),
    (dt.date, "yesterday", "a date such as"),
    (uuid.UUID, "x", "a UUID"),
    (Decimal, "x", "a number"),
    (bytes, "x", "a bytes can't be written on a command line"),
    (type[int], "x", "can't be written"),
]


@pytest.mark.parametrize(("annotation", "text", "words"), REFUSED, ids=lambda v: str(v)[:40])
def test_what_does_not_fit_is_refused_in_words(annotation: object, text: str, words: str) -> None:
    with pytest.raises(Inconvertible) as caught:
        convert(read(text), annotation)
    assert words in str(caught.value)


def test_an_array_comes_from_nested_lists() -> None:
    found = convert(read("[[1, 2], [3, 4]]"), np.ndarray)
    assert isinstance(found, np.ndarray)
    assert found.shape == (2, 2)


def test_a_number_of_any_length_is_no_traceback() -> None:
    assert read("1" * 5000).value == "1" * 5000


def test_nesting_without_end_is_no_traceback() -> None:
    with pytest.raises(Inconvertible, match="nested too deep"):
        read("[" * 100_000)
