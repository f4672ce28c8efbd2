"""What plain code reads, held by identity: a glimpse tells that nothing has changed in a twentieth of a look's time.

Only of functions of the user's that read each other, constants and builtins, each by its name. Whatever else code may
read, and whatever a glimpse finds to be another object, takes a look: docs/decisions/0017.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from cas_engine.fingerprint import Fingerprint
from cas_engine.fingerprint.bytecode import canonical
from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.references import FREE, GLOBAL

_CONSTANTS = (int, float, complex, bool, str, bytes, type(None))
# Those that lead to nothing but what they are given, nor look at the code of that.
# fmt: off
_HARMLESS = frozenset([
    "abs", "all", "any", "ascii", "bin", "bool", "bytes", "chr", "complex", "dict", "divmod", "enumerate", "filter",
    "float", "format", "frozenset", "hash", "hex", "int", "isinstance", "iter", "len", "list", "map", "max", "min",
    "next", "oct", "ord", "pow", "print", "range", "repr", "reversed", "round", "set", "slice", "sorted", "str",
    "sum", "tuple", "zip",
])
# fmt: on
_ABSENT = object()


class Glimpse:
    """Made of what a look has just found to be as it was recorded."""

    def __init__(self) -> None:
        self.names: list[tuple[dict[str, Any], str, object]] = []
        self.cells: list[tuple[CellType, object]] = []
        self.functions: list[tuple[FunctionType, CodeType, tuple[Any, ...] | None]] = []

    def holds(self) -> bool:
        """Whether all of it is what it was."""
        for namespace, name, was in self.names:
            if namespace.get(name, _ABSENT) is not was:
                return False
        for function, code, defaults in self.functions:
            if function.__code__ is not code or function.__defaults__ is not defaults or _has_more(function):
                return False
        for cell, was in self.cells:
            try:
                if cell.cell_contents is not was:
                    return False
            except ValueError:  # it is empty now
                return False
        return True


def glimpse_of(found: Fingerprint, nodes: Iterable[Node]) -> Glimpse | None:
    """Of what a look has found, with all that it met; None where identity would not tell enough."""
    odd = found.electrons or found.unresolved or found.warnings or found.brought
    if odd or found.packages != ("python",):
        return None
    nodes, glimpse = list(nodes), Glimpse()
    met = {id(node.obj) for node in nodes}
    for node in nodes:
        if not _is_plain(node):
            return None
        if not (_is_constant(node.obj) or _is_pythons_own(node.obj) or _add(glimpse, node.obj, met)):
            return None
    return glimpse


def _is_plain(node: Node) -> bool:
    leads_on = node.evaluates or node.computes or node.reflects or node.hidden or node.derived
    return not (leads_on or node.electron or node.unresolved or node.warnings)


def _is_constant(value: object) -> bool:
    return type(value) in _CONSTANTS or (type(value) is tuple and all(map(_is_constant, value)))


def _has_more(function: FunctionType) -> bool:
    """Defaults that can be changed in place, attributes."""
    return bool(function.__kwdefaults__ or function.__dict__)


def _add(glimpse: Glimpse, function: object, met: set[int]) -> bool:
    """Whether it is a function that reads nothing but what can be held so."""
    if type(function) is not FunctionType or _has_more(function) or not _is_constant(function.__defaults__ or ()):
        return False
    form = canonical(function.__code__)
    if form.writes or form.computed_imports or form.reads_locals or form.queries:
        return False
    glimpse.functions.append((function, function.__code__, function.__defaults__))
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    for ref in form.refs:
        if ref.attrs or ref.source not in (GLOBAL, FREE):
            return False
        if ref.source == FREE:
            cell = cells.get(ref.name)
            if cell is None or not _is_held(value := _content(cell), met):
                return False
            glimpse.cells.append((cell, value))
        elif not _add_global(glimpse, function.__globals__, ref.name, met):
            return False
    return True


def _add_global(glimpse: Glimpse, namespace: dict[str, Any], name: str, met: set[int]) -> bool:
    value = namespace.get(name, _ABSENT)
    glimpse.names.append((namespace, name, value))
    if value is not _ABSENT:
        return _is_held(value, met)
    inner = namespace.get("__builtins__", _ABSENT)
    glimpse.names.append((namespace, "__builtins__", inner))
    inside = vars(inner) if isinstance(inner, ModuleType) else inner
    if inside is not vars(builtins) or not (name in _HARMLESS or _is_error(inside.get(name))):
        return False
    glimpse.names.append((inside, name, inside[name]))
    return True


def _is_held(value: object, met: set[int]) -> bool:
    """Whether the look has met this very object, and it is one that is told by identity."""
    return id(value) in met and (type(value) is FunctionType or _is_constant(value))


def _is_pythons_own(value: object) -> bool:
    """A class of Python's, in which nothing can be changed."""
    return type(value) is type and getattr(builtins, value.__name__, None) is value


def _is_error(value: object) -> bool:
    return _is_pythons_own(value) and issubclass(value, BaseException)  # type: ignore[arg-type]


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return _ABSENT
