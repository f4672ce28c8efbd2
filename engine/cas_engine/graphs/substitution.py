"""Puts other electrons into a recorded graph, binding its calls to their signatures. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from cas_engine.graphs.bindings import (
    Binding,
    Const,
    Fields,
    Items,
    Ref,
    Template,
    refs_in,
    template_digest,
)
from cas_engine.graphs.columns import copied, patched
from cas_engine.graphs.graph import Graph, Row, standing
from cas_engine.graphs.omission import parsed
from cas_engine.graphs.signatures import Signature, Way, way_of
from cas_engine.graphs.templates import MoreTemplates, is_usual_in, some
from cas_store.digest import Digest, digest_of

DefaultOf = Callable[[Row, str], "Digest | None"]


class Rebinding:
    """Binds recorded calls of one electron, as they were written, to another that stands in for it."""

    def __init__(self, before: Row, row: Row, default_of: DefaultOf) -> None:
        self._row = row
        self._ignore = before.ignore
        self._default_of = lru_cache(maxsize=None)(lambda name: default_of(row, name))
        self._ways: dict[tuple[object, ...], tuple[Way, frozenset[str]]] = {}
        self._is_alike = row.ignore == before.ignore and _takes_as(row.signature, before.signature)
        defaults: list[Digest | None] = []
        if self._is_alike:
            given = row.signature.parameters[: len(before.signature.parameters)]
            defaults = [self._default_of(p.name) for p in given if p.has_default]
        self._defaults = [digest.hex().encode() for digest in defaults if digest is not None]
        self.leaves_all = self._is_alike and not defaults  # whether all calls are bound as they were

    def leaves(self, line: bytes) -> bool:
        """Whether a call, as it is written in a manifest, is bound as it was; False where it has to be looked at."""
        if not self._is_alike or is_usual_in(line):
            return False
        return not any(digest in line for digest in self._defaults)

    def rebound(self, template: Template) -> tuple[Template, list[int]]:
        """A call bound anew, and for each of its slots, which are in the order of the new parameters, that it was.

        Raises BindError naming the argument.
        """
        params, row, (way, ignored) = template.params, self._row, self._way(template)
        given = [*template.args, *(i for _, i in template.kwargs)]
        pairs = [(name, params[given[place]][1]) for name, place in way.params]
        counted = [ref.slot for name, binding in pairs if name not in ignored for ref in refs_in(binding)]
        rest = [ref.slot for name, binding in pairs if name in ignored for ref in refs_in(binding)]
        order = [*counted, *rest]
        if order != sorted(order):
            number = {old: new for new, old in enumerate(order)}
            pairs = [(name, _renumbered(binding, number)) for name, binding in pairs]
        if self._ignore != row.ignore:
            pairs = [(name, _whole(binding, row, name, self._ignore)) for name, binding in pairs]
        default_of = self._default_of
        defaults = frozenset(
            name for name, binding in pairs if isinstance(binding, Const) and binding.digest == default_of(name)
        )
        made = Template(
            params=tuple(pairs),
            args=way.args,
            kwargs=way.kwargs,
            slots=template.slots,
            key_slots=len(counted),
            digest=template_digest(pairs, leave_out=ignored | defaults),
            usual=defaults,
        )
        return made, order

    def _way(self, template: Template) -> tuple[Way, frozenset[str]]:
        """How calls that were written so are bound now, and which of their parameters no key counts."""
        written = (len(template.args), *(name for name, _ in template.kwargs))
        found = self._ways.get(written)
        if found is None:
            row = self._row
            who = f"replacement `{row.name}` for electron `{row.slot}`: "
            way = way_of(row.signature, len(template.args), [name for name, _ in template.kwargs], who)
            ignored = frozenset(name for name, _ in way.params if name.lstrip("*") in row.ignore)
            found = self._ways[written] = way, ignored
        return found


def _takes_as(new: Signature, old: Signature) -> bool:
    """Whether any call that is bound to the old signature is bound to the new one in the same way."""
    if not (old.known and new.known) or len(new.parameters) < len(old.parameters):
        return False
    for was, now in zip(old.parameters, new.parameters, strict=False):
        if (was.name, was.kind) != (now.name, now.kind) or (was.has_default and not now.has_default):
            return False
    more = new.parameters[len(old.parameters) :]
    if more and any(p.kind in _STARS for p in old.parameters):
        return False  # they may take what was taken by these
    return all(p.has_default or p.kind in _STARS for p in more)


_STARS = ("*", "**")


def substitute(graph: Graph, replaced: Mapping[str, Row], default_of: DefaultOf) -> Graph:
    """The graph with the rows of these slots in place of its own. Raises BindError before anything is changed."""
    rows = tuple(standing(row, replaced) for row in graph.rows)
    changed = {at for at, row in enumerate(graph.rows) if row != rows[at]}
    if not changed:
        return graph
    bindings = {at: Rebinding(graph.rows[at], rows[at], default_of) for at in changed}
    looked_at = {at for at in changed if rows[at].stochastic or not bindings[at].leaves_all}
    added: list[Template] = []
    new_at: dict[tuple[int, int], tuple[int, Sequence[int]]] = {}
    template_of, parents, ordinal_of = dict[int, int](), dict[int, int](), dict[int, int]()  # what is another now
    draws = Counter[tuple[int, int, tuple[int, ...]]]()
    for node in graph.nodes_of(looked_at):
        at, template = graph.electron_of[node], graph.template_of[node]
        where = (template, at)
        if where not in new_at:
            (line,), ((_, count, _),) = some(graph.templates, [template])
            new_at[where] = template, range(count)
            if not bindings[at].leaves(line):
                made, slots = bindings[at].rebound(graph.templates[template])
                new_at[where] = len(graph.templates) + len(added), slots
                added.append(made)
        now, order = new_at[where]
        first = graph.first_parent[node]
        if now != template:
            template_of[node] = now
            parents.update((first + i, graph.parents[first + slot]) for i, slot in enumerate(order) if i != slot)
        if rows[at].stochastic:
            # Two equal calls of what was a function are two draws of what stands in.
            draw = (at, now, tuple([graph.parents[first + slot] for slot in order]))
            ordinal_of[node] = draws[draw]
            draws[draw] += 1
    # Its index holds on: each node hangs on the same ones, if in another order.
    return replace(
        graph,
        rows=rows,
        templates=MoreTemplates(graph.templates, added) if added else graph.templates,
        template_of=patched(graph.template_of, template_of),
        parents=patched(graph.parents, parents),
        ordinal_of=patched(graph.ordinal_of, ordinal_of),
    )


def graph_with_consts(graph: Graph, fresh: Callable[[Const], Const]) -> Graph:
    """The graph with other constants in place of its own."""
    templates = list(graph.templates)
    made: dict[tuple[int, int], int] = {}
    template_of = copied(graph.template_of)
    for node, at in enumerate(graph.electron_of):
        where = (graph.template_of[node], at)
        if where not in made:
            old = templates[where[0]]
            new = with_consts(old, graph.rows[at], fresh)
            made[where] = where[0]
            if new is not old:
                made[where] = len(templates)
                templates.append(new)
        template_of[node] = made[where]
    return replace(graph, templates=templates, template_of=template_of, output=_mapped(graph.output, fresh))


def with_consts(template: Template, row: Row, fresh: Callable[[Const], Const]) -> Template:
    """A call with other constants in place of its own; itself if they are the same."""
    params = tuple((name, _mapped(binding, fresh)) for name, binding in template.params)
    if params == template.params:
        return template
    ignored = frozenset(name for name, _ in params if name.lstrip("*") in row.ignore)
    before = dict(template.params)
    usual = frozenset(name for name, binding in params if name in template.usual and binding == before[name])
    digest = template_digest(params, leave_out=ignored | usual)
    return template._replace(params=params, digest=digest, usual=usual)


def _mapped(binding: Binding, fresh: Callable[[Const], Const]) -> Binding:
    if isinstance(binding, Const):
        return fresh(binding)
    if isinstance(binding, Items):
        return Items(binding.kind, tuple(_mapped(item, fresh) for item in binding.items))
    if isinstance(binding, Fields):
        return Fields(binding.cls, tuple((name, _mapped(item, fresh)) for name, item in binding.fields))
    return binding


def _whole(binding: Binding, row: Row, name: str, ignore: tuple[str, ...]) -> Binding:
    """A constant whose digest leaves out what the new electron counts, by its bytes: they are all of it."""
    was = [text for text in ignore if (path := parsed(text)) is not None and path[1]]
    if not isinstance(binding, Const) or not was or set(was) <= set(row.ignore):
        return binding
    kept = binding.blob if binding.blob is not None else binding.encoded or b""
    return binding._replace(digest=digest_of(b"whole\0", name.encode(), kept))


def _renumbered(binding: Binding, number: Mapping[int, int]) -> Binding:
    if isinstance(binding, Ref):
        return Ref(number[binding.slot], binding.path)
    if isinstance(binding, Items):
        return Items(binding.kind, tuple(_renumbered(item, number) for item in binding.items))
    if isinstance(binding, Fields):
        return Fields(binding.cls, tuple((name, _renumbered(item, number)) for name, item in binding.fields))
    return binding
