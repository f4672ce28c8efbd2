"""Workflows that tests of several files dispatch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import cas_run as ct

Mark = Callable[[str], None]


@pytest.fixture
def svm(mark: Mark) -> Any:
    """load → split → train(C, gamma) → accuracy, as users write it; `scale` occurs twice."""

    @ct.electron
    def load() -> list[int]:
        mark("load")
        return [1, 2, 3, 4]

    @ct.electron
    def split(data: list[int], at: int = 2) -> tuple[list[int], list[int]]:
        mark("split")
        return data[:at], data[at:]

    @ct.electron
    def scale(data: list[int]) -> list[int]:
        mark("scale")
        return [10 * x for x in data]

    @ct.electron
    def train(data: list[int], C: float, gamma: float) -> float:
        mark("train")
        return sum(data) * C + gamma

    @ct.electron
    def accuracy(model: float, test: list[int]) -> float:
        mark("accuracy")
        return model - sum(test)

    @ct.lattice
    def svm(C: float = 1.0, gamma: float = 0.5) -> float:
        first, second = split(load())
        return accuracy(train(scale(first), C, gamma), scale(second))

    return svm


@pytest.fixture
def search(mark: Mark) -> Any:
    """load → crunch, a sublattice with as many nodes as the data say, → best."""

    @ct.electron
    def load(n: int) -> list[int]:
        mark("load")
        return list(range(n))

    @ct.electron
    def fit(x: int, power: int) -> int:
        mark(f"fit{x}")
        return x**power  # type: ignore[no-any-return]

    @ct.electron
    def collect(fits: list[int]) -> int:
        mark("collect")
        return sum(fits)

    @ct.electron
    @ct.lattice
    def crunch(data: list[int], power: int) -> Any:
        mark("crunch")
        return collect([fit(x, power) for x in data if x > 0])

    @ct.electron
    def best(value: int) -> int:
        mark("best")
        return -value

    @ct.lattice
    def search(n: int = 3, power: int = 1) -> Any:
        return best(crunch(load(n), power))

    return search
