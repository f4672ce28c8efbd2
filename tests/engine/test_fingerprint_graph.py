"""Digests of graphs of code: the same wherever the walk begins, different for whatever reaches a difference."""

from __future__ import annotations

import random
import sys
import types
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from cas_engine.fingerprint import Fingerprinter
from cas_engine.fingerprint.graph import Node, settle
from cas_store.digest import digest_of


@dataclass(frozen=True)
class Graph:
    """Labels of nodes, and for each node the nodes that it reads, in order."""

    labels: tuple[int, ...]
    edges: tuple[tuple[int, ...], ...]

    def reaches(self, start: int) -> set[int]:
        row = [start]
        for each in row:
            row += [child for child in self.edges[each] if child not in row]
        return set(row)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    size = draw(st.integers(1, 7))
    labels = draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    children = st.lists(st.integers(0, size - 1), max_size=3)
    edges = draw(st.lists(children, min_size=size, max_size=size))
    return Graph(tuple(labels), tuple(map(tuple, edges)))


def digests(graph: Graph, order: list[int]) -> list[bytes]:
    """The digest of each node, asked for in this order in one session."""
    nodes = [Node(number, str(number)) for number in range(len(graph.labels))]

    def describe(node: Node) -> None:
        node.local = digest_of(str(graph.labels[node.obj]).encode())
        node.children = [nodes[child] for child in graph.edges[node.obj]]

    for number in order:
        settle(nodes[number], describe)
    return [node.digest for node in nodes]


def unfolded(graph: Graph, node: int, depth: int) -> object:
    """All that any walk of so many steps can tell of a node."""
    if depth == 0:
        return graph.labels[node]
    return graph.labels[node], [unfolded(graph, child, depth - 1) for child in graph.edges[node]]


@given(graphs(), st.randoms(use_true_random=False))
def test_it_does_not_matter_where_the_walk_begins(graph: Graph, chance: random.Random) -> None:
    order = list(range(len(graph.labels)))
    first = digests(graph, order)
    chance.shuffle(order)
    assert digests(graph, order) == first


@given(graphs(), st.randoms(use_true_random=False))
def test_it_does_not_matter_how_nodes_are_numbered(graph: Graph, chance: random.Random) -> None:
    names = list(range(len(graph.labels)))
    chance.shuffle(names)
    old = {new: number for number, new in enumerate(names)}
    renamed = Graph(
        tuple(graph.labels[old[new]] for new in range(len(names))),
        tuple(tuple(names[child] for child in graph.edges[old[new]]) for new in range(len(names))),
    )
    before, after = digests(graph, list(range(len(names)))), digests(renamed, list(range(len(names))))
    assert [after[names[number]] for number in range(len(names))] == before


@given(graphs(), st.data())
def test_a_changed_label_reaches_whatever_reaches_it(graph: Graph, data: st.DataObject) -> None:
    changed = data.draw(st.integers(0, len(graph.labels) - 1))
    labels = tuple(label + 10 if number == changed else label for number, label in enumerate(graph.labels))
    order = list(range(len(labels)))
    before, after = digests(graph, order), digests(Graph(labels, graph.edges), order)
    for number in order:
        assert (before[number] != after[number]) == (changed in graph.reaches(number))


@given(graphs(), graphs())
@settings(max_examples=300)
def test_what_a_walk_can_tell_apart_has_two_digests(one: Graph, two: Graph) -> None:
    # In two graphs of at most 7 nodes each, 13 steps tell all that can be told.
    first, second = digests(one, [0])[0], digests(two, [0])[0]
    if first == second:
        assert all(unfolded(one, 0, depth) == unfolded(two, 0, depth) for depth in range(6))


# --- programs


@dataclass(frozen=True)
class Program:
    """Functions with a constant each, in a few modules; each reads others in one of several ways."""

    constants: tuple[int, ...]
    modules: tuple[int, ...]
    reads: tuple[tuple[tuple[int, int], ...], ...]  # for each function: (which it reads, how)

    def sources(self, prefix: str) -> dict[str, str]:
        texts: dict[str, list[str]] = {}
        for number, module in enumerate(self.modules):
            lines = texts.setdefault(
                f"{prefix}{module}", [f"import {prefix}{each} as m{each}" for each in set(self.modules)]
            )
            body = [f"    y = x + {self.constants[number]}"]
            after: list[str] = []
            for at, (other, how) in enumerate(self.reads[number]):
                there, name = self.modules[other], f"t{number}_{at}"
                ways = {
                    0: [f"    y += m{there}.f{other}(y)"],
                    1: [f"    from {prefix}{there} import f{other} as g{at}", f"    y += g{at}(y)"],
                    2: [f"    y += sum(m{there}.f{other}(i) for i in range(y))"],
                    3: [f"    y += (lambda z: m{there}.C{other}().run(z))(y)"],
                    4: [f"    y += {name}['a'][0](y)"],
                    5: [f"    y += {name}(y)"],
                }
                body += ways[how]
                if how == 4:
                    after.append(f"{name} = {{'a': [lambda z: m{there}.f{other}(z), {at}]}}")
                if how == 5:
                    after.append(f"def {name}(z, f=lambda z: m{there}.f{other}(z)): return f(z)")
            lines += [f"def f{number}(x):", *body, "    return y"]
            lines += [f"class C{number}:", f"    def run(self, x): return f{number}(x)", *after]
        return {name: "\n".join(lines) for name, lines in texts.items()}

    def reaches(self, start: int) -> set[int]:
        row = [start]
        for each in row:
            row += [other for other, _ in self.reads[each] if other not in row]
        return set(row)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    size = draw(st.integers(1, 6))
    constants = draw(st.lists(st.integers(1, 3), min_size=size, max_size=size))
    modules = draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    read = st.tuples(st.integers(0, size - 1), st.integers(0, 5))
    reads = draw(st.lists(st.lists(read, max_size=3), min_size=size, max_size=size))
    return Program(tuple(constants), tuple(modules), tuple(map(tuple, reads)))


def fingerprints(program: Program, order: list[int]) -> list[bytes]:
    prefix = "generated_"
    sources = program.sources(prefix)
    modules = {name: types.ModuleType(name) for name in sources}
    sys.modules.update(modules)
    try:
        for name, module in modules.items():
            exec(compile(sources[name], f"/{name}.py", "exec", dont_inherit=True), vars(module))
        session = Fingerprinter()
        found = {
            number: session.of(getattr(modules[f"{prefix}{program.modules[number]}"], f"f{number}")).code
            for number in order
        }
        return [found[number] for number in range(len(order))]
    finally:
        for name in modules:
            del sys.modules[name]


@given(programs(), st.data())
@settings(max_examples=60, deadline=None)
def test_an_edit_of_a_generated_program_changes_what_reaches_it(program: Program, data: st.DataObject) -> None:
    edited = data.draw(st.integers(0, len(program.constants) - 1))
    constants = tuple(value + 10 * (number == edited) for number, value in enumerate(program.constants))
    order = list(range(len(constants)))
    before = fingerprints(program, order)
    after = fingerprints(Program(constants, program.modules, program.reads), order[::-1])
    for number in order:
        assert (before[number] != after[number]) == (edited in program.reaches(number))
