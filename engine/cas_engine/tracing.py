"""Calls a lattice function once and records which electrons it calls with what."""

from __future__ import annotations

import dataclasses
import graphlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from cas_engine.bindings import (
    CONSTANT,
    WHOLE,
    Binding,
    Const,
    Fields,
    Items,
    Ref,
    Template,
    parameter_bytes,
    template_digest,
)
from cas_engine.errors import AmbiguousElectron, TracingError, Undigestible, Unstorable
from cas_engine.graph import Graph, Row, standing
from cas_engine.handles import Handle, place
from cas_engine.omission import Step, omitted
from cas_engine.signatures import Signature, bind, pick
from cas_engine.templates import Growing
from cas_store.digest import Digest, digest_of_one

if TYPE_CHECKING:
    from cas_engine.electron import Electron
    from cas_engine.lattice import Lattice

_current: ContextVar[Trace | None] = ContextVar("cas_trace", default=None)
_NO_NAMES: frozenset[str] = frozenset()


def current() -> Trace | None:
    """The trace that electrons called right now record themselves in, if a lattice is being traced."""
    return _current.get()


class Surroundings(Protocol):
    """What a trace asks of the world: electrons described, constants digested."""

    def row(self, electron: Electron[..., Any]) -> Row:
        """The row of an electron, fingerprinted and with its capsule."""

    def const(self, value: object) -> Const:
        """A value by digest, its bytes kept. Raises Undigestible, Unstorable."""

    def partly(self, value: object, leave_out: Sequence[tuple[Step, ...]]) -> Const:
        """As `const`, its digest without what lies at these paths."""

    def unkeyed(self, value: object) -> Const:
        """A value that no key counts, so that it need have no stable content. Raises Unstorable."""

    def default(self, electron: Electron[..., Any], parameter: str) -> bytes | None:
        """The digest of a parameter's default, None if it has none or none that is stable."""


