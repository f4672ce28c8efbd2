"""Plain values have one digest for each content, and different content never shares one."""

from __future__ import annotations

import copy
import math
import pickle
import struct
from typing import Any, cast

import pytest

from cas_engine.values import Digester, compose, compose_dict
from cas_store.digest import digest_of


def code(thing, where):
    return digest_of(f"{thing.__module__}:{thing.__qualname__}".encode())


digester = Digester(code)
digest = digester.digest
ordered = Digester(code, ordered_dicts=True)
in_order = ordered.digest

# No two of these are the same content.
DIFFERENT: list[Any] = [
    None,
    ...,
    NotImplemented,
    False,
    True,
    0,
    1,
    -1,
    255,
    256,
    -256,
    2**63,
    -(2**63),
    10**40,
    0.0,
    -0.0,
    1.0,
    math.nan,
    math.inf,
    -math.inf,
    5e-324,
    1 + 0j,
    0j,
    complex(0.0, -0.0),
    complex(-0.0, 0.0),
    complex(math.nan, 0),
    complex(0, math.nan),
    "",
    "1",
    "None",
    "nan",
    "\0",
    "\ud800",
    "é",
    "e\u0301",
    b"",
    b"1",
    b"\0",
    bytearray(b""),
    bytearray(b"1"),
    memoryview(b""),
    memoryview(b"1"),
    memoryview(struct.pack("2i", 1, 2)).cast("i"),
    memoryview(struct.pack("2i", 1, 2)),
    (),
    [],
    {},
    set(),
    frozenset(),
    range(0),
    range(1),
    range(0, 3, 2),
    slice(None),
    slice(1),
    slice(0, 1),
    ("ab", "c"),
    ("a", "bc"),
    ("abc",),
    ["ab", "c"],
    ["a", "bc"],
    [["a"], ["b"]],
    [["a", "b"]],
    [[], []],
    [[]],
    [()],
    ([],),
    [1, 2],
    [2, 1],
    [1],
    [True],
    [1.0],
    {"a": 1},
    {"a": 1.0},
    {"a": True},
    {"a": None},
    {"b": 1},
    {1: "a"},
    {True: "a"},
    {"a": "b", "c": "d"},
    {"a": "d", "c": "b"},
    {"a": {"b": 1}},
    [("a", 1)],
    {1},
    {1.0},
    frozenset({1}),
    {1, 2},
    {frozenset({1}), frozenset({2})},
    {frozenset({1, 2})},
    {frozenset(), frozenset({1, 2})},
]


def test_different_content_has_different_digests():
    values_of: dict[bytes, list[Any]] = {}
    for value in DIFFERENT:
        values_of.setdefault(digest(value), []).append(value)
    assert [values for values in values_of.values() if len(values) > 1] == []


def test_a_digest_has_16_bytes_and_does_not_look_like_its_value():
    assert {len(digest(value)) for value in DIFFERENT} == {16}
    # A text that holds what another value's digest is taken over is still a text.
    assert digest(b"int\0\1") != digest(1)
    assert digest(digest(1)) != digest([1])


@pytest.mark.parametrize("value", DIFFERENT, ids=lambda value: type(value).__name__)
def test_a_copy_has_the_digest_of_the_original(value):
    if isinstance(value, memoryview):
        assert digest(memoryview(value.tobytes()).cast(cast("Any", value.format))) == digest(value)
        return
    assert digest(copy.deepcopy(value)) == digest(value)
    if value is not NotImplemented and value is not ...:
        assert digest(pickle.loads(pickle.dumps(value))) == digest(value)


def test_all_nans_are_one():
    other = struct.unpack("<d", b"\1\0\0\0\0\0\xf8\xff")[0]
    assert math.isnan(other)
    assert digest(other) == digest(math.nan) == digest(-math.nan)


def test_a_long_text_is_digested_like_a_short_one_whatever_the_path_inside():
    text = "x" * 200_000
    assert digest(text) == digest("".join(["x"] * 200_000))
    assert digest(text) != digest(text[1:])
    assert digest(text.encode()) == digest(bytes(bytearray(text.encode())))


def test_whether_an_object_is_there_twice_does_not_show():
    item = ["x" * 3, {"k": (1, 2)}]
    assert digest([item, item]) == digest([item, copy.deepcopy(item)])
    assert digest({"a": item, "b": item}) == digest({"a": item, "b": copy.deepcopy(item)})


def test_sharing_many_times_over_costs_no_time():
    value: list[Any] = ["leaf"]
    for _ in range(50):
        value = [value, value]  # 2**50 paths
    assert digest(value) == digest(copy.deepcopy(value))


def test_the_order_of_a_dict_counts_where_it_is_asked_for():
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert digest(one) == digest(other)
    assert in_order(one) != in_order(other)
    assert in_order([{"x": one}]) != in_order([{"x": other}])
    assert in_order(one) == in_order(dict(one))


def test_memoryviews_count_by_what_they_show():
    data = bytes(range(24))
    assert digest(memoryview(data)[::2]) == digest(memoryview(data[::2]))
    assert digest(memoryview(data).cast("B", (4, 6))) != digest(memoryview(data).cast("B", (6, 4)))
    assert digest(memoryview(bytearray(data))) == digest(memoryview(data))


def test_the_digest_of_a_container_is_composed_from_those_of_its_parts():
    lists: list[list[Any]] = [[], [1], [1, "a", [2, {"x": ()}]]]
    for value in lists:
        assert compose("list", digester.part_digests(value) or ()) == digest(value)
        assert compose("tuple", digester.part_digests(tuple(value)) or ()) == digest(tuple(value))
    dicts: list[dict[Any, Any]] = [{}, {"a": 1}, {"b": [1], "a": {2: 3}, 4: ()}]
    for pairs in dicts:
        parts = digester.part_digests(pairs) or ()
        assert compose_dict(zip(parts[::2], parts[1::2], strict=True)) == digest(pairs)
        parts = ordered.part_digests(pairs) or ()
        assert compose_dict(zip(parts[::2], parts[1::2], strict=True), ordered=True) == in_order(pairs)


def test_only_exact_containers_have_parts():
    class Mine(list):
        pass

    for value in (1, "ab", {1}, Mine([1]), None):
        assert digester.part_digests(value) is None
    selfish: list[Any] = [1]
    selfish.append(selfish)
    assert digester.part_digests(selfish) is None
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    assert compose("list", digester.part_digests(deep) or ()) == digest(deep)
