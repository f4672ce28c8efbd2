"""What holds for every value: rebuilt, reordered, pickled, in another process, changed in one place."""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import random
import subprocess
import sys
from array import array
from collections import OrderedDict, deque
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cas_engine.values import Digester, compose
from cas_engine.values.pieces import Order
from cas_engine.values.tangles import Tangle
from cas_store.digest import digest_of


def code(thing, where):
    return digest_of(f"{thing.__module__}:{thing.__qualname__}".encode())


digester = Digester(code)
digest = digester.digest

keys = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.tuples(st.integers(0, 3), st.text(max_size=2)),
)
leaves = st.one_of(
    *(keys, st.floats(), st.complex_numbers(), st.decimals(), st.dates(), st.datetimes(), st.uuids(), st.fractions()),
    *(st.timedeltas(), st.times(), st.ip_addresses(), st.builds(range, st.integers(-3, 3), st.integers(-3, 3))),
    *(st.binary(max_size=4).map(bytearray), st.lists(st.floats(), max_size=4).map(lambda held: array("d", held))),
)


@dataclass
class Sample:
    name: object
    held: object


class Pair(NamedTuple):
    one: object
    other: object


class Slotted:
    __slots__ = ("__dict__", "held")

    def __init__(self, held, note):
        self.held = held
        self.note = note


def parts_of(value):
    """The parts of an object of one of these classes, by name; None for other values."""
    if type(value) in (Sample, SimpleNamespace):
        return dict(vars(value))
    if type(value) is Pair:
        return value._asdict()
    return {"held": value.held, "note": value.note} if type(value) is Slotted else None


values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
        st.builds(Sample, name=st.text(max_size=2), held=inner),
        st.builds(Pair, inner, inner),
        st.builds(Slotted, inner, st.integers(0, 3)),
        st.builds(SimpleNamespace, a=inner, b=inner),
        st.builds(deque, st.lists(inner, max_size=3)),
        st.dictionaries(keys, inner, max_size=3).map(OrderedDict),
    ),
    max_leaves=12,
)


def model(value):
    """What makes two values the same, spelled out slowly: the meaning that the digest must have."""
    kind = type(value)
    if kind in (list, tuple, deque):
        return (kind.__name__, tuple(map(model, value)))
    if kind is OrderedDict:
        return ("OrderedDict", tuple((model(k), model(v)) for k, v in value.items()))
    if (parts := parts_of(value)) is not None:
        return (kind.__name__, tuple(sorted((name, model(part)) for name, part in parts.items())))
    if kind is array:
        return ("array", tuple(map(model, value)))
    if kind is range:
        return ("range", value.start, value.stop)
    if kind in (set, frozenset):
        return (kind.__name__, tuple(sorted(map(model, value), key=repr)))
    if kind is dict:
        return ("dict", tuple(sorted(((model(k), model(v)) for k, v in value.items()), key=repr)))
    if kind is float:
        return ("float", "nan" if math.isnan(value) else value.hex())
    if kind is complex:
        return ("complex", model(value.real), model(value.imag))
    if kind is Decimal:
        return ("Decimal", value.as_tuple())
    return (kind.__name__, repr(value))


def shuffled(value, luck):
    """The same value, with what has no order made in another order."""
    kind = type(value)
    if kind in (list, tuple, deque):
        return kind(shuffled(item, luck) for item in value)
    if kind is OrderedDict:
        return OrderedDict((key, shuffled(item, luck)) for key, item in value.items())
    if (parts := parts_of(value)) is not None:
        pairs = [(name, shuffled(part, luck)) for name, part in parts.items()]
        luck.shuffle(pairs)
        return kind(**dict(pairs))
    if kind in (set, frozenset):
        items = list(value)
        luck.shuffle(items)
        return kind(items)
    if kind is dict:
        pairs = [(key, shuffled(item, luck)) for key, item in value.items()]
        luck.shuffle(pairs)
        return dict(pairs)
    return value


