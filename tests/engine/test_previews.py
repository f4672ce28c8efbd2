"""What a result is like is told without unpickling it: it was written down beside it when it was made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import cas_run as ct
from cas_engine.bookkeeping.previews import PREFIX, told, told_of
from cas_store import Store
from cas_store.tables import Table


@dataclass
class Model:
    weights: list[float]

    @property
    def shape(self) -> tuple[int]:
        raise RuntimeError("no shape before it is fitted")


@ct.electron
def make(what: str) -> object:
    made: dict[str, object] = {
        "number": 1.5,
        "text": "é" * 3_000_001,
        "array": np.ones((1000, 20), np.float32),
        "rows": [{"a": 1, "b": [1.5, None]}] * 3,
        "pair": (1, "x"),
        "nan": [float("nan")],
        "long": list(range(100_000)),
        "model": Model([0.5]),
    }
    return made[what]


@ct.lattice
def making(what: str) -> object:
    return make(what)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("number", {"type": "float", "preview": "1.5", "value": 1.5}),
        ("array", {"type": "numpy.ndarray", "preview": "<ndarray 1000x20 float32>", "shape": [1000, 20]}),
        ("rows", {"type": "list", "value": [{"a": 1, "b": [1.5, None]}] * 3}),
        ("pair", {"type": "tuple", "preview": "(1, 'x')", "value": [1, "x"]}),
        ("nan", {"type": "list", "preview": "[nan]"}),
        ("long", {"type": "list", "preview": "<list of 100000>"}),
    ],
)
def test_a_result_tells_its_type_shape_and_small_value(store: Store, what: str, expected: dict[str, object]) -> None:
    result = ct.dispatch_sync(making, store=store)(what)
    found = told_of(store, result.nodes[0].blob)
    assert found is not None
    assert found | expected == found
    assert found.keys() - {"preview"} == expected.keys() - {"preview"}


def test_what_is_told_of_a_large_result_is_small(store: Store) -> None:
    result = ct.dispatch_sync(making, store=store)("text")
    found = told_of(store, result.nodes[0].blob)
    assert found is not None
    assert found["type"] == "str"
    assert len(json.dumps(found)) < 600


def test_an_object_that_cannot_be_looked_at_yet_is_told_of_all_the_same() -> None:
    assert json.loads(told(Model([0.5])))["type"].endswith("Model")


def test_what_is_told_stays_as_long_as_the_history_names_the_result(store: Store) -> None:
    result = ct.dispatch_sync(making, store=store)("pair")
    key = PREFIX + result.nodes[0].blob
    ct.gc(max_size="1", store=store)
    assert store.get(Table.META, key) is not None
    ct.remove(result.dispatch_id, store=store)
    ct.gc(max_size="1", store=store)
    ct.gc(store=store)
    assert store.get(Table.META, key) is None
