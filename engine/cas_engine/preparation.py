"""From what a user asks for to what can be planned and run: inputs bound, code fingerprinted, the graph traced.

Nothing is written and nothing runs before this has succeeded, so bad input loses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cas_engine import capsule, codec, keys, ledger, outcome
from cas_engine import manifest as manifests
from cas_engine.accepted import Accepted
from cas_engine.bindings import Binding, Const, Template, template_digest
from cas_engine.electron import Electron, as_electron
from cas_engine.errors import AmbiguousElectron, BadOption, Undigestible, UnknownDispatch, UnknownElectron, Unstorable
from cas_engine.explain import Baseline, Reasons
from cas_engine.files import are_not_edited, are_unchanged, from_json
from cas_engine.fingerprint import version_of
from cas_engine.graph import Graph, Row, in_force
from cas_engine.handles import Handle
from cas_engine.journal import EPOCH
from cas_engine.kept import kept_samples, outcomes_of
from cas_engine.lattice import Lattice
from cas_engine.ledger import Entry, Status
from cas_engine.manifest import Manifest
from cas_engine.outcome import NodeOutcome
from cas_engine.policy import REUSE, Policy, by_slot, check_names, names_of, nearest
from cas_engine.previews import preview
from cas_engine.recorder import Recorder
from cas_engine.records import Record
from cas_engine.signatures import bind, pick
from cas_engine.substitution import DefaultOf, graph_with_consts, substitute, with_consts
from cas_engine.tracing import trace
from cas_engine.values import content_of
from cas_store.digest import Digest, digest_of
from cas_store.errors import BlobDamaged, BlobMissing
from cas_store.store import Store
from cas_store.tables import Table


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
        labels = self.baseline.manifest.graph.labels()
        done = (outcome.NodeStatus.HIT, outcome.NodeStatus.RAN)
        before = {
            label: one.seconds for label, one in zip(labels, self.baseline.nodes, strict=False) if one.status in done
        }
        return {node: before[label] for node, label in enumerate(self.manifest.graph.labels()) if label in before}


def prepare(
    store: Store, lattice: Lattice[..., Any], args: Sequence[object], kwargs: Mapping[str, object]
) -> Prepared | Answered:
    """A lattice of this process with its inputs. Raises UsageError, Undigestible, Unstorable, CapsuleError."""
    recorder, accepted = Recorder(store), Accepted(store)
    row = recorder.lattice_row(lattice)
    inputs, previews = bind_inputs(recorder, row, args, kwargs)
    key = keys.lattice_key(row, accepted, (), inputs.digest)
    by = answer_of(store, key)
    if by is not None:
        return Answered(lattice.name, key, by, dict(previews), {}, "")
    graph = trace(lattice, args, kwargs, recorder, {})
    return Prepared(
        lattice_key=key,
        manifest=Manifest(row, inputs, previews, graph, (), environment_of(row, graph), tuple(recorder.files)),
        policy=REUSE,
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
    recorder, accepted = Recorder(store), Accepted(store)
    replaced = {row.slot: row for row in before.replaced}
    new = _replacements(recorder, before, replace_electrons or {})
    replaced.update((row.slot, row) for row, _ in new)
    electrons = {row.slot: electron for row, electron in new}
    check_names(policy, [*before.graph.rows, *replaced.values()])
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
        _bind_inside(store, before.graph, outcomes_of(store, parent), inside, default_of)
    rows = tuple(replaced.values())
    key = keys.lattice_key(before.lattice, accepted, rows, inputs.digest)
    names = {row.slot: row.name for row in rows}
    if policy.forces_nothing:
        by = _answer_again(store, parent, before, key)
        if by is not None:
            return Answered(before.lattice.name, key, by, dict(previews), names, parent.id)
    if inputs.digest != recorded.inputs.digest:
        graph = _traced_again(store, recorder, before.lattice, inputs, replaced)
        check_names(policy, [*graph.rows, *replaced.values()])
    return Prepared(
        lattice_key=key,
        manifest=Manifest(
            lattice=before.lattice,
            inputs=inputs,
            previews=previews,
            graph=graph,
            replaced=rows,
            environment=environment_of(before.lattice, graph),
            files=tuple({*before.files, *recorder.files}),
        ),
        policy=policy,
        kept=kept_samples(store, parent),
        baseline=Baseline(recorded, outcomes_of(store, parent)),
        recorder=recorder,
        parent=parent.id,
        executors=recorder.executors,
        effective=accepted,
    )


def _with_files_as_they_are(store: Store, recorder: Recorder, before: Manifest) -> Manifest:
    """The manifest with the digests, as they are here and now, of constants that name files edited since."""
    edited = {path for path, digest in before.files if content_of(path) not in (digest, None)}
    if not edited:
        return before

    def fresh(const: Const) -> Const:
        if not any(path in edited for path, _ in const.files):
            return const
        encoded = const.encoded if const.encoded is not None else store.get_blob(const.blob or b"")
        return recorder.const(codec.decode(encoded))

    return replace(
        before,
        inputs=with_consts(before.inputs, before.lattice, fresh),
        graph=graph_with_consts(before.graph, fresh),
        files=tuple(file for file in before.files if file[0] not in edited),
    )


# Inputs -----------------------------------------------------------------------------------------------------


def bind_inputs(
    recorder: Recorder, row: Row, args: Sequence[object], kwargs: Mapping[str, object]
) -> tuple[Template, tuple[tuple[str, str], ...]]:
    """A lattice's inputs by parameter, with what people see of them. Raises BindError, Undigestible, Unstorable."""
    who = f"lattice `{row.name}`"
    bound = bind(row.signature, len(args), list(kwargs), who)
    pairs = pick(bound, args, kwargs)
    params = tuple((name, _input(recorder, who, name, value)) for name, value in pairs)
    index = {where: i for i, (_, where) in enumerate(bound.order)}
    template = Template(
        params=params,
        args=tuple(index["arg", i] for i in range(len(args))),
        kwargs=tuple((name, index["kw", name]) for name in kwargs),
        slots=0,
        key_slots=0,
        digest=template_digest(params, leave_out=frozenset()),
    )
    previews = [(name.lstrip("*") if name.startswith("**") else name, preview(value)) for name, value in pairs]
    given = {name for name, _ in pairs}
    previews += [(p.name, p.default) for p in row.signature.parameters if p.has_default and p.name not in given]
    return template, tuple(previews)


