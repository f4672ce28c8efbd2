"""Calls a lattice function once and records which electrons it calls with what."""

from __future__ import annotations

import graphlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from cas_engine.errors import AmbiguousElectron, TracingError
from cas_engine.graphs.alike import SMALL_TYPES, Alike, Kind, Small
from cas_engine.graphs.arguments import Arguments, Surroundings, Watch, holds_handle
from cas_engine.graphs.bindings import Binding, Const, Template, template_digest
from cas_engine.graphs.graph import Graph, Row, standing
from cas_engine.graphs.handles import Handle, place
from cas_engine.graphs.signatures import Signature, Way, way_of
from cas_engine.graphs.templates import Growing

if TYPE_CHECKING:
    from cas_engine.graphs.electron import Electron
    from cas_engine.graphs.lattice import Lattice

_current: ContextVar[Trace | None] = ContextVar("cas_trace", default=None)
_MOST_ALIKE = 64  # arguments: calls with more are rare, and what they have in common takes room
_NO_NAMES: frozenset[str] = frozenset()


# The trace that electrons called right now record themselves in, if a lattice is being traced. Asked for by each call.
current = _current.get


def _kind_of(value: object) -> Kind:
    """Its type; of a short list or tuple of results alone, how many it holds as well."""
    kind = type(value)
    if (kind is list or kind is tuple) and set(map(type, value)) == {Handle}:  # type: ignore[call-overload]
        return (kind, len(value)) if len(value) <= _MOST_ALIKE else kind  # type: ignore[arg-type]
    return kind