class Trace:
    """Records nodes in the order of the calls."""

    def __init__(self, world: Surroundings, replaced: Mapping[str, Row]) -> None:
        self._world = world
        self._replaced = replaced
        self._rows: list[Row] = []
        self._row_of: dict[int, int] = {}
        self._kept: list[object] = []  # so that no id in `_row_of` is given to another object
        self._names: list[tuple[str, ...] | None] = []
        self._plain: list[_Plain | None] = []
        self._scalars: dict[tuple[type, object], Const] = {}
        self._electrons: list[Electron[..., Any]] = []
        self._replaced_one: dict[str, Electron[..., Any]] = {}
        self._operators: dict[object, Electron[..., Any]] = {}
        self._templates = Growing()
        self._template_at: dict[tuple[object, ...], int] = {}
        self._known: dict[tuple[str, ...], dict[Digest, int]] = {}  # of plain calls, by parameters
        self._electron_of: array[int] = array("I")
        self._template_of: array[int] = array("I")
        self._ordinal_of: array[int] = array("I")
        self._first_parent = array("I", [0])
        self._parents: array[int] = array("I")
        self._draws: dict[tuple[int, int, tuple[int, ...]], int] = {}
        self._waits: dict[int, list[int]] = {}

    # What electrons and handles call ------------------------------------------------------------------------

    def call(self, electron: Electron[..., Any], args: Sequence[object], kwargs: Mapping[str, object]) -> Handle:
        """Record a node. Raises BindError, Undigestible, Unstorable naming electron and parameter."""
        at = self._row_of.get(id(electron))
        if at is None:
            at = self._add_row(electron)
        plain = self._plain[at]
        if plain is not None and not kwargs and len(args) == len(plain.names):
            node = self._call_plain(at, plain, args)
            if node is not None:
                return Handle(self, node, (), electron.options.outputs)
        names = self._names[at]
        if names is not None and not kwargs and len(args) == len(names):
            pairs: list[tuple[str, object]] = list(zip(names, args))  # noqa: B905 - equal by the line above
            spelled_args = tuple(range(len(pairs)))
            spelled_kwargs: tuple[tuple[str, int], ...] = ()
        else:
            pairs, spelled_args, spelled_kwargs = self._bind(at, args, kwargs)
        template, parents = self._template(at, pairs, spelled_args, spelled_kwargs)
        return Handle(self, self._append(at, template, parents), (), electron.options.outputs)

    def _call_plain(self, at: int, plain: _Plain, args: Sequence[object]) -> int | None:
        """As the long way round does it, for a call that is given only results as a whole and scalars; else None."""
        parents: list[int] = []
        params: list[tuple[str, Binding]] = []
        pieces: list[bytes] = []
        scalars = self._scalars
        for name, begins, value in zip(plain.names, plain.begins, args):  # noqa: B905 - as many, by the caller
            kind = type(value)
            pieces.append(begins)
            if kind is Handle and not value._cas_path:  # type: ignore[attr-defined]  # noqa: SLF001 - handles are ours
                slot = len(parents)
                if value._cas_trace is not self:  # type: ignore[attr-defined]  # noqa: SLF001
                    raise _foreign()
                parents.append(value._cas_node)  # type: ignore[attr-defined]  # noqa: SLF001
                params.append(plain.whole(name, slot))
                pieces.append(WHOLE)
                continue
            if kind is float:  # equal ones may differ: 0.0 and -0.0
                const = self._world.const(value)
            elif kind not in _REPEATED:
                return None
            else:
                found = scalars.get((kind, value))
                const = found or self._world.const(value)
                if found is None and const.blob is None and len(scalars) < _MOST_SCALARS:
                    scalars[kind, value] = const
            params.append((name, const))
            pieces += (CONSTANT, const.digest)
        digest = digest_of_one(b"".join(pieces))
        template = plain.known.get(digest)
        if template is None:
            template = plain.known[digest] = len(self._templates)
            slots = len(parents)
            self._templates.append(Template(tuple(params), plain.spelled, (), slots, slots, digest))
        return self._append(at, template, parents)

    def operator(self, function: Callable[..., Any], args: tuple[object, ...], kwargs: Mapping[str, object]) -> Handle:
        """Record an operator on a handle as a node of its own."""
        from cas_engine.electron import electron

        made = self._operators.get(function)
        if made is None:
            made = self._operators[function] = electron(function)
        return self.call(made, args, kwargs)

    def item_step(self, key: object) -> object | None:
        """A subscript as a step of an access path: itself, or a constant; None if it holds a handle."""
        if type(key) in (int, str, bool):
            return key
        return None if _holds_handle(key, set()) else self._const(key, f"the subscript at {place()}")

    def wait(self, child: Handle, parents: Sequence[Handle]) -> None:
        """Make a node wait for others whose results it does not take."""
        for parent in parents:
            self._mine(parent)
            self._waits.setdefault(self._mine(child), []).append(parent._cas_node)  # noqa: SLF001 - handles are ours

    def check_is_current(self) -> None:
        """Raise TracingError if what is being traced is another evaluation, or none."""
        if _current.get() is not self:
            raise _foreign()

    def name_of(self, node: int) -> str:
        """The electron of a node, for messages."""
        return self._rows[self._electron_of[node]].slot

    # Recording ----------------------------------------------------------------------------------------------

    def _add_row(self, electron: Electron[..., Any]) -> int:
        stands_in = self._replaced.get(electron.name)
        if stands_in is not None:
            self._check_same(electron)
        row = standing(stands_in or self._world.row(electron), self._replaced)
        for at, other in enumerate(self._rows):
            # The same code under one name, decorated twice, is one electron.
            if other == row:
                self._row_of[id(electron)] = at
                self._kept.append(electron)
                return at
        at = self._row_of[id(electron)] = len(self._rows)
        self._kept.append(electron)
        self._rows.append(row)
        self._electrons.append(electron)
        names = row.signature.simple_names() if not _has_defaults(row.signature) else None
        self._names.append(names)
        if names is None or row.ignore:
            self._plain.append(None)
        else:
            self._plain.append(_Plain(names, self._known.setdefault(names, {})))
        return at

    def _check_same(self, electron: Electron[..., Any]) -> None:
        """Raise AmbiguousElectron if another electron of this name has been replaced already."""
        first = self._replaced_one.setdefault(electron.name, electron)
        if first is not electron and self._world.row(first).code != self._world.row(electron).code:
            raise AmbiguousElectron(electron.name, [f"{place()} calls the other one"])

    def _bind(
        self, at: int, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> tuple[list[tuple[str, object]], tuple[int, ...], tuple[tuple[str, int], ...]]:
        row = self._rows[at]
        bound = bind(row.signature, len(args), list(kwargs), f"{place()}: electron `{row.slot}`")
        index = {where: i for i, (_, where) in enumerate(bound.order)}
        spelled_args = tuple(index["arg", i] for i in range(len(args)))
        spelled_kwargs = tuple((name, index["kw", name]) for name in kwargs)
        return pick(bound, args, kwargs), spelled_args, spelled_kwargs

    def _template(
        self,
        at: int,
        pairs: Sequence[tuple[str, object]],
        args: tuple[int, ...],
        kwargs: tuple[tuple[str, int], ...],
    ) -> tuple[int, tuple[int, ...]]:
        row = self._rows[at]
        parents: list[int] = []
        params: list[tuple[str, Binding]] = []
        leave_out = usual = _NO_NAMES
        if row.ignore:
            # Slots that count come first: those of ignored parameters must not reach the key.
            ignored = frozenset(name for name, _ in pairs if name.lstrip("*") in row.ignore)
            by_name = {n: self._param(row, n, v, parents) for n, v in pairs if n not in ignored}
            key_slots = len(parents)
            by_name.update((n, self._param(row, n, v, parents, self._world.unkeyed)) for n, v in pairs if n in ignored)
            params = [(n, by_name[n]) for n, _ in pairs]
            leave_out = ignored
        else:
            for name, value in pairs:
                params.append((name, self._param(row, name, value, parents)))
            key_slots = len(parents)
        if self._names[at] is None:
            usual = self._spelled_defaults(at, params)
            leave_out = leave_out | usual
        digest = template_digest(params, leave_out=leave_out)
        same: tuple[object, ...] = (digest, args, kwargs, tuple(n for n, _ in params))
        if leave_out:
            same = (*same, usual, tuple(b for n, b in params if n in leave_out))
        found = self._template_at.get(same)
        if found is None:
            found = self._template_at[same] = len(self._templates)
            self._templates.append(Template(tuple(params), args, kwargs, len(parents), key_slots, digest, usual))
        return found, tuple(parents)

    def _spelled_defaults(self, at: int, params: Sequence[tuple[str, Binding]]) -> frozenset[str]:
        # A default spelled out means the same as one left out, and that one is in the code's fingerprint.
        row = self._rows[at]
        with_default = {p.name for p in row.signature.parameters if p.has_default}
        electron = self._electrons[at]
        return frozenset(
            name
            for name, binding in params
            if name in with_default
            and isinstance(binding, Const)
            and row.slot not in self._replaced
            and binding.digest == self._world.default(electron, name)
        )

    def _param(
        self, row: Row, name: str, value: object, parents: list[int], const: Callable[[object], Const] | None = None
    ) -> Binding:
        paths = omitted(row.ignore, name.lstrip("*")) if row.ignore and const is None else ()
        try:
            if paths and not _holds_handle(value, set()):
                return self._world.partly(value, paths)
            return self._binding(value, parents, const or self._world.const)
        except (Undigestible, Unstorable) as problem:
            raise problem.within(f"electron `{row.slot}`: its argument `{name.lstrip('*')}`") from None

    def _binding(self, value: object, parents: list[int], const: Callable[[object], Const]) -> Binding:
        if type(value) is Handle:
            node = self._mine(value)
            parents.append(node)
            return Ref(len(parents) - 1, value._cas_path)  # noqa: SLF001 - handles are ours
        if type(value) in _SCALARS or not _holds_handle(value, set()):
            return const(value)
        if isinstance(value, dict):
            flat = [part for pair in value.items() for part in pair]
            return Items("dict", tuple(self._binding(part, parents, const) for part in flat))
        if type(value) in (list, tuple):
            kind = "list" if isinstance(value, list) else "tuple"
            items: Sequence[object] = value  # type: ignore[assignment]
            return Items(kind, tuple(self._binding(item, parents, const) for item in items))
        cls = self._world.const(type(value))
        return Fields(cls, tuple((name, self._binding(item, parents, const)) for name, item in _fields_of(value)))

    def _const(self, value: object, where: str) -> Const:
        try:
            return self._world.const(value)
        except (Undigestible, Unstorable) as problem:
            raise problem.within(where) from None

    def _mine(self, handle: Handle) -> int:
        if handle._cas_trace is not self:  # noqa: SLF001 - handles are ours
            raise _foreign()
        return handle._cas_node  # noqa: SLF001 - handles are ours

    def _append(self, at: int, template: int, parents: Sequence[int]) -> int:
        node = len(self._electron_of)
        ordinal = 0
        if self._rows[at].stochastic:
            draw = (at, template, tuple(parents))
            ordinal = self._draws[draw] = self._draws.get(draw, -1) + 1
        self._electron_of.append(at)
        self._template_of.append(template)
        self._ordinal_of.append(ordinal)
        self._parents.extend(parents)
        self._first_parent.append(len(self._parents))
        return node

    def _parents_of(self, node: int) -> tuple[int, ...]:
        """Those in its slots, then those it only waits for."""
        given = self._parents[self._first_parent[node] : self._first_parent[node + 1]]
        return (*given, *self._waits.get(node, ()))

    # The end ------------------------------------------------------------------------------------------------

    def finish(self, returned: object) -> Graph:
        """The graph of all that was called, with what the lattice function returned as its output."""
        output_parents: list[int] = []
        try:
            output = self._binding(returned, output_parents, self._world.const)
        except (Undigestible, Unstorable) as problem:
            raise problem.within("what the lattice returns") from None
        order = self._order()
        position = {node: i for i, node in enumerate(order)} if order is not None else None
        first, parents = self._first_parent, self._parents
        if self._waits:
            first, parents = array("I", [0]), array("I")
            for node in order if order is not None else range(len(self._electron_of)):
                above = self._parents_of(node)
                parents.extend(above if position is None else [position[p] for p in above])
                first.append(len(parents))
        return Graph(
            rows=tuple(self._rows),
            templates=self._templates,
            electron_of=self._electron_of if order is None else array("I", [self._electron_of[n] for n in order]),
            template_of=self._template_of if order is None else array("I", [self._template_of[n] for n in order]),
            ordinal_of=self._ordinal_of if order is None else array("I", [self._ordinal_of[n] for n in order]),
            first_parent=first,
            parents=parents,
            output=output,
            output_parents=tuple(p if position is None else position[p] for p in output_parents),
        )

    def _order(self) -> list[int] | None:
        """The order of the nodes, where `wait` made one hang on a later one; None if that of the calls will do."""
        if all(parent < child for child, above in self._waits.items() for parent in above):
            return None
        above = {node: set(self._parents_of(node)) for node in range(len(self._electron_of))}
        try:
            return list(graphlib.TopologicalSorter(above).static_order())
        except graphlib.CycleError as error:
            names = " -> ".join(f"`{self.name_of(node)}`" for node in reversed(error.args[1]))
            raise TracingError(f"these electrons wait for each other: {names}\n  -> take one `ct.wait` out") from None


def trace(
    lattice: Lattice[..., Any],
    args: Sequence[object],
    kwargs: Mapping[str, object],
    world: Surroundings,
    replaced: Mapping[str, Row],
) -> Graph:
    """Call a lattice's function with concrete inputs; the graph of the electrons it called.

    `replaced` maps names of electrons to the rows that stand in for them.
    """
    recording = Trace(world, replaced)
    with _recording(recording):
        returned = lattice.fn(*args, **kwargs)
    return recording.finish(returned)


def _foreign() -> TracingError:
    return TracingError(
        f"{place()} uses a result of another evaluation of a lattice\n"
        "  -> pass the value itself: `ct.get_result(dispatch_id).result`"
    )


@contextmanager
def _recording(recording: Trace) -> Iterator[None]:
    token = _current.set(recording)
    try:
        yield
    finally:
        _current.reset(token)


def wait(child: Any, parents: Any) -> Any:
    """Make `child` run after `parents`, though it takes nothing of theirs: for electrons with side effects.

    `child` and `parents` are results inside a lattice, or lists of them; `child` is returned. A change in a parent
    reaches the child's key. Outside a lattice, where everything has run in order, it does nothing.
    """
    children = child if isinstance(child, (list, tuple)) else [child]
    above = parents if isinstance(parents, (list, tuple)) else [parents]
    handles = [p for p in above if type(p) is Handle]
    for one in children:
        if type(one) is Handle and handles:
            one._cas_trace.wait(one, handles)  # noqa: SLF001 - handles are ours
    return child


class _Plain:
    """An electron whose calls are mostly given results and scalars by position: what is the same in all of them.

    `known` are the templates of such calls by digest, shared with other electrons of the same parameters.
    """

    __slots__ = ("_whole", "begins", "known", "names", "spelled")

    def __init__(self, names: tuple[str, ...], known: dict[Digest, int]) -> None:
        self.names = names
        self.begins = tuple(map(parameter_bytes, names))
        self.spelled = tuple(range(len(names)))
        self.known = known
        self._whole: dict[tuple[str, int], tuple[str, Ref]] = {}

    def whole(self, name: str, slot: int) -> tuple[str, Ref]:
        """A parameter that is given a result as a whole."""
        found = self._whole.get((name, slot))
        if found is None:
            found = self._whole[name, slot] = (name, Ref(slot, ()))
        return found


_SCALARS = (int, float, str, bool, type(None), bytes, complex)
_REPEATED = frozenset([int, str, bool, type(None), bytes])  # scalars that are equal only if they are the same
_MOST_SCALARS = 10_000


def _holds_handle(value: object, seen: set[int]) -> bool:
    pending = [value]  # not by recursion: values may be deeper than that goes
    while pending:
        one = pending.pop()
        kind = type(one)
        if kind is Handle:
            return True
        if kind in _SCALARS or (kind not in (list, tuple, dict) and not _has_fields(one)) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, dict):
            pending += one.keys()
            pending += one.values()
        elif kind in (list, tuple):
            pending += one  # type: ignore[arg-type]
        else:
            pending += [item for _, item in _fields_of(one)]
    return False


def _has_fields(value: object) -> bool:
    if isinstance(value, type):
        return False
    return dataclasses.is_dataclass(value) or (isinstance(value, tuple) and hasattr(value, "_fields"))


def _fields_of(value: Any) -> list[tuple[str, object]]:
    if isinstance(value, tuple):
        return list(zip(value._fields, value))  # type: ignore[attr-defined]  # noqa: B905 - one value a field
    return [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if hasattr(value, f.name)]


def _has_defaults(signature: Signature) -> bool:
    return any(p.has_default for p in signature.parameters)
