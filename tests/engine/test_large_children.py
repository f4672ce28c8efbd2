"""A child of a large dispatch is its parent with what changed: it says the same as if all of it were written anew."""

from __future__ import annotations

import random
import shutil
from array import array
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.test_excerpts import CHANGES, a, a_other, a_same, again, b, c, counts, fits, told

import cas_run as ct
from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.answers import load_manifest
from cas_engine.bookkeeping.location import open_store
from cas_engine.graphs import index
from cas_engine.graphs.columns import Patched, copied, patched
from cas_engine.inspecting.doctor import doctor
from cas_engine.plans import manifest as manifests
from cas_engine.plans.policy import REUSE
from cas_engine.preparing.preparation import Prepared, prepare_again
from cas_store import Store
from cas_store.errors import BundleError
from cas_store.writes import PutBlob

MANY = 1200  # calls: their columns and outcomes take more than a row of the store holds


@ct.lattice
def wide(shape: list[tuple[str, list[int], int]]) -> Any:
    """Many calls of its own beside a graph that changes reach."""
    beside = [b(i) for i in range(MANY)]
    made: list[Any] = []
    by_name = {"a": a, "b": b, "c": c}
    for kind, above, constant in shape:
        made.append(by_name[kind](constant, *(made[i % len(made)] for i in above if made)))
    return [*made[-2:], beside[0]]


SHAPES = st.lists(
    st.tuples(st.sampled_from("ac"), st.lists(st.integers(0, 30), max_size=3), st.integers(0, 2)),
    min_size=2,
    max_size=14,
)
ONLY_FEW = [(new, forced) for new, forced in CHANGES if "b" not in new and forced != ["b"]]


@settings(max_examples=6, deadline=None)
@given(SHAPES, st.lists(st.sampled_from(ONLY_FEW), min_size=2, max_size=4))
def test_chains_of_replacements_come_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, shape: Any, changes: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("stores")
    x, y = folder / "x", folder / "y"
    here = there = ct.dispatch_sync(wide, store=x, executor="inline")(shape).dispatch_id
    shutil.copytree(x, y)
    for one in changes:
        if not fits(one, shape):
            continue
        part, all_of_it = again(x, here, one), again(y, there, one, whole=True)
        assert told(part) == told(all_of_it)
        assert counts(part) == counts(all_of_it)
        assert part.saved_s == pytest.approx(sum(node.saved_s for node in part.nodes))
        here, there = part.dispatch_id, all_of_it.dispatch_id


def made(constant: int) -> Any:
    """One that takes its calls in another way than the one before."""
    if constant % 2:
        return lambda first=0, *parts: (first + sum(parts)) * constant
    return lambda *parts: sum(parts) * constant


SHAPE = [("a", [], 1), ("c", [0], 0), ("c", [0, 1], 0), ("a", [2], 1)]


def blobs_of(store: Store, dispatch_id: str) -> set[bytes]:
    entry = ledger.get(store, dispatch_id)
    return store.made_of(map(bytes.fromhex, (entry.manifest, entry.outcome)))


def test_a_child_writes_what_changed_and_shares_the_rest(tmp_path: Path) -> None:
    parent = ct.dispatch_sync(wide, store=tmp_path, executor="inline")(SHAPE).dispatch_id
    store = open_store(tmp_path)
    known = blobs_of(store, parent)
    for one in (a_same, a_other):
        child = again(tmp_path, parent, {"a": one}).dispatch_id
        sizes = dict(store.blob_sizes())
        new = blobs_of(store, child) - known
        assert len(new) == 4  # what says that it is in parts, and a head: of a manifest, of an outcome
        assert sum(sizes[blob] for blob in new) < 10_000
        known |= new
        parent = child


def test_a_child_outlives_its_parent(tmp_path: Path) -> None:
    parent = ct.dispatch_sync(wide, store=tmp_path, executor="inline")(SHAPE).dispatch_id
    child = again(tmp_path, parent, {"a": a_other})
    before = told(child)
    ct.remove(parent, store=tmp_path)
    ct.gc(store=tmp_path)
    assert told(ct.get_result(child.dispatch_id, store=tmp_path)) == before
    assert doctor(store=tmp_path).findings == ()
    grandchild = again(tmp_path, child.dispatch_id, {"a": a_same})
    assert (grandchild.status, grandchild.hits + grandchild.ran) == ("COMPLETED", MANY + len(SHAPE))
    ct.remove(child.dispatch_id, store=tmp_path)
    ct.remove(grandchild.dispatch_id, store=tmp_path)
    ct.gc(store=tmp_path)
    assert [size for _, size in open_store(tmp_path).blob_sizes() if size > 65_536] == []


def test_a_child_takes_its_parents_parts_along_to_another_store(tmp_path: Path) -> None:
    parent = ct.dispatch_sync(wide, store=tmp_path / "x", executor="inline")(SHAPE).dispatch_id
    child = again(tmp_path / "x", parent, {"a": a_other})
    bundle = tmp_path / "child.bundle"
    ct.export_dispatches([child.dispatch_id], bundle, store=tmp_path / "x")
    ct.import_bundle(bundle, store=tmp_path / "y", trust=True)
    assert told(ct.get_result(child.dispatch_id, store=tmp_path / "y")) == told(child)
    again_there = again(tmp_path / "y", child.dispatch_id, {"c": a_same})
    assert again_there.hits == MANY + 1


