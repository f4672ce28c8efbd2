"""Any callable may be an electron, is named as people call it, and is told apart from others."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from tests.engine.workflows import run

import cas_run as ct

Mark = Callable[[str], None]


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0


class Scaler:
    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, n: int) -> int:
        return n * self.by

    @ct.electron
    def method(self, n: int) -> int:
        return n * self.by

    @staticmethod
    @ct.electron
    def static(n: int) -> int:
        return n + 100

    @classmethod
    def made(cls, n: int) -> Scaler:
        return cls(n)


def scale(n: int, by: int) -> int:
    return n * by


def test_any_callable_may_be_an_electron(mark: Mark) -> None:
    import math

    import numpy as np

    svd = ct.electron(np.linalg.svd)
    norm = ct.electron(np.linalg.norm, name="length")
    triple = ct.electron(functools.partial(scale, by=3))
    instance = ct.electron(Scaler(5))
    bound = ct.electron(Scaler(6).__call__, name="bound")
    made = ct.electron(Scaler.made)
    cls = ct.electron(Point)
    shout = ct.electron(str.upper)
    root = ct.electron(math.sqrt)
    maximum = ct.electron(max)
    add = ct.electron(np.add)
    nothing = ct.electron(lambda n: n - 1, name="less")

    def flow() -> Any:
        u, s, v = (svd(np.diag([3.0, 2.0]))[i] for i in range(3))
        return {
            "s": s,
            "norm": norm([3.0, 4.0]),
            "rest": [triple(2), instance(2), bound(2), made(7).by, cls(1, y=2), shout("a"), root(16), maximum(1, 2)],
            "add": add(1, 2),
            "less": nothing(1),
            "methods": [Scaler(2).method(4), Scaler.static(1)],
            "shape": [u.shape, v.shape],
        }

    got = run(flow)
    assert [float(x) for x in got["s"]] == [3.0, 2.0]
    assert got["norm"] == 5.0
    assert got["rest"] == [6, 10, 12, 7, Point(1, 2), "A", 4.0, 2]
    assert (got["add"], got["less"]) == (3, 0)
    assert got["methods"] == [8, 101]
    assert got["shape"] == [(2, 2), (2, 2)]


def test_callables_are_named_as_people_call_them(mark: Mark) -> None:
    import numpy as np

    names: dict[str, ct.Electron[..., Any]] = {
        "svd": ct.electron(np.linalg.svd),
        "scale": ct.electron(functools.partial(scale, by=3)),
        "Scaler": ct.electron(Scaler(5)),
        "Point": ct.electron(Point),
        "given": ct.electron(scale, name="given"),
    }
    assert {name: electron.name for name, electron in names.items()} == {name: name for name in names}


def test_another_state_of_a_callable_instance_is_another_electron(mark: Mark) -> None:
    def with_scale(by: int) -> Any:
        scaler, part = ct.electron(Scaler(by)), ct.electron(functools.partial(scale, by=by))

        def flow() -> Any:
            return [scaler(2), part(2)]

        return run(flow)

    assert [with_scale(2), with_scale(3), with_scale(2)] == [[4, 4], [6, 6], [4, 4]]


def test_two_lambdas_of_one_name_are_two_electrons(mark: Mark) -> None:
    up, down = ct.electron(lambda n: n + 1), ct.electron(lambda n: n - 1)

    def flow() -> Any:
        return [up(1), down(1)]

    assert run(flow) == [2, 0]