class Trace:
    """Records nodes in the order of the calls."""

    def __init__(self, world: Surroundings, replaced: Mapping[str, Row], watch: Watch | None = None) -> None:
        self._world = world
        self._watch = watch
        self._replaced = replaced
        self._arguments = Arguments(world, self._mine)
        self._rows: list[Row] = []
        self._row_of: dict[int, int] = {}
        self._kept: list[object] = []  # so that no id in `_row_of` is given to another object
        self._electrons: list[Electron[..., Any]] = []
        self._replaced_one: dict[str, Electron[..., Any]] = {}
        self._operators: dict[object, Electron[..., Any]] = {}
        self._ways: dict[tuple[object, ...], Written] = {}
        self._spellings: dict[Way, int] = {}
        # The calls of each row, by the types of what they are given; None where they are to be looked at one by one.
        self._alike: list[dict[object, Alike | None]] = []
        self._alike_by: dict[object, dict[object, Alike | None]] = {}  # the same, of rows that are called alike
        self._templates = Growing()
        self._template_at: dict[tuple[object, ...], int] = {}
        self._electron_of: array[int] = array("I")
        self._template_of: array[int] = array("I")
        self._first_parent = array("I", [0])
        self._parents: array[int] = array("I")
        self._draws: dict[tuple[int, int, tuple[int, ...]], int] = {}
        self._ordinals: dict[int, int] = {}  # of draws that are not the first of their kind
        self._outputs: dict[int, int] = {}  # how many values there are in results of which that is known
        self._waits: dict[int, list[int]] = {}

    # What electrons and handles call ------------------------------------------------------------------------

    def call(self, electron: Electron[..., Any], args: tuple[object, ...], kwargs: Mapping[str, object]) -> Handle:
        """Record a node. Raises BindError, Undigestible, Unstorable naming electron and parameter."""
        if self._watch is not None and self._watch.has_changed():
            self._row_of.clear()  # what an electron reads counts as it is when it is called
            self._world.look_again()
        at = self._row_of.get(id(electron))
        if at is None:
            at = self._add_row(electron)
        node = self._call_like_others(at, args, kwargs)
        if node is None:
            node = self._append(at, *self._template(at, args, kwargs))
        outputs = electron.options.outputs
        if outputs is not None:
            self._outputs[node] = outputs
        return Handle(self, node)

    def _call_like_others(self, at: int, args: tuple[object, ...], kwargs: Mapping[str, object]) -> int | None:
        """As the long way round does it, for a call that is given whole results, lists of these, scalars; else None.

        All that such calls have in common is looked at once: this takes a tenth of the time.
        """
        if len(args) > _MOST_ALIKE:
            return None
        values = (*args, *kwargs.values()) if kwargs else args
        kinds: tuple[Kind, ...] = tuple(map(type, values))
        if list in kinds or tuple in kinds:
            kinds = tuple(map(_kind_of, values))
        shape = (kinds, *kwargs) if kwargs else kinds
        alike = self._alike[at].get(shape)
        if alike is None:
            if shape not in self._alike[at]:
                self._alike[at][shape] = self._alike_of(at, kinds, len(args), kwargs)
            alike = self._alike[at][shape]
            if alike is None:
                return None
        parents: list[int] = []
        for where in alike.results:
            given: Any = values[where]
            handle: Handle
            for handle in (given,) if type(given) is Handle else given:
                if handle._cas_path:  # noqa: SLF001 - handles are ours
                    return None
                if handle._cas_trace is not self:  # noqa: SLF001
                    raise _foreign()
                parents.append(handle._cas_node)  # noqa: SLF001
        constants = alike.constants_in(values)
        template = alike.known.get(constants)
        if template is None:
            small: list[Small] = []
            for where in alike.constants:
                one = self._world.small(values[where])
                if one is None:
                    return None  # large, and not to be held on to
                small.append(one)
            digest = alike.digest(small)
            if digest is not None:
                template = self._templates.add(alike, digest, small)
            else:
                template, _ = self._template(at, args, kwargs)
            alike.known[constants] = template
        return self._append(at, template, parents)

    def _alike_of(self, at: int, kinds: tuple[Kind, ...], positional: int, named: Mapping[str, object]) -> Alike | None:
        """What calls have in common that are given values of these types; None where they are to be looked at."""
        if any(type(kind) is not tuple and kind not in SMALL_TYPES and kind is not Handle for kind in kinds):
            return None
        if str in kinds and self._world.const_of(self._rows[at]) is not None:
            return None
        written = self._written(at, positional, named)
        default, electron = self._world.default, self._electrons[written.at]
        defaults = ((name, default(electron, name)) for name in written.with_default)
        usual = {name: digest for name, digest in defaults if digest is not None}
        return Alike(written.way, kinds, Handle, written.ignored, usual)

    def operator(self, function: Callable[..., Any], args: tuple[object, ...], kwargs: Mapping[str, object]) -> Handle:
        """Record an operator on a handle as a node of its own."""
        from cas_engine.graphs.electron import electron

        made = self._operators.get(function)
        if made is None:
            made = self._operators[function] = electron(function)
        return self.call(made, args, kwargs)

    def item_step(self, key: object) -> object | None:
        """A subscript as a step of an access path: itself, or a constant; None if it holds a handle."""
        if type(key) in (int, str, bool):
            return key
        return None if holds_handle(key) else self._arguments.const(key, f"the subscript at {place()}")

    def wait(self, child: Handle, parents: Sequence[Handle]) -> None:
        """Make a node wait for others whose results it does not take."""
        for parent in parents:
            self._mine(parent)
            self._waits.setdefault(self._mine(child), []).append(parent._cas_node)  # noqa: SLF001 - handles are ours

    def check_is_current(self) -> None:
        """Raise TracingError if what is being traced is another evaluation, or none."""
        if _current.get() is not self:
            raise _foreign()

    def outputs_of(self, node: int) -> int | None:
        """How many values there are in the result of a node, if that is known."""
        return self._outputs.get(node)

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
        if row.ignore or not row.signature.known or _having_defaults(row.signature) or self._world.const_of(row):
            self._alike.append({})
        else:
            parameters = tuple((p.name, p.kind) for p in row.signature.parameters)
            self._alike.append(self._alike_by.setdefault(parameters, {}))
        return at

    def _check_same(self, electron: Electron[..., Any]) -> None:
        """Raise AmbiguousElectron if another electron of this name has been replaced already."""
        first = self._replaced_one.setdefault(electron.name, electron)
        if first is not electron and self._world.row(first).code != self._world.row(electron).code:
            raise AmbiguousElectron(electron.name, [f"{place()} calls the other one"])

    def _written(self, at: int, positional: int, named: Mapping[str, object]) -> Written:
        """How calls are bound that are written so. Raises BindError."""
        written = (at, positional, *named)
        found = self._ways.get(written)
        if found is None:
            row = self._rows[at]
            way = way_of(row.signature, positional, list(named), f"{place()}: electron `{row.slot}`")
            ignored = frozenset(name for name, _ in way.params if name.lstrip("*") in row.ignore)
            # A default spelled out means the same as one left out, and that one is in the code's fingerprint.
            with_default = frozenset() if row.slot in self._replaced else _having_defaults(row.signature)
            spelling = self._spellings.setdefault(way, len(self._spellings))
            found = self._ways[written] = Written(at, way, spelling, ignored, with_default)
        return found

    def _template(self, at: int, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[int, Sequence[int]]:
        """The call as a template, and the nodes in its slots."""
        row, written, param = self._rows[at], self._written(at, len(args), kwargs), self._arguments.param
        values, way, ignored = (*args, *kwargs.values()), written.way, written.ignored
        parents: list[int] = []
        # Slots that count come first: those of ignored parameters must not reach the key.
        params = [(name, param(row, name, values[place], parents)) for name, place in way.params if name not in ignored]
        key_slots = len(parents)
        if ignored:
            by_name = dict(params)
            for name, place in way.params:
                if name in ignored:
                    by_name[name] = param(row, name, values[place], parents, is_ignored=True)
            params = [(name, by_name[name]) for name, _ in way.params]
        usual = self._spelled_defaults(written, params) if written.with_default else _NO_NAMES
        leave_out = ignored | usual
        digest = template_digest(params, leave_out=leave_out)
        same: tuple[object, ...] = (digest, written.spelling)
        if leave_out:
            same = (*same, usual, tuple([binding for name, binding in params if name in leave_out]))
        found = self._template_at.get(same)
        if found is None:
            found = self._template_at[same] = len(self._templates)
            slots = len(parents)
            self._templates.append(Template(tuple(params), way.args, way.kwargs, slots, key_slots, digest, usual))
        return found, parents

    def _spelled_defaults(self, written: Written, params: Sequence[tuple[str, Binding]]) -> frozenset[str]:
        default, electron = self._world.default, self._electrons[written.at]
        return frozenset(
            name
            for name, binding in params
            if name in written.with_default and isinstance(binding, Const) and binding.digest == default(electron, name)
        )

    def _mine(self, handle: Handle) -> int:
        if handle._cas_trace is not self:  # noqa: SLF001 - handles are ours
            raise _foreign()
        return handle._cas_node  # noqa: SLF001 - handles are ours

    def _append(self, at: int, template: int, parents: Sequence[int]) -> int:
        node = len(self._electron_of)
        if self._rows[at].stochastic:
            draw = (at, template, tuple(parents))
            ordinal = self._draws[draw] = self._draws.get(draw, -1) + 1
            if ordinal:
                self._ordinals[node] = ordinal
        self._electron_of.append(at)
        self._template_of.append(template)
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
        self._templates.take_parts = self._arguments.take_parts
        output = self._arguments.returned(returned, output_parents)
        for alike in self._alike:
            for one in alike.values():
                if one is not None:
                    one.known.clear()  # the graph lives on, and needs none of it
        order = self._order()
        position = {node: i for i, node in enumerate(order)} if order is not None else None
        first, parents = self._first_parent, self._parents
        ordinal_of = array("I", bytes(4 * len(self._electron_of)))
        for node, ordinal in self._ordinals.items():
            ordinal_of[node if position is None else position[node]] = ordinal
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
            ordinal_of=ordinal_of,
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
    recording = Trace(world, replaced, world.watch(lattice.fn))
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


class Written(NamedTuple):
    """Calls of an electron that are written alike, by the number of what they are given and its names."""

    at: int
    way: Way
    spelling: int  # one for all that are written so, whatever they call
    ignored: frozenset[str]  # parameters that no key counts
    with_default: frozenset[str]  # those that it does not count where they are given their own default


def _having_defaults(signature: Signature) -> frozenset[str]:
    return frozenset(p.name for p in signature.parameters if p.has_default)