def test_what_a_child_says_of_its_graph_is_what_was_asked_for(tmp_path: Path) -> None:
    parent = ct.dispatch_sync(wide, store=tmp_path, executor="inline")(SHAPE).dispatch_id
    store = open_store(tmp_path)

    def swapped(first: int = 0, *parts: int) -> int:
        return first + len(parts)

    prepared = prepare_again(store, ledger.get(store, parent), {"a": swapped}, REUSE, (), {})
    assert isinstance(prepared, Prepared)
    asked = prepared.manifest
    pieces, parts, _ = manifests.dumps(asked)
    read = manifests.loads([b"".join(pieces), *parts])
    assert isinstance(asked.graph.template_of, Patched)
    for name in ("electron_of", "ordinal_of", "first_parent", "parents"):
        assert list(getattr(read.graph, name)) == list(getattr(asked.graph, name))
    nodes = range(len(asked.graph))
    assert [read.graph.template(node) for node in nodes] == [asked.graph.template(node) for node in nodes]
    keys_read, keys_asked = read.graph.template_keys(), asked.graph.template_keys()
    assert [keys_read[at] for at in read.graph.template_of] == [keys_asked[at] for at in asked.graph.template_of]
    assert (read.graph.rows, read.graph.output, read.replaced) == (asked.graph.rows, asked.graph.output, asked.replaced)
    assert read.graph.labels() == asked.graph.labels() == read.graph.names_of(nodes)


def test_a_line_of_children_does_not_gather_what_their_parents_called(tmp_path: Path) -> None:
    here = ct.dispatch_sync(wide, store=tmp_path, executor="inline")(SHAPE).dispatch_id
    store = open_store(tmp_path)
    for constant in range(4):
        one = made(constant)
        here = again(tmp_path, here, {"a": one}).dispatch_id
    graph = load_manifest(store, ledger.get(store, here)).graph
    assert len(graph.templates) - len(set(graph.template_of)) <= 2


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.dictionaries(st.integers(0, 39), st.integers(10, 19)))
def test_a_patched_column_is_what_a_changed_copy_is(entries: list[int], changes: dict[int, int]) -> None:
    changes = {at: entry for at, entry in changes.items() if at < len(entries)}
    plain, column = list(entries), patched(memoryview(array("I", entries)), changes)
    for at, entry in changes.items():
        plain[at] = entry
    assert (list(column), len(column), list(copied(column))) == (plain, len(plain), plain)
    assert [column[i] for i in range(-len(plain), len(plain))] == plain + plain
    assert all(list(column[i:j]) == plain[i:j] for i in range(len(plain)) for j in (i, i + 3))
    assert list(patched(column, {0: 99})) == [99, *plain[1:]]


@pytest.mark.parametrize("seed", range(20))
def test_an_index_finds_what_a_walk_finds(seed: int) -> None:
    chance, count, electrons = random.Random(seed), 40, 3
    above = [[chance.randrange(node) for _ in range(chance.randrange(4))] if node else [] for node in range(count)]
    first = [sum(map(len, above[:node])) for node in range(count + 1)]
    electron_of = [chance.randrange(electrons) for _ in range(count)]
    found = index.Index(electrons, array("I", electron_of), array("I", first), array("I", chain(*above)))
    for node in range(count):
        below = [child for child in range(count) for parent in above[child] if parent == node]
        assert list(found.children_of(node)) == below
    for at in range(electrons):
        calls = [node for node in range(count) if electron_of[node] == at]
        assert list(found.calls_of(at)) == calls
        assert [found.calls_before(at, node) for node in calls] == list(range(len(calls)))


def test_a_bundle_whose_index_is_of_another_graph_is_refused(tmp_path: Path) -> None:
    """Else a change would not reach what hangs on it."""
    done = ct.dispatch_sync(wide, store=tmp_path / "x", executor="inline")(SHAPE).dispatch_id
    store = open_store(tmp_path / "x")
    entry = ledger.get(store, done)
    pieces = store.get_pieces(bytes.fromhex(entry.manifest))
    graph = load_manifest(store, entry).graph
    at = bytes(pieces[1]).index(copied(graph.index.children).tobytes())
    wrong = bytearray(pieces[1])
    wrong[at : at + 4] = (MANY + 3).to_bytes(4, "little")
    blob = store.prepare([pieces[0]], [bytes(wrong), pieces[2]])
    store.commit([PutBlob(blob), *ledger.put(replace(entry, manifest=blob.digest.hex()))])
    bundle = tmp_path / "odd.bundle"
    ct.export_dispatches([done], bundle, store=tmp_path / "x")
    with pytest.raises(BundleError, match="index is of another graph"):
        ct.import_bundle(bundle, store=tmp_path / "y", trust=True)
