"""From what a user asks for to what can be planned and run: inputs bound, code fingerprinted, the graph traced.

Nothing is written and nothing runs before this has succeeded, so bad input loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cas_engine.bookkeeping.accepted import Accepted
from cas_engine.bookkeeping.answers import answer_again, answer_of, latest_of, load_manifest
from cas_engine.bookkeeping.explain import Baseline, Reasons
from cas_engine.bookkeeping.kept import Kept, outcomes_of, versions_of_absent
from cas_engine.bookkeeping.ledger import Entry, Status
from cas_engine.capsules.frames import Blob
from cas_engine.fingerprint.environment import version_of
from cas_engine.graphs.bindings import Const, Template
from cas_engine.graphs.graph import Graph, Row, counted
from cas_engine.graphs.substitution import graph_with_consts, substitute, with_consts
from cas_engine.plans import keys, outcome
from cas_engine.plans.manifest import Manifest
from cas_engine.plans.policy import REUSE, Policy, by_slot, check_names
from cas_engine.plans.records import Record
from cas_engine.preparing.inputs import bind_inputs, merged_inputs
from cas_engine.preparing.recorder import Recorder
from cas_engine.preparing.replacement import bind_inside, check_called, replacements, restored
from cas_engine.values import content_of
from cas_store.digest import Digest
from cas_store.store import Store

if TYPE_CHECKING:
    from cas_engine.graphs.lattice import Lattice


@dataclass(frozen=True, slots=True)
class Answered:
    """An earlier dispatch answers the whole: nothing has to be traced, looked up or run."""

    lattice: str
    lattice_key: Digest
    by: Entry
    inputs: Mapping[str, str]
    replaced: Mapping[str, str]
    parent: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A graph ready to be planned."""

    lattice_key: Digest
    manifest: Manifest
    policy: Policy
    kept: Mapping[Digest, Record] | None
    baseline: Baseline | None
    recorder: Recorder
    parent: str
    executors: Mapping[str, Any]
    effective: Accepted
    # Which of several equal calls this sublattice is, and those around it: each draws samples of its own.
    repetition: bytes = b""
    # Whether it is a complete dispatch with nothing new but electrons that stand in for its own, or run all the same.
    only_replaced: bool = False

    def prefixes(self) -> list[bytes]:
        """What the keys of each electron's nodes begin with, here and now."""
        replaced, rows = self.manifest.replaced, self.manifest.graph.rows
        drawn = {True: self.repetition if self.repetition.strip(b"/0") else b"", False: b""}
        return [keys.prefix_of(row, self.effective, replaced) + drawn[row.stochastic] for row in rows]

    def reasons(self, store: Store) -> Reasons:
        """Why nodes miss."""
        return Reasons(store, self.manifest.graph, self.baseline, packed=self.recorder.packed)

    def times(self) -> dict[int, float]:
        """The seconds that nodes took in the dispatch that this one compares with."""
        if self.baseline is None:
            return {}
        labels = self.baseline.labels
        done = (outcome.NodeStatus.HIT, outcome.NodeStatus.RAN)
        before = {
            counted(label): one.seconds
            for label, one in zip(labels, self.baseline.nodes, strict=False)
            if one.status in done
        }
        now = map(counted, self.manifest.graph.labels())
        return {node: before[label] for node, label in enumerate(now) if label in before}


def prepare(
    store: Store,
    lattice: Lattice[..., Any],
    args: Sequence[object],
    kwargs: Mapping[str, object],
    policy: Policy = REUSE,
) -> Prepared | Answered:
    """A lattice of this process with its inputs. Raises UsageError, Undigestible, Unstorable, CapsuleError."""
    from cas_engine.graphs.tracing import trace

    recorder, accepted = Recorder(store), Accepted(store)
    row = recorder.lattice_row(lattice)
    inputs, previews = bind_inputs(recorder, row, args, kwargs)
    key = keys.lattice_key(row, accepted, (), inputs.digest)
    by = answer_of(store, key) if policy.forces_nothing else None
    if by is not None:
        return Answered(lattice.name, key, by, dict(previews), {}, "")
    given = set(recorder.files)
    graph = trace(lattice, args, kwargs, recorder, {})
    return Prepared(
        lattice_key=key,
        manifest=Manifest(
            lattice=row,
            inputs=inputs,
            previews=previews,
            graph=graph,
            replaced=(),
            environment=environment_of(row, graph),
            files=tuple(recorder.files),
            names_files=recorder.files != given,
        ),
        policy=policy,
        kept=None,
        baseline=latest_of(store, lattice.name),
        recorder=recorder,
        parent="",
        executors=recorder.executors,
        effective=accepted,
    )


