"""Finds what the names in `replace_electrons` mean, and binds what stands in to the recorded calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.answers import load_manifest
from cas_engine.bookkeeping.kept import outcomes_of
from cas_engine.bookkeeping.known import Known
from cas_engine.bookkeeping.ledger import Entry
from cas_engine.errors import AmbiguousElectron, BadOption, UnknownDispatch, UnknownElectron
from cas_engine.graphs.graph import Graph, Row, in_force
from cas_engine.graphs.substitution import DefaultOf, substitute
from cas_engine.plans.manifest import Manifest
from cas_engine.plans.outcome import NodeOutcome
from cas_engine.plans.outcomes import having_extras
from cas_engine.plans.policy import names_of, nearest
from cas_engine.preparing.recorder import Recorder
from cas_store.errors import BlobDamaged, BlobMissing
from cas_store.store import Store

if TYPE_CHECKING:
    from cas_engine.graphs.electron import Electron


def replacements(
    recorder: Recorder,
    before: Manifest,
    wanted: Mapping[str, Callable[..., Any] | Known],
    *,
    traced_again: bool = False,
) -> list[tuple[Row, Electron[..., Any]]]:
    """The electrons that stand in, as rows of the slots that they fill.

    Where the lattice is going to be `traced_again`, it may come to call what it did not call before: then
    `check_called` has the last word on a name. Raises UnknownElectron, AmbiguousElectron, BadOption.
    """
    if not isinstance(wanted, Mapping):
        raise BadOption(
            f"replace_electrons={wanted!r} is not a mapping\n"
            '  -> give names and functions: {"compute_accuracy": compute_recall}'
        )
    rows = [*before.graph.rows, *before.replaced]
    known = names_of(rows)
    possible = {r.name for r in before.lattice.reaches} if traced_again else set()
    made = []
    for name, fn in wanted.items():
        if not isinstance(name, str):
            raise BadOption(f"replace_electrons: {name!r} is not the name of an electron\n  -> give names as texts")
        if name not in known | possible:
            raise UnknownElectron(name, nearest(name, known), sorted(known))
        slot = _slot_of(name, before)
        if isinstance(fn, Known):
            made.append((replace(fn.row, slot=slot), _recorded(recorder, fn.row)))
            continue
        if not callable(fn):
            raise BadOption(
                f"replace_electrons: what is given for `{name}` is of type {type(fn).__name__}\n  -> give a function"
            )
        from cas_engine.graphs.electron import Electron, as_electron

        electron = as_electron(fn)
        row = replace(recorder.row(electron), slot=slot)
        old = [r for r in rows if r.slot == slot]
        if not isinstance(fn, Electron) and any(r.stochastic and not r.is_lattice for r in old):
            # A plain function says nothing of itself; what stands in for a sample is one until told otherwise.
            row = replace(row, stochastic=True)
        made.append((row, electron))
    return made


def _recorded(recorder: Recorder, row: Row) -> Electron[..., Any]:
    """The electron of a row, loaded: the row says what it is, and this what its defaults are."""
    from cas_engine.capsules import capsule
    from cas_engine.graphs.electron import as_electron

    return as_electron(capsule.load(recorder.store.get_blob(row.capsule)))


def restored(
    recorder: Recorder, parent: Entry, before: Manifest, new: Sequence[tuple[Row, Electron[..., Any]]]
) -> set[str]:
    """The slots that are given what the lattice itself calls there: nothing is replaced in them any more."""
    found = set()
    for row, electron in new:
        recorded = {r.code for r in before.lattice.reaches if r.name == row.slot}
        # As it is where something reaches it: what it only looks up while it runs is in the code of the row.
        given = {code for name, code, _ in recorder.session.of(electron).electrons if name == row.slot}
        if recorded == given and row.name == row.slot:
            original = _original(recorder.store, parent, before, row.slot)
            # Run in another way, as with retries, it is still a replacement.
            if original is not None and replace(row, capsule=original.capsule) == original:
                found.add(row.slot)
    return found


def _original(store: Store, parent: Entry, manifest: Manifest, slot: str) -> Row | None:
    """The row of what the lattice itself calls in a slot, from the nearest dispatch in which nothing stood in there."""
    while any(row.slot == slot for row in manifest.replaced):
        if not parent.parent:
            return None
        try:
            parent = ledger.get(store, parent.parent)
            manifest = load_manifest(store, parent)
        except (UnknownDispatch, BlobMissing, BlobDamaged):
            return None  # removed since
    return next((row for row in manifest.graph.rows if row.slot == slot), None)


def check_called(new: Sequence[tuple[Row, Electron[..., Any]]], before: Manifest, graph: Graph) -> None:
    """Raise UnknownElectron for a replacement of what neither the recorded graph nor the one traced now calls."""
    known = names_of([*before.graph.rows, *before.replaced, *graph.rows])
    for row, _ in new:
        if row.slot not in known:
            raise UnknownElectron(row.slot, nearest(row.slot, known), sorted(known))


def bind_inside(
    store: Store, graph: Graph, nodes: Sequence[NodeOutcome], new: Mapping[str, Row], default_of: DefaultOf
) -> None:
    """Bind the calls recorded in sublattices too. Raises BindError."""
    if not any(row.is_lattice for row in graph.rows):
        return
    for node in having_extras(nodes):
        row, one = graph.row_of(node), nodes[node]
        if not row.is_lattice or "dispatch" not in one.extra or not in_force(row, new.values()):
            continue
        try:
            entry = ledger.get(store, one.extra["dispatch"])
            inside = load_manifest(store, entry).graph
            inner = outcomes_of(store, entry)
        except (UnknownDispatch, BlobMissing, BlobDamaged):
            continue  # removed since: what does not bind will fail where it is called
        substitute(inside, new, default_of)
        bind_inside(store, inside, inner, new, default_of)


def _slot_of(name: str, before: Manifest) -> str:
    """The name by which the lattice calls it; a replacement may also be named by its own. Raises AmbiguousElectron."""
    rows = [*before.graph.rows, *before.replaced]
    called = {row.code for row in before.graph.rows if row.slot == name}
    if len(called) > 1:
        places = [f"node {label}" for label in _labels_of(before.graph, name)]
        raise AmbiguousElectron(name, places)
    reached = {r.code for row in rows if row.is_lattice for r in row.reaches if r.name == name}
    if not any(row.slot == name for row in before.replaced):
        # What the lattice itself calls by this name counts too, where a sublattice reaches one.
        everywhere = reached | {r.code for r in before.lattice.reaches if reached and r.name == name}
        if len(everywhere) > 1:
            raise AmbiguousElectron(name, ["the lattice", "a sublattice"] if called else ["sublattices"])
    if called or reached:
        return name
    slots = {row.slot for row in rows if row.name == name}
    if len(slots) > 1:
        raise AmbiguousElectron(name, [f"it stands in for {slot}" for slot in sorted(slots)])
    return slots.pop() if slots else name


def _labels_of(graph: Graph, slot: str) -> list[str]:
    return [label for i, label in enumerate(graph.labels()) if graph.row_of(i).slot == slot][:4]
