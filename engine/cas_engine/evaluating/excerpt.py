"""What a change can reach of a recorded graph, as a graph of its own; all else is as the parent left it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.explain import Baseline, Reasons
from cas_engine.bookkeeping.journal import NOBODY, Journal
from cas_engine.bookkeeping.kept import kept_among, record_from
from cas_engine.calling.worker import Task
from cas_engine.errors import UnknownDispatch
from cas_engine.evaluating.setting import Nested, Setting
from cas_engine.executors import Answer
from cas_engine.graphs.columns import Column
from cas_engine.graphs.graph import Graph, Row
from cas_engine.plans import keys
from cas_engine.plans.outcome import NodeOutcome
from cas_engine.plans.outcomes import merged, unchanged
from cas_engine.plans.records import Record
from cas_engine.preparing.preparation import Prepared
from cas_store.digest import Digest
from cas_store.store import Store


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The nodes that have to be decided anew, with those that they hang on.

    `numbers` are those of its nodes in the whole graph, in order. The nodes of `given` are not decided: they have the
    key and the record that the parent had. `before` are the same nodes as they were, `whole` all of the parent's.
    """

    graph: Graph
    before: Graph
    numbers: Sequence[int]
    given: Mapping[int, tuple[Digest, Record]]
    kept: Mapping[Digest, Record]  # the samples that the parent had for the others, by key
    whole: Sequence[NodeOutcome]
    seconds: float  # what all of them took
    rows: Sequence[Row]  # the electrons of the whole graph, and of each of its nodes the place of its own
    electron_of: Column

    def setting(self, whole: Setting, prepared: Prepared) -> Setting:
        """What the evaluation of it works with."""
        return replace(
            whole,
            graph=self.graph,
            why=self.reasons(whole.store, prepared).why,
            times=self.times,
            kept=self.kept,
            nested=_Numbered(whole.nested, self.numbers),
            numbers=self.numbers,
            given=self.given,
            rest=_Rest(prepared.manifest.graph, self),
        )

    def reasons(self, store: Store, prepared: Prepared) -> Reasons:
        """Why its nodes miss."""
        assert prepared.baseline is not None  # noqa: S101 - there is no excerpt without
        manifest = replace(prepared.baseline.manifest, graph=self.before)
        before = [self.whole[number] for number in self.numbers]
        packed = prepared.recorder.packed
        return Reasons(store, self.graph, Baseline(manifest, before), packed=packed, same=self.given)

    def times(self) -> dict[int, float]:
        """The seconds that its nodes took."""
        return {node: self.whole[number].seconds for node, number in enumerate(self.numbers)}

    def slot_of(self, number: int) -> str:
        """The electron of a node of the whole graph."""
        return self.rows[self.electron_of[number]].slot

    def merged(self, nodes: Sequence[NodeOutcome]) -> Sequence[NodeOutcome]:
        """What came of all nodes, from what came of these."""
        both = enumerate(zip(self.numbers, nodes, strict=True))
        new = {number: one for i, (number, one) in both if i not in self.given}
        saved_s = self.seconds - sum(self.whole[number].seconds for number in new)
        return merged(unchanged(self.whole), new, max(saved_s, 0.0))


class _Numbered:
    """Sublattices by their numbers in an excerpt, of which they know nothing."""

    def __init__(self, nested: Nested, numbers: Sequence[int]) -> None:
        self._nested = nested
        self._numbers = numbers

    def start(
        self, node: int, row: Row, task: Task, report: Callable[[Answer], None], prints: Callable[[str], None]
    ) -> None:
        self._nested.start(self._numbers[node], row, task, report, prints)

    def stop(self, node: int) -> None:
        self._nested.stop(self._numbers[node])

    def dispatch_of(self, node: int) -> str:
        return self._nested.dispatch_of(self._numbers[node])


_FEW = 64  # nodes: so many are taken out of a graph however small it is


class _Rest:
    """The nodes that are not in an excerpt, told of when somebody listens."""

    def __init__(self, graph: Graph, part: Excerpt) -> None:
        self._graph = graph
        self._part = part

    def __len__(self) -> int:
        return len(self._graph) - len(self._part.numbers)

    def __iter__(self) -> Iterator[tuple[int, str, str, NodeOutcome]]:
        graph, inside = self._graph, set(self._part.numbers)
        for number, (label, one) in enumerate(zip(graph.labels(), unchanged(self._part.whole), strict=True)):
            if number not in inside:
                yield number, label, graph.row_of(number).slot, one


