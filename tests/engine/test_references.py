"""What a dispatch names: what nothing can bring back, apart from what could be computed again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import cas_run as ct
from cas_engine import ledger
from cas_engine.references import named_by
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
