"""Puts other electrons into a recorded graph, binding its calls to their signatures. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from cas_engine.bindings import (
    Binding,
    Const,
    Fields,
    Items,
    Ref,
    Template,
    call_arguments,
    refs_in,
    template_digest,
)
from cas_engine.columns import copied, patched
from cas_engine.graph import Graph, Row, standing
from cas_engine.omission import parsed
from cas_engine.signatures import bind, pick
from cas_engine.templates import MoreTemplates
from cas_store.digest import Digest, digest_of

DefaultOf = Callable[[Row, str], "Digest | None"]


def rebound(template: Template, row: Row, default_of: DefaultOf, ignore: tuple[str, ...] = ()) -> Template:
    """A recorded call, as it was written, bound to another electron. Raises BindError naming the argument.

    `ignore` is that of the electron it was recorded for. The slots are numbered anew in the order of the new
    parameters: `slot_order` tells how.
    """
    args, kwargs = call_arguments(template)
    bound = bind(row.signature, len(args), list(kwargs), f"replacement `{row.name}` for electron `{row.slot}`: ")
    pairs = pick(bound, args, kwargs)
    index = {where: i for i, (_, where) in enumerate(bound.order)}
    ignored = frozenset(name for name, _ in pairs if name.lstrip("*") in row.ignore)
    counted = [ref.slot for name, binding in pairs if name not in ignored for ref in refs_in(binding)]
    rest = [ref.slot for name, binding in pairs if name in ignored for ref in refs_in(binding)]
    number = {old: new for new, old in enumerate([*counted, *rest])}
    params = tuple((name, _renumbered(_whole(binding, row, name, ignore), number)) for name, binding in pairs)
    defaults = frozenset(
        name for name, binding in params if isinstance(binding, Const) and binding.digest == default_of(row, name)
    )
    return Template(
        params=params,
        args=tuple(index["arg", i] for i in range(len(args))),
        kwargs=tuple((name, index["kw", name]) for name in kwargs),
        slots=template.slots,
        key_slots=len(counted),
        digest=template_digest(params, leave_out=ignored | defaults),
        usual=defaults,
    )


def slot_order(template: Template, row: Row) -> list[int]:
    """For each slot of `rebound(template, row, ...)` the slot of the recorded template that it was."""
    args, kwargs = call_arguments(template)
    pairs = pick(bind(row.signature, len(args), list(kwargs), row.slot), args, kwargs)
    ignored = {name for name, _ in pairs if name.lstrip("*") in row.ignore}
    counted = [ref.slot for name, binding in pairs if name not in ignored for ref in refs_in(binding)]
    return counted + [ref.slot for name, binding in pairs if name in ignored for ref in refs_in(binding)]


def substitute(graph: Graph, replaced: Mapping[str, Row], default_of: DefaultOf) -> Graph:
    """The graph with the rows of these slots in place of its own. Raises BindError before anything is changed."""
    rows = tuple(standing(row, replaced) for row in graph.rows)
    changed = {at for at, row in enumerate(graph.rows) if row != rows[at]}
    if not changed:
        return graph
    added: list[Template] = []
    new_at: dict[tuple[int, int], tuple[int, list[int]]] = {}
    template_of, parents, ordinal_of = dict[int, int](), dict[int, int](), dict[int, int]()  # what is another now
    draws = Counter[tuple[int, int, tuple[int, ...]]]()
    for node in graph.nodes_of(changed):
        at = graph.electron_of[node]
        where = (graph.template_of[node], at)
        if where not in new_at:
            old = graph.template(node)
            added.append(rebound(old, rows[at], default_of, graph.rows[at].ignore))
            new_at[where] = len(graph.templates) + len(added) - 1, slot_order(old, rows[at])
        template_of[node], order = new_at[where]
        first = graph.first_parent[node]
        slots = tuple(graph.parents[first + slot] for slot in order)
        parents.update((first + i, slots[i]) for i, slot in enumerate(order) if i != slot)
        if rows[at].stochastic:
            # Two equal calls of what was a function are two draws of what stands in.
            draw = (at, template_of[node], slots)
            ordinal_of[node] = draws[draw]
            draws[draw] += 1
    # Its index holds on: each node hangs on the same ones, if in another order.
    return replace(
        graph,
        rows=rows,
        templates=MoreTemplates(graph.templates, added),
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