def excerpt_of(store: Store, prepared: Prepared) -> Excerpt | None:
    """What of a redispatch has to be evaluated; None where that is not certain, and all of it has to be looked at.

    It is certain where the parent is complete, nothing but some electrons was replaced or is to run all the same, those
    that were not have the same keys here and now and none of those that were, and no result was taken away that is
    needed. A sublattice is changed by what is replaced in it, and runs if something in it has to. The samples that the
    parent had stay what they are; what is drawn anew is below a change.
    """
    baseline, graph = prepared.baseline, prepared.manifest.graph
    if baseline is None or not prepared.only_replaced or prepared.policy.everything:
        return None
    before, nodes = baseline.manifest.graph, baseline.nodes
    prefixes = prepared.prefixes()
    changed = _changed(prepared, before, prefixes)
    if not changed or len(nodes) != len(graph) or not _are_apart(prefixes, changed):
        return None
    cone = below(graph, graph.nodes_of(changed), max(_FEW, len(graph) // 4))
    if cone is None or not _same_here(prepared, nodes, changed, cone, prefixes):
        return None
    above = sorted({parent for node in cone for parent in graph.parents_of(node)} - cone)
    returned = [node for node in graph.output_parents if node not in cone]
    given = _given(store, prepared.parent, nodes, above, returned)
    if given is None:
        return None
    try:
        totals = ledger.get(store, prepared.parent).totals
    except UnknownDispatch:  # removed since
        return None
    numbers = sorted([*cone, *above])
    index = {number: i for i, number in enumerate(numbers)}
    names = tuple(graph.names_of(numbers))
    return Excerpt(
        graph=_part(graph, numbers, cone, index, names),
        before=_part(before, numbers, cone, index, names),
        numbers=numbers,
        given={index[node]: found for node, found in given.items()},
        kept=kept_among(store, [nodes[node] for node in sorted(cone)], prepared.parent),
        whole=nodes,
        seconds=totals["ran_s"] + totals["saved_s"],
        rows=graph.rows,
        electron_of=graph.electron_of,
    )


def below(graph: Graph, nodes: Sequence[int], most: int) -> set[int] | None:
    """These nodes and all that hang on them; None if these are more than so many."""
    cone, todo = set(nodes), list(nodes)
    first, children = graph.index.first_child, graph.index.children
    while todo and len(cone) <= most:
        node = todo.pop()
        for child in children[first[node] : first[node + 1]]:
            if child not in cone:
                cone.add(child)
                todo.append(child)
    return cone if len(cone) <= most else None


def _changed(prepared: Prepared, before: Graph, prefixes: Sequence[bytes]) -> set[int]:
    """The electrons whose nodes have other keys than they had, or run whatever they have."""
    assert prepared.baseline is not None  # noqa: S101 - there is no excerpt without
    graph, was = prepared.manifest.graph, prepared.baseline.manifest.replaced
    found = {at for at, row in enumerate(before.rows) if row != graph.rows[at]}
    for at, row in enumerate(graph.rows):
        is_other = row.is_lattice and not prefixes[at].startswith(keys.prefix_of(row, prepared.effective, was))
        if is_other or prepared.policy.reason(row) is not None:
            found.add(at)
    return found


def _are_apart(prefixes: Sequence[bytes], changed: set[int]) -> bool:
    """Whether no other node can be the same call as one that is changed."""
    others = {prefix for at, prefix in enumerate(prefixes) if at not in changed}
    return others.isdisjoint(prefixes[at] for at in changed)


def _same_here(
    prepared: Prepared, nodes: Sequence[NodeOutcome], changed: set[int], cone: set[int], prefixes: Sequence[bytes]
) -> bool:
    """Whether the electrons that were not replaced are what they were for the parent: packages, what is accepted.

    All nodes of an electron have its part of the key in common, so that one tells of all.
    """
    graph = prepared.manifest.graph
    for at, row in enumerate(graph.rows):
        node = None if at in changed else graph.first_of(at, cone)
        if node is None:
            continue
        above = [nodes[parent] for parent in graph.key_parents_of(node)]
        identities = [keys.sample_identity(one.key, one.value) if one.is_sample else one.key for one in above]
        ordinal = graph.ordinal_of[node] if row.stochastic else None
        if keys.node_key(prefixes[at], graph.template(node).digest, ordinal, identities) != nodes[node].key:
            return False
    return True


def _given(
    store: Store, parent: str, nodes: Sequence[NodeOutcome], above: Sequence[int], returned: Sequence[int]
) -> dict[int, tuple[Digest, Record]] | None:
    """The results that the cone hangs on; None if one of them, or of those that are returned, cannot be had."""
    journal = Journal(store, NOBODY)
    given = {}
    with journal.one_look():
        records = journal.lookup_many([nodes[node].key for node in above])
        for node, record in zip(above, records, strict=True):
            one = nodes[node]
            if one.is_sample:  # whatever others have drawn since
                if not journal.is_readable(one.blob):
                    return None
                given[node] = one.key, record_from(one, parent)
                continue
            if record is None or record.value != one.value or record.blob != one.blob or record.is_sample:
                return None
            given[node] = one.key, record
    if journal.evicted or not all(journal.is_readable(nodes[node].blob) for node in sorted(set(returned))):
        return None
    return given


def _part(
    graph: Graph, numbers: Sequence[int], cone: set[int], index: Mapping[int, int], names: tuple[str, ...]
) -> Graph:
    # Nobody asks for the calls of the others, which may be many.
    used = sorted({graph.template_of[number] for number in cone})
    place = {template: i for i, template in enumerate(used)}
    first, parents = array("I", [0]), array("I")
    for number in numbers:
        if number in cone:
            parents.extend(index[parent] for parent in graph.parents_of(number))
        first.append(len(parents))
    return replace(
        graph,
        electron_of=array("I", [graph.electron_of[number] for number in numbers]),
        templates=[graph.templates[template] for template in used],
        template_of=array("I", [place[graph.template_of[number]] if number in cone else 0 for number in numbers]),
        ordinal_of=array("I", [graph.ordinal_of[number] for number in numbers]),
        first_parent=first,
        parents=parents,
        output_parents=tuple(index[parent] for parent in graph.output_parents if parent in cone),
        names=names,
        found=None,
    )
