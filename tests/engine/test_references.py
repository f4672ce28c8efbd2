"""What a dispatch names: what nothing can bring back, apart from what could be computed again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cas_run as ct
from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.references import named_by
from cas_engine.graphs.bindings import consts_in
from cas_store import Store

if TYPE_CHECKING:
    from collections.abc import Callable


@ct.electron
def grow(x: list[int]) -> list[int]:
    return [n + 1 for n in x]


@ct.electron(stochastic=True)
def draw(x: list[int]) -> float:
    return float(sum(x))


@ct.lattice
def inner(x: list[int]) -> float:
    return draw(grow(x))


nested = ct.electron(inner)


@ct.lattice
def outer(x: list[int]) -> tuple[float, list[int]]:
    return nested(x), grow(x)


@dataclass
class Pair:
    first: Any
    second: Any


@ct.electron
def first_of(x: Any, b: Any = None) -> Any:
    return x


BIG = [list(range(start, start + 2000)) for start in range(5)]


@ct.lattice
def with_constants() -> Any:
    node = first_of({"k": 1})
    first_of('["b", "a text"]', b="b")
    first_of(BIG[0], b=["b"])
    first_of([node, BIG[1], "small"])
    first_of({"deep": (node, {"er": BIG[2]})})
    first_of(Pair(node, BIG[3]))
    return first_of(node["k"], b=BIG[4])


def test_constants_that_are_blobs_are_found_wherever_they_stand(mark: Callable[[str], None]) -> None:
    done = ct.dispatch_sync(with_constants)()
    store = Store.open(os.environ["CAS_RUN_STORE"])
    named = named_by(store, ledger.get(store, done.dispatch_id))
    bindings = [binding for template in done.manifest.graph.templates for _, binding in template.params]
    found = {const.blob for binding in bindings for const in consts_in(binding)} - {None}
    assert len(found) >= len(BIG)
    assert found <= named.inputs


def test_inputs_code_manifest_outcome_and_samples_last_and_results_need_not(mark: Callable[[str], None]) -> None:
    done = ct.dispatch_sync(outer)(list(range(2000)))
    store = Store.open(os.environ["CAS_RUN_STORE"])
    entry = ledger.get(store, done.dispatch_id)
    named = named_by(store, entry)
    assert {bytes.fromhex(entry.manifest), bytes.fromhex(entry.outcome)} <= named.lasting
    assert {row.capsule for row in done.manifest.graph.rows} <= named.lasting
    blob_of = {node.key: node.blob for node in named.results}
    assert blob_of[bytes.fromhex(done.node("inner").key)] in named.lasting  # it has drawn
    assert blob_of[bytes.fromhex(done.node("grow").key)] not in named.lasting
    assert named.inner == (done.node("inner").dispatch,)
    assert store.find_missing(named.blobs()) == set()