def _input(recorder: Recorder, who: str, name: str, value: object) -> Const:
    if type(value) is Handle:
        raise BadOption(f"{who}: its input `{name}` is a result of a lattice being traced\n  -> pass a value")
    try:
        return recorder.const(value)
    except (Undigestible, Unstorable) as problem:
        raise problem.within(f"{who}: its input `{name.lstrip('*')}`") from None


def merged_inputs(
    recorder: Recorder, before: Manifest, args: Sequence[object], kwargs: Mapping[str, object]
) -> tuple[Template, tuple[tuple[str, str], ...]]:
    """The recorded inputs with new ones over them, by position or name. Raises BindError."""
    row = before.lattice
    who = f"lattice `{row.name}`"
    pairs = pick(bind(row.signature, len(args), list(kwargs), who, partial=True), args, kwargs)
    new: dict[str, Binding] = {name: _input(recorder, who, name, value) for name, value in pairs}
    seen = {name: preview(value) for name, value in pairs}
    old = dict(before.inputs.params)
    if any(name.startswith("*") and not name.startswith("**") for name in new):
        old = {name: binding for name, binding in old.items() if not name.startswith("*") or name.startswith("**")}
    merged = {**old, **new}
    order = [p.name for p in row.signature.parameters]
    stars = sorted((n for n in merged if n.startswith("*") and n[1] != "*"), key=lambda n: int(n[1:]))
    double = sorted(n for n in merged if n.startswith("**"))
    names = [n for n in order if n in merged] + stars + double
    params = tuple((name, merged[name]) for name in names)
    args_at, kwargs_at = _spelled(row, names)
    previews = {**dict(before.previews), **{(n.lstrip("*") if n.startswith("**") else n): t for n, t in seen.items()}}
    template = Template(params, args_at, kwargs_at, 0, 0, template_digest(params, leave_out=frozenset()))
    return template, tuple(previews.items())


def _spelled(row: Row, names: Sequence[str]) -> tuple[tuple[int, ...], tuple[tuple[str, int], ...]]:
    """How to call with these parameters: by name where that is possible."""
    kinds = {p.name: p.kind for p in row.signature.parameters}
    has_stars = any(n.startswith("*") and n[1] != "*" for n in names)
    args: list[int] = []
    kwargs: list[tuple[str, int]] = []
    for i, name in enumerate(names):
        if name.startswith("**"):
            kwargs.append((name[2:], i))
        elif name.startswith("*") or kinds[name] == "positional" or (has_stars and kinds[name] == "any"):
            args.append(i)
        else:
            kwargs.append((name, i))
    return tuple(args), tuple(kwargs)


def _traced_again(store: Store, recorder: Recorder, row: Row, inputs: Template, replaced: Mapping[str, Row]) -> Graph:
    lattice = capsule.load(store.get_blob(row.capsule))
    values = [
        codec.decode(b.encoded if b.encoded is not None else pending_blob(store, recorder, b))
        for _, b in inputs.params
        if isinstance(b, Const)
    ]
    args = [values[i] for i in inputs.args]
    kwargs = {name: values[i] for name, i in inputs.kwargs}
    return trace(as_lattice(lattice), args, kwargs, recorder, replaced)


def pending_blob(store: Store, recorder: Recorder, const: Const) -> memoryview | bytes:
    """The bytes of a constant that may not have been written yet."""
    assert const.blob is not None  # noqa: S101 - asked only of those
    if store.find_missing([const.blob]):
        recorder.flush()
    return store.get_blob(const.blob)


