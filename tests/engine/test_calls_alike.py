"""Calls in a loop are recorded in short, and come out as if each had been looked at by itself."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest

import cas_run as ct
from cas_engine.bookkeeping.location import open_store
from cas_engine.capsules import codec
from cas_engine.errors import BindError
from cas_engine.graphs import bindings, templates
from cas_engine.graphs.arguments import holds_handle
from cas_engine.graphs.bindings import Const, Items, Ref, call_arguments, consts_in, template_digest, template_dumps
from cas_engine.graphs.graph import Graph
from cas_engine.graphs.tracing import trace
from cas_engine.preparing.recorder import Recorder


def plain(x: Any, y: Any) -> None: ...


def default(x: Any, y: Any = 1, *, z: Any = "s") -> None: ...


def stars(a: Any, /, b: Any, *rest: Any, **more: Any) -> None: ...


ELECTRONS: list[Any] = [
    ct.electron(plain),
    ct.electron(plain, name="second"),
    ct.electron(plain, name="draws", stochastic=True),
    ct.electron(plain, name="quiet", ignore=["x"]),
    ct.electron(default),
    ct.electron(stars),
]
SCALARS = [0, 1, True, False, None, 0.0, -0.0, 1.0, math.nan, "", "1", "%b", b"", b"1", "long" * 300, 7**900, -5, 2j]


def calls_of(chance: random.Random, results: list[Any]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    def value() -> Any:
        if results and chance.random() < 0.5:
            return chance.choice(results)
        if results and chance.random() < 0.3:
            return chance.choice([list, tuple])(chance.choices(results, k=chance.randrange(1, 4)))
        return [value() for _ in range(chance.randrange(3))] if chance.random() < 0.1 else chance.choice(SCALARS)

    electron = chance.choice(ELECTRONS)
    if electron.fn is default:
        return electron, (value(),), {name: value() for name in chance.sample("yz", chance.randrange(3))}
    if electron.fn is stars:
        given = tuple(value() for _ in range(80 if chance.random() < 0.1 else chance.randrange(2, 4)))
        return electron, given, {name: value() for name in chance.sample("ecd", chance.randrange(3))}
    return electron, (value(),), {"y": value()} if chance.random() < 0.3 else {}


def traced(seed: int) -> tuple[Graph, list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    made: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def flow() -> None:
        chance, results = random.Random(seed), list[Any]()
        while len(made) < 150:
            electron, args, kwargs = calls_of(chance, results)
            if electron.fn is plain and not kwargs:
                args = (*args, chance.choice(SCALARS))
            results.append(electron(*args, **kwargs))
            made.append((args, kwargs))

    return trace(ct.lattice(flow), (), {}, Recorder(open_store(None)), {}), made


def in_words(given: Any) -> str:
    """What was given, results by the number of their node."""
    if isinstance(given, (list, tuple)) and holds_handle(given):
        return f"{type(given).__name__}[{', '.join(map(in_words, given))}]"
    return f"node {given._cas_node}" if type(given).__name__ == "Handle" else repr(given)


def told(binding: Any, parents: Any) -> str:
    if isinstance(binding, Items):
        return f"{binding.kind}[{', '.join(told(item, parents) for item in binding.items)}]"
    if isinstance(binding, Ref):
        return f"node {parents[binding.slot]}"
    return repr(codec.decode(binding.encoded))


def test_each_call_is_recorded_as_it_was_made() -> None:
    for seed in range(8):
        graph, made = traced(seed)
        lines, parts = templates.lines_of(graph.templates), graph.template_keys()
        for node, (args, kwargs) in enumerate(made):
            at, template = graph.template_of[node], graph.template(node)
            assert template_dumps(template) == lines[at]
            assert json.loads(lines[at]) == bindings.template_to_json(template)
            left_out = template.usual.union(graph.row_of(node).ignore)
            assert template.digest == template_digest(template.params, leave_out=left_out)
            assert parts[at] == (template.digest, template.slots, template.key_slots)
            large = [const for _, b in template.params for const in consts_in(b) if const.blob is not None]
            if large:
                continue  # not in the store yet
            given, named = call_arguments(template)
            parents = graph.parents_of(node)
            assert [told(one, parents) for one in given] == [in_words(one) for one in args]
            assert {name: told(one, parents) for name, one in named.items()} == {
                name: in_words(one) for name, one in kwargs.items()
            }


def test_equal_draws_are_numbered_whatever_they_are_given() -> None:
    draws = ELECTRONS[2]

    def flow() -> list[Any]:
        return [draws(x, y) for x, y in [(math.nan, 1), (math.nan, True), (0.0, 1), (-0.0, 1)] * 2]

    graph = trace(ct.lattice(flow), (), {}, Recorder(open_store(None)), {})
    assert list(graph.ordinal_of) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert len(set(graph.template_of)) == 4


def test_what_one_takes_by_name_another_need_not() -> None:
    def positional(x: Any, y: Any, /) -> None: ...

    by_position: Any = ct.electron(positional)

    def flow() -> None:
        ELECTRONS[0](x=1, y=2)
        with pytest.raises(BindError):
            by_position(x=1, y=2)

    graph = trace(ct.lattice(flow), (), {}, Recorder(open_store(None)), {})
    assert len(graph) == 1


def test_calls_in_a_loop_are_bound_once_and_make_no_object_each() -> None:
    asked: list[object] = []

    class Counted(Recorder):
        def const(self, value: object) -> Const:
            asked.append(value)
            return super().const(value)

    def flow() -> Any:
        result = ELECTRONS[4](0)
        for number in range(1000):
            result = ELECTRONS[4](result, y=number + 2, z="t")
        return result

    graph = trace(ct.lattice(flow), (), {}, Counted(open_store(None)), {})
    assert (len(graph), len(graph.templates), asked) == (1001, 1001, [])
    assert isinstance(graph.templates, templates.Growing)
    assert not graph.templates._made