def prepare_again(
    store: Store,
    parent: Entry,
    replace_electrons: Mapping[str, Callable[..., Any]] | None,
    policy: Policy,
    args: Sequence[object],
    kwargs: Mapping[str, object],
) -> Prepared | Answered:
    """A recorded dispatch with what is new about it. Raises UsageError, CapsuleError, Undigestible, Unstorable."""
    recorded = before = load_manifest(store, parent)
    absent = versions_of_absent(store, before)
    recorder, accepted = Recorder(store), Accepted(store, absent)
    replaced = {row.slot: row for row in before.replaced}
    new = replacements(recorder, before, replace_electrons or {}, traced_again=bool(args or kwargs))
    replaced.update((row.slot, row) for row, _ in new)
    electrons = {row.slot: electron for row, electron in new}
    policy = by_slot(policy, tuple(replaced.values()))
    before = _with_files_as_they_are(store, recorder, before)
    inputs, previews = before.inputs, before.previews
    if args or kwargs:
        inputs, previews = merged_inputs(recorder, before, args, kwargs)

    def default_of(row: Row, parameter: str) -> Digest | None:
        electron = electrons.get(row.slot)
        return None if electron is None else recorder.default(electron, parameter)

    # Bound even if the lattice is traced anew: what does not bind must be found before anything runs.
    graph = substitute(before.graph, replaced, default_of)
    if new:
        inside = {row.slot: row for row, _ in new}
        bind_inside(store, before.graph, outcomes_of(store, parent), inside, default_of)
        for slot in restored(recorder, parent, recorded, new):
            del replaced[slot]
    rows = tuple(replaced.values())
    key = keys.lattice_key(before.lattice, accepted, rows, inputs.digest)
    names = {row.slot: row.name for row in rows}
    if policy.forces_nothing:
        by = answer_again(store, parent, before, key)
        if by is not None:
            return Answered(before.lattice.name, key, by, dict(previews), names, parent.id)
    names_files = before.names_files
    if inputs.digest != recorded.inputs.digest:
        given = {*before.files, *recorder.files}
        graph = _traced_again(store, recorder, before.lattice, inputs, replaced)
        names_files = names_files or not given.issuperset(recorder.files)
    nodes = outcomes_of(store, parent)
    check_called(new, before, graph)
    check_names(policy, [*graph.rows, *replaced.values()])
    return Prepared(
        lattice_key=key,
        manifest=Manifest(
            lattice=before.lattice,
            inputs=inputs,
            previews=previews,
            graph=graph,
            replaced=rows,
            environment=environment_of(before.lattice, graph, absent),
            files=tuple({*before.files, *recorder.files}),
            names_files=names_files,
        ),
        policy=policy,
        kept=Kept(store, parent, nodes),
        baseline=Baseline(recorded, nodes),
        recorder=recorder,
        parent=parent.id,
        executors=recorder.executors,
        effective=accepted,
        only_replaced=_is_complete(parent) and before is recorded and inputs is recorded.inputs and not absent,
    )


def _is_complete(parent: Entry) -> bool:
    """Whether each of its nodes has a result, and none that counts only while some file is as it was."""
    return parent.status is Status.COMPLETED and bool(parent.outcome) and not parent.made


def _with_files_as_they_are(store: Store, recorder: Recorder, before: Manifest) -> Manifest:
    """The manifest with the digests, as they are here and now, of constants that name files edited since."""
    edited = {path for path, digest in before.files if content_of(path) not in (digest, None)}
    if not edited:
        return before

    def fresh(const: Const) -> Const:
        if not any(path in edited for path, _ in const.files):
            return const
        from cas_engine.capsules import codec

        encoded = const.encoded if const.encoded is not None else store.get_pieces(const.blob or b"")
        return recorder.const(codec.decode(encoded))

    return replace(
        before,
        inputs=with_consts(before.inputs, before.lattice, fresh),
        graph=graph_with_consts(before.graph, fresh),
        files=tuple(file for file in before.files if file[0] not in edited),
    )


def _traced_again(store: Store, recorder: Recorder, row: Row, inputs: Template, replaced: Mapping[str, Row]) -> Graph:
    from cas_engine.capsules import capsule, codec
    from cas_engine.capsules.restoring import restored
    from cas_engine.graphs.tracing import trace

    lattice, brought = capsule.load_anew(store.get_blob(row.capsule))
    values = [
        codec.decode(b.encoded if b.encoded is not None else pending_blob(store, recorder, b))
        for _, b in inputs.params
        if isinstance(b, Const)
    ]
    args = [values[i] for i in inputs.args]
    kwargs = {name: values[i] for name, i in inputs.kwargs}
    with restored(brought):
        return trace(as_lattice(lattice), args, kwargs, recorder, replaced)


def pending_blob(store: Store, recorder: Recorder, const: Const) -> Blob:
    """The bytes of a constant that may not have been written yet."""
    assert const.blob is not None  # noqa: S101 - asked only of those
    if store.find_missing([const.blob]):
        recorder.flush()
    return store.get_pieces(const.blob)


def as_lattice(loaded: Any) -> Lattice[..., Any]:
    """The lattice in a capsule, whether it was recorded as one, or as the electron that makes it a sublattice."""
    from cas_engine.graphs.electron import Electron
    from cas_engine.graphs.lattice import Lattice

    while isinstance(loaded, Electron):
        loaded = loaded.fn
    if not isinstance(loaded, Lattice):
        return Lattice(loaded, getattr(loaded, "__name__", "lattice"), None)
    return loaded


def environment_of(
    lattice: Row, graph: Graph, recorded: Mapping[Digest, Mapping[str, str]] | None = None
) -> tuple[tuple[str, str], ...]:
    """The versions, here, of every package that the keys count; by code, those that count as they were recorded."""
    packages = {package for row in (lattice, *graph.rows) for package in row.packages}
    versions = {package: was for each in (recorded or {}).values() for package, was in each.items()}
    return tuple((package, versions.get(package) or version_of(package)) for package in sorted(packages))
