"""The shapes that are measured: programs of electrons that any engine with calls can run, and as parents of each node.

A shape is made for whatever decorator a contender brings. All of a size give the same value, whoever runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Task = Callable[[Callable[..., Any]], Callable[..., Any]]
Main = Callable[[int], Any]

WIDTH = 50  # of a layer, and of the grid


def step(number: int, values: list[int]) -> int:
    """Trivial on purpose: what is measured is what is around it."""
    return (number + sum(values)) % 1_000_003


def chain_parents(size: int) -> list[Sequence[int]]:
    return [range(max(0, number - 1), number) for number in range(size)]


def fan_parents(size: int) -> list[Sequence[int]]:
    """One node that all read, and one that reads them all."""
    return [(), *([(0,)] * (size - 2)), range(1, size - 1)]


def layered_parents(size: int) -> list[Sequence[int]]:
    """Each reads three of the layer above, the last all of the last layer."""
    parents: list[Sequence[int]] = []
    for number in range(size - 1):
        row, column = divmod(number, WIDTH)
        above = (row - 1) * WIDTH
        parents.append([above + (column + by) % WIDTH for by in (0, 1, 7)] if row else ())
    return [*parents, range(max(0, size - 1 - WIDTH), size - 1)]


def grid_parents(size: int) -> list[Sequence[int]]:
    """Diamonds: each reads its neighbours above and to the left; the last also the end of the row above."""
    parents: list[Sequence[int]] = []
    for number in range(size):
        above, left = number - WIDTH, number - 1
        row = number - number % WIDTH
        ends = [row - 1] if row and number == size - 1 and (number + 1) % WIDTH else []
        parents.append([each for each, there in ((above, True), (left, number % WIDTH)) if there and each >= 0] + ends)
    return parents


PARENTS: dict[str, Callable[[int], list[Sequence[int]]]] = {
    "chain": chain_parents,
    "fan": fan_parents,
    "layered": layered_parents,
    "grid": grid_parents,
}


def program(shape: str, task: Task) -> Main:
    """The shape as a lattice: a function that calls tasks, the arguments of which are what earlier ones gave."""
    if shape == "sweep":
        return sweep(task)
    parents_of, do = PARENTS[shape], task(step)

    def main(size: int) -> Any:
        values: list[Any] = []
        for number, parents in enumerate(parents_of(size)):
            values.append(do(number, [values[parent] for parent in parents]))
        return values[-1]

    return main


def load() -> Any:
    from sklearn.datasets import load_breast_cancer

    return load_breast_cancer(return_X_y=True)


def split(table: Any) -> Any:
    from sklearn.model_selection import train_test_split

    features, labels = table
    return train_test_split(features, labels, test_size=0.3, random_state=0, stratify=labels)


def scale(parts: Any) -> Any:
    from sklearn.preprocessing import StandardScaler

    known, test, known_labels, test_labels = parts
    scaler = StandardScaler().fit(known)
    return scaler.transform(known), scaler.transform(test), known_labels, test_labels


def train(parts: Any, penalty: float, gamma: float) -> Any:
    from sklearn.svm import SVC

    known, _, labels, _ = parts
    return SVC(C=penalty, gamma=gamma / known.shape[1]).fit(known, labels)


def accuracy(model: Any, parts: Any) -> float:
    _, test, _, labels = parts
    return float((model.predict(test) == labels).mean())


def best(scores: list[float]) -> float:
    return max(scores)


def sweep(task: Task) -> Main:
    """The support vector machine of examples/svm.py over a grid of its parameters: real work, arrays and models."""
    loads, splits, scales, trains, scores, chooses = [task(fn) for fn in (load, split, scale, train, accuracy, best)]

    def main(size: int) -> Any:
        parts = scales(splits(loads()))
        found = []
        for number in range((size - 4) // 2):
            model = trains(parts, 1.5 ** (number // 8 - 4), 0.1 * (number % 8 + 1))
            found.append(scores(model, parts))
        return chooses(found)

    return main
