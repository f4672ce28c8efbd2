"""Binds a lattice's inputs: those of a dispatch, and new ones over those that were recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cas_engine.bookkeeping.previews import preview
from cas_engine.errors import BadOption, Undigestible, Unstorable
from cas_engine.graphs.bindings import Binding, Const, Template, template_digest
from cas_engine.graphs.graph import Row
from cas_engine.graphs.handles import Handle
from cas_engine.graphs.signatures import bind, pick
from cas_engine.plans.manifest import Manifest
from cas_engine.preparing.recorder import Recorder


def bind_inputs(
    recorder: Recorder, row: Row, args: Sequence[object], kwargs: Mapping[str, object]
) -> tuple[Template, tuple[tuple[str, str], ...]]:
    """A lattice's inputs by parameter, with what people see of them. Raises BindError, Undigestible, Unstorable."""
    who = f"lattice `{row.name}`"
    bound = bind(row.signature, len(args), list(kwargs), who)
    pairs = pick(bound, args, kwargs)
    const = recorder.const_of(row) or recorder.const
    params = tuple((name, _input(const, who, name, value)) for name, value in pairs)
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


def _input(const: Callable[[object], Const], who: str, name: str, value: object) -> Const:
    if type(value) is Handle:
        raise BadOption(f"{who}: its input `{name}` is a result of a lattice being traced\n  -> pass a value")
    try:
        return const(value)
    except (Undigestible, Unstorable) as problem:
        raise problem.within(f"{who}: its input `{name.lstrip('*')}`") from None


def merged_inputs(
    recorder: Recorder, before: Manifest, args: Sequence[object], kwargs: Mapping[str, object]
) -> tuple[Template, tuple[tuple[str, str], ...]]:
    """The recorded inputs with new ones over them, by position or name. Raises BindError."""
    row = before.lattice
    who = f"lattice `{row.name}`"
    pairs = pick(bind(row.signature, len(args), list(kwargs), who, partial=True), args, kwargs)
    new: dict[str, Binding] = {name: _input(recorder.const, who, name, value) for name, value in pairs}
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
