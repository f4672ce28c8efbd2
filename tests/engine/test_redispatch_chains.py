"""Chains of redispatches, made up at random, give what plain Python gives, and run no call whose result is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

import cas_run as ct

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


@pytest.fixture
def workflow(mark: Mark) -> tuple[Any, dict[str, list[tuple[Any, Any]]]]:
    """(a lattice, for each electron what may stand in for it, itself first, each with what plain Python runs)."""

    @ct.electron
    def a(x: int, k: int = 1) -> int:
        mark(f"a:{x}:{k}")
        return x + k

    @ct.electron
    def b(x: int, *, m: int = 2) -> int:
        mark(f"b:{x}:{m}")
        return x * m

    @ct.electron
    @ct.lattice
    def inner(x: int) -> Any:
        return b(a(x), m=3)

    @ct.electron
    @ct.lattice
    def outer(x: int) -> Any:
        return a(inner(x), k=1)

    @ct.lattice
    def flow(n: int, times: int = 1) -> Any:
        # Which electrons are called, and how often, hangs on the inputs.
        found = [a(n), b(a(n)), outer(n)]
        if n > 3:
            found.append(inner(b(n)))
        return found + [inner(i) for i in range(times)]

    def other_default(x: int, k: int = 5) -> int:
        mark(f"other_default:{x}:{k}")
        return x + 10 * k

    def stars(*xs: int, **named: int) -> int:
        mark(f"stars:{xs}:{named}".replace(" ", ""))
        return sum(xs) + 7 * len(named)

    @ct.electron(version=2, ignore=["m"])
    def careless(x: int, m: int = 0) -> int:
        mark(f"careless:{x}")
        return x - 1

    @ct.electron
    @ct.lattice
    def turned(x: int) -> Any:
        return a(b(x))

    def plain_stars(_: object, *xs: int, **named: int) -> int:
        return sum(xs) + 7 * len(named)

    return flow, {
        "a": [
            (a, lambda _, x, k=1: x + k),
            (other_default, lambda _, x, k=5: x + 10 * k),
            (stars, plain_stars),
        ],
        "b": [
            (b, lambda _, x, m=2: x * m),
            (careless, lambda _, x, **__: x - 1),
            (stars, plain_stars),
        ],
        "inner": [(inner, lambda f, x: f["b"](f["a"](x), m=3)), (turned, lambda f, x: f["a"](f["b"](x)))],
        "outer": [(outer, lambda f, x: f["a"](f["inner"](x), k=1)), (inner, lambda f, x: f["b"](f["a"](x), m=3))],
    }


def in_plain_python(standing: dict[str, Any], n: int, times: int) -> list[int]:
    """What the lattice means with these functions in it."""
    f: dict[str, Any] = {}
    f.update({name: (lambda *xs, _fn=fn, **named: _fn(f, *xs, **named)) for name, fn in standing.items()})
    found = [f["a"](n), f["b"](f["a"](n)), f["outer"](n)]
    if n > 3:
        found.append(f["inner"](f["b"](n)))
    return found + [f["inner"](i) for i in range(times)]


@pytest.mark.parametrize("seed", range(5))
def test_a_chain_gives_what_plain_python_gives_and_runs_nothing_twice(seed: int, workflow: Any, ran: Ran) -> None:
    flow, pool = workflow
    rng = random.Random(seed)
    itself = {name: choices[0][1] for name, choices in pool.items()}
    first = ct.dispatch_sync(flow)(1)
    ends: list[tuple[str, dict[str, Any], dict[str, int]]] = [(first.dispatch_id, itself, {"n": 1, "times": 1})]
    known = set(ran())
    for _ in range(7):
        parent, standing, inputs = rng.choice(ends[-3:])
        new = {name: rng.choice(choices) for name, choices in pool.items() if rng.random() < 0.3}
        given = {name: rng.randint(1, 5) for name in ("n", "times") if rng.random() < 0.4}
        forced = rng.choice([None, None, None, "all"])
        standing, inputs = standing | {name: plain for name, (_, plain) in new.items()}, inputs | given
        start = ct.redispatch(parent, {name: fn for name, (fn, _) in new.items()}, recompute=forced)
        child = ct.get_result(start(**given), wait=True)
        assert (child.error, child.result) == (None, in_plain_python(standing, **inputs))
        now = ran()
        assert forced or (not known.intersection(now) and len(now) == len(set(now)))
        known.update(now)
        ends.append((child.dispatch_id, standing, inputs))