def as_lattice(loaded: Any) -> Lattice[..., Any]:
    """The lattice in a capsule, whether it was recorded as one, or as the electron that makes it a sublattice."""
    while isinstance(loaded, Electron):
        loaded = loaded.fn
    if not isinstance(loaded, Lattice):
        return Lattice(loaded, getattr(loaded, "__name__", "lattice"), None)
    return loaded


# Replacements -----------------------------------------------------------------------------------------------


def _replacements(
    recorder: Recorder, before: Manifest, wanted: Mapping[str, Callable[..., Any]]
) -> list[tuple[Row, Electron[..., Any]]]:
    if not isinstance(wanted, Mapping):
        raise BadOption(
            f"replace_electrons={wanted!r} is not a mapping\n"
            '  -> give names and functions: {"compute_accuracy": compute_recall}'
        )
    rows = [*before.graph.rows, *before.replaced]
    known = names_of(rows)
    made = []
    for name, fn in wanted.items():
        if name not in known:
            raise UnknownElectron(name, nearest(name, known), sorted(known))
        slot = _slot_of(name, before)
        if not callable(fn):
            raise BadOption(
                f"replace_electrons: what is given for `{name}` is a {type(fn).__name__}\n  -> give a function"
            )
        electron = as_electron(fn)
        row = replace(recorder.row(electron), slot=slot)
        old = [r for r in rows if r.slot == slot]
        if not isinstance(fn, Electron) and any(r.stochastic and not r.is_lattice for r in old):
            # A plain function says nothing of itself; what stands in for a sample is one until told otherwise.
            row = replace(row, stochastic=True)
        made.append((row, electron))
    return made


def _bind_inside(
    store: Store, graph: Graph, nodes: Sequence[NodeOutcome], new: Mapping[str, Row], default_of: DefaultOf
) -> None:
    """Bind the calls recorded in sublattices too. Raises BindError."""
    for node, one in enumerate(nodes):
        row = graph.row_of(node)
        if not row.is_lattice or "dispatch" not in one.extra or not in_force(row, new.values()):
            continue
        try:
            entry = ledger.get(store, one.extra["dispatch"])
            inside = load_manifest(store, entry).graph
            inner = outcomes_of(store, entry)
        except (UnknownDispatch, BlobMissing, BlobDamaged):
            continue  # removed since: what does not bind will fail where it is called
        substitute(inside, new, default_of)
        _bind_inside(store, inside, inner, new, default_of)


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


# Earlier dispatches -------------------------------------------------------------------------------------------


def answer_of(store: Store, key: Digest) -> Entry | None:
    """The completed dispatch that answers a lattice key, if its results are still there."""
    row = store.get(Table.LATTICES, key)
    if row is None:
        return None
    raw = json.loads(row)
    if raw["epoch"] != epoch(store) or store.get(Table.DISPATCHES, bytes.fromhex(raw["id"])) is None:
        return None
    entry = ledger.get(store, raw["id"])
    return entry if _still_holds(store, entry) else None


def _still_holds(store: Store, entry: Entry) -> bool:
    """Whether the results of a dispatch are there, and the files that it counts by content are as they were."""
    try:
        # Looked into, not only for: what is said to be done must be there to be read.
        for blob in entry.outputs:
            store.get_blob(bytes.fromhex(blob))
    except (BlobMissing, BlobDamaged):
        return False
    return are_not_edited(from_json(entry.files)) and are_unchanged(from_json(entry.made))


def epoch(store: Store) -> str:
    """Changes whenever a deterministic electron was seen not to repeat itself."""
    return (store.get(Table.META, EPOCH) or b"").decode()


def _answer_again(store: Store, parent: Entry, before: Manifest, key: Digest) -> Entry | None:
    """The parent itself if nothing is new; or another dispatch, where no sample of the parent's has to be kept."""
    if parent.status is Status.COMPLETED and parent.lattice_key == key.hex():
        return parent if _still_holds(store, parent) else None
    samples = any(row.stochastic for row in before.graph.rows)
    return None if samples or epoch(store) else answer_of(store, key)


def latest_of(store: Store, lattice: str) -> Baseline | None:
    """The newest dispatch of a lattice of this name, to compare with."""
    found = store.get(Table.META, latest_key(lattice))
    row = None if found is None else store.get(Table.DISPATCHES, found)
    if found is None or row is None:
        return None
    entry = ledger.get(store, found.hex())
    return Baseline(load_manifest(store, entry), outcomes_of(store, entry))


def latest_key(lattice: str) -> bytes:
    """Where META keeps the newest dispatch of a lattice."""
    return b"latest:" + digest_of(lattice.encode())


def load_manifest(store: Store, entry: Entry) -> Manifest:
    """What a dispatch evaluated. Raises BlobMissing, BlobDamaged, CapsuleError."""
    return manifests.loads(store.get_blob(bytes.fromhex(entry.manifest)))


def environment_of(lattice: Row, graph: Graph) -> tuple[tuple[str, str], ...]:
    """The versions, here, of every package that the keys count."""
    packages = {package for row in (lattice, *graph.rows) for package in row.packages}
    return tuple((package, version_of(package)) for package in sorted(packages))
