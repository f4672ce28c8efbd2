"""What arguments of a call are bound to: constants, results of other nodes, and structures that hold such."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, Protocol

from cas_engine.errors import Undigestible, Unstorable
from cas_engine.graphs.alike import Small
from cas_engine.graphs.bindings import Binding, Const, Fields, Items, Ref
from cas_engine.graphs.graph import Row
from cas_engine.graphs.handles import Handle
from cas_engine.graphs.omission import Step, omitted

if TYPE_CHECKING:
    from cas_engine.graphs.electron import Electron


class Watch(Protocol):
    """Looks at what may change."""

    def has_changed(self) -> bool:
        """Whether it has, or may have, since it was asked last."""


class Surroundings(Protocol):
    """What a trace asks of the world: electrons described, constants digested."""

    def row(self, electron: Electron[..., Any]) -> Row:
        """The row of an electron, fingerprinted and with its capsule."""

    def const_of(self, row: Row) -> Callable[[object], Const] | None:
        """As `const`, for what is given to an electron that looks up what texts name; None for all others."""

    def watch(self, fn: Callable[..., Any]) -> Watch | None:
        """What tells whether a lattice's function has changed what its electrons read; None if it changes nothing."""

    def look_again(self) -> None:
        """Forget what code was: it may be another now."""

    def const(self, value: object) -> Const:
        """A value by digest, its bytes kept. Raises Undigestible, Unstorable."""

    def small(self, value: object) -> Small | None:
        """As `const` of a value of one of SMALL_TYPES, in short; None if it is a blob."""

    def partly(self, value: object, leave_out: Sequence[tuple[Step, ...]]) -> Const:
        """As `const`, its digest without what lies at these paths."""

    def unkeyed(self, value: object) -> Const:
        """A value that no key counts, so that it need have no stable content. Raises Unstorable."""

    def default(self, electron: Electron[..., Any], parameter: str) -> bytes | None:
        """The digest of a parameter's default, None if it has none or none that is stable."""


class Arguments:
    """Binds what calls are given; `node_of` tells the node of a result, and raises if it is none of this trace."""

    def __init__(self, world: Surroundings, node_of: Callable[[Handle], int]) -> None:
        self._world = world
        self._node_of = node_of
        self.take_parts = False  # whether something was bound to a part of a result

    def param(self, row: Row, name: str, value: object, parents: list[int], *, is_ignored: bool = False) -> Binding:
        """What a parameter of an electron is bound to; the nodes that it hangs on are put to `parents`, by slot.

        Raises Undigestible, Unstorable, naming electron and parameter.
        """
        const = self._world.unkeyed if is_ignored else self._world.const_of(row) or self._world.const
        paths = omitted(row.ignore, name.lstrip("*")) if row.ignore and not is_ignored else ()
        try:
            if paths and not holds_handle(value):
                return self._world.partly(value, paths)
            return self._binding(value, parents, const)
        except (Undigestible, Unstorable) as problem:
            raise problem.within(f"electron `{row.slot}`: its argument `{name.lstrip('*')}`") from None

    def returned(self, value: object, parents: list[int]) -> Binding:
        """The same of what a lattice returns."""
        try:
            return self._binding(value, parents, self._world.const)
        except (Undigestible, Unstorable) as problem:
            raise problem.within("what the lattice returns") from None

    def const(self, value: object, where: str) -> Const:
        """A value that holds no result; `where` is how errors name it."""
        try:
            return self._world.const(value)
        except (Undigestible, Unstorable) as problem:
            raise problem.within(where) from None

    def _binding(self, value: object, parents: list[int], const: Callable[[object], Const]) -> Binding:
        if type(value) is Handle:
            node = self._node_of(value)
            parents.append(node)
            path = value._cas_path  # noqa: SLF001 - handles are ours
            if path:
                self.take_parts = True
            return Ref(len(parents) - 1, path)
        if type(value) in _SCALARS or not holds_handle(value):
            return const(value)
        if isinstance(value, dict):
            flat = [part for pair in value.items() for part in pair]
            return Items("dict", self._items(flat, parents, const))
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return Items("list" if isinstance(value, list) else "tuple", self._items(value, parents, const))
        cls = self._world.const(type(value))
        return Fields(cls, tuple((name, self._binding(item, parents, const)) for name, item in _fields_of(value)))

    def _items(
        self, values: Sequence[object], parents: list[int], const: Callable[[object], Const]
    ) -> tuple[Binding, ...]:
        if len(values) >= _MANY and set(map(type, values)) == {Handle}:  # in a row, in half of the time
            slots = range(len(parents), len(parents) + len(values))
            paths = [value._cas_path for value in values]  # type: ignore[attr-defined]  # noqa: SLF001
            parents += map(self._node_of, values)  # type: ignore[arg-type]
            self.take_parts = self.take_parts or any(paths)
            return tuple(map(tuple.__new__, repeat(Ref), zip(slots, paths)))  # noqa: B905 - hot, and as many
        return tuple([self._binding(value, parents, const) for value in values])


_MANY = 16
_SCALARS = (int, float, str, bool, type(None), bytes, complex)


def holds_handle(value: object) -> bool:
    """Whether there is a result in a value, where structures may hold one."""
    pending, seen = [value], set[int]()  # not by recursion: values may be deeper than that goes
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