def changed(value, luck):
    """The value with one element, somewhere in it, replaced, removed or added."""
    kind = type(value)
    if (parts := parts_of(value)) is not None:
        name = luck.choice(sorted(parts))
        return kind(**{**parts, name: changed(parts[name], luck)})
    if kind is deque:
        return deque(changed(list(value), luck))
    if kind is OrderedDict:
        return OrderedDict(changed(dict(value), luck))
    if kind is array and value:
        at = luck.randrange(len(value))
        return value[:at] + array("d", [luck.choice([0.0, -0.0, 1.0])]) + value[at + 1 :]
    if kind in (list, tuple) and value and luck.random() < 0.7:
        items = list(value)
        at = luck.randrange(len(items))
        items[at] = changed(items[at], luck)
        return kind(items)
    if kind is dict and value and luck.random() < 0.7:
        key = luck.choice(list(value))
        return {**value, key: changed(value[key], luck)}
    if kind in (list, tuple):
        return kind([*value, luck.choice([None, 0, ""])])
    if kind in (set, frozenset):
        return kind([*value, "one more"])
    if kind is dict:
        return {**value, "one more": None}
    return luck.choice([None, True, 1, 1.0, -0.0, "1", b"1", [value], (value,), value if value is None else str(value)])


@given(values)
def test_a_deep_copy_and_a_pickled_copy_have_the_same_digest(value):
    assert digest(copy.deepcopy(value)) == digest(value)
    assert digest(pickle.loads(pickle.dumps(value))) == digest(value)


@given(values, st.randoms(use_true_random=False))
def test_the_order_in_which_sets_and_dicts_were_filled_does_not_show(value, luck):
    assert digest(shuffled(value, luck)) == digest(value)


@given(values, st.randoms(use_true_random=False))
def test_two_values_have_one_digest_just_when_they_are_the_same(value, luck):
    other = changed(value, luck)
    assert (digest(value) == digest(other)) == (model(value) == model(other))


@given(values, values)
def test_no_two_values_are_confused(one, other):
    assert (digest(one) == digest(other)) == (model(one) == model(other))


@given(st.lists(values, max_size=5))
def test_lists_and_tuples_are_composed_from_their_items(items):
    digests = [digest(item) for item in items]
    assert compose("list", digests) == digest(items)
    assert compose("tuple", digests) == digest(tuple(items))


@given(values)
def test_both_passes_give_one_digest(value):
    assert Tangle(code, Order.PAIRED).digest([value], "") == digest([value])


@given(st.integers(0, 40), st.lists(st.integers(0, 2), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_cyclic_graphs_have_the_digest_of_their_copies_whatever_node_was_made_first(seed, marks, luck):
    nodes = graph(random.Random(seed), marks, range(len(marks)))
    order = list(range(len(marks)))
    luck.shuffle(order)
    again = graph(random.Random(seed), marks, order)
    assert [digest(node) for node in nodes] == [digest(node) for node in again]
    assert digest(pickle.loads(pickle.dumps(nodes[0]))) == digest(nodes[0])


@given(st.integers(0, 40), st.lists(st.integers(0, 2), min_size=1, max_size=12), st.data())
def test_a_change_in_a_cycle_reaches_whoever_can_walk_to_it(seed, marks, data):
    at = data.draw(st.integers(0, len(marks) - 1))
    before = graph(random.Random(seed), marks, range(len(marks)))
    after = graph(random.Random(seed), marks, range(len(marks)))
    after[at]["mark"] = "changed"
    for one, other in zip(before, after, strict=True):
        assert (digest(one) != digest(other)) == (id(after[at]) in reached(other))


def graph(luck, marks, order):
    """Dicts that refer to each other at random."""
    nodes: dict[int, dict[str, Any]] = {i: {} for i in order}
    for i, mark in enumerate(marks):
        nodes[i]["mark"] = mark
        nodes[i]["to"] = [nodes[luck.randrange(len(marks))] for _ in range(luck.randrange(3))]
    return [nodes[i] for i in range(len(marks))]


def reached(node):
    found, todo = {}, [node]
    while todo:
        one = todo.pop()
        if id(one) not in found:
            found[id(one)] = one
            todo += one["to"]
    return found


FRESH = """
import json, pickle, sys
from cas_engine.values import Digester
from cas_store.digest import digest_of
digest = Digester(lambda thing, where: digest_of(f"{thing.__module__}:{thing.__qualname__}".encode())).digest
values = pickle.load(open(sys.argv[1], "rb"))
print(json.dumps([digest(value).hex() for value in values]))
"""


def test_a_fresh_process_with_another_hash_seed_agrees(tmp_path):
    examples = []

    @settings(max_examples=150, database=None, suppress_health_check=list(HealthCheck))
    @given(values)
    def collect(value):
        examples.append(value)

    collect()
    words = [f"word{i}" for i in range(50)]
    examples += [set(words), frozenset(words), {word: {word} for word in words}]
    (tmp_path / "values").write_bytes(pickle.dumps(examples))
    expected = [digest(value).hex() for value in examples]
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", FRESH, str(tmp_path / "values")],
            cwd=Path(__file__).parents[2],  # from where the classes above can be imported
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout) == expected
