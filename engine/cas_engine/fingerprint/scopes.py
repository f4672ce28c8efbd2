"""The variables of a code object while it is written, its parameters among them, and what of those counts. Pure."""

from __future__ import annotations

from types import CodeType, FunctionType
from typing import TYPE_CHECKING, NamedTuple

from cas_engine.fingerprint.instructions import Instructions
from cas_engine.fingerprint.lookups import TELLING
from cas_engine.fingerprint.references import Imports

if TYPE_CHECKING:
    from cas_engine.fingerprint.bytecode import Canonical

_VARARGS, _VARKEYWORDS = 0x4, 0x8
_POSITIONAL = frozenset({"p", "a"})


class Parameter(NamedTuple):
    kind: str  # "p" positional only, "a" by position or name, "k" by name only, "*", "**"
    name: str
    slot: int  # the number of its variable, -1 when nothing reads it


class Scope:
    """The variables of one code object while it is written."""

    __slots__ = ("code", "frees", "imports", "locals", "numbers", "outer", "tells")

    def __init__(self, code: CodeType, found: Instructions, outer: Scope | None, imports: Imports) -> None:
        self.code = code
        self.outer = outer
        self.imports = imports
        self.frees = found.frees
        self.locals = found.locals
        self.numbers: dict[str, int] = {}
        # Whether a name that it reads may mean more than the name; hardly ever, and then each is looked at closely.
        self.tells: bool = (
            (outer is not None and outer.tells)
            or bool(imports.aliases)
            or not TELLING.isdisjoint(code.co_names)
            or not TELLING.isdisjoint(self.frees)
        )

    def parameters(self) -> list[tuple[str, str, int]]:
        """As Parameter, which is slow to make."""
        code, names, numbers = self.code, self.locals, self.numbers
        count = code.co_argcount
        if not (code.co_posonlyargcount or code.co_kwonlyargcount or code.co_flags & (_VARARGS | _VARKEYWORDS)):
            return [("a", name, numbers.get(name, -1)) for name in names[:count]]
        kinds = ["p"] * code.co_posonlyargcount + ["a"] * (count - code.co_posonlyargcount)
        kinds += ["k"] * code.co_kwonlyargcount
        kinds += ["*"] * bool(code.co_flags & _VARARGS) + ["**"] * bool(code.co_flags & _VARKEYWORDS)
        called = {"a", "k"}  # the only names that a caller can see
        return [
            (kind, name if kind in called else "", numbers.get(name, -1))
            for kind, name in zip(kinds, names)  # noqa: B905 - names goes on with the local variables
        ]

    def told(self) -> tuple[tuple[str, int], ...]:
        return tuple(sorted(self.numbers.items(), key=lambda item: item[1]))


class Call(NamedTuple):
    """What counts of a function's parameters, when certain ones have defaults."""

    said: tuple[tuple[object, ...], ...]
    hidden: tuple[str, ...]
    defaults: tuple[tuple[int, str, int | str], ...]  # (number of the parameter, its name, where its default is)


def call_of(fn: FunctionType, form: Canonical) -> Call:
    """As above; worked out once for a code object, for as many defaults and those names."""
    by_name = fn.__kwdefaults__
    count = len(fn.__defaults__ or ())
    key: object = (count, frozenset(by_name)) if by_name else count
    known: Call | None = form.calls.get(key)
    if known is None:
        known = form.calls[key] = _new_call(fn, form)
    return known


def _new_call(fn: FunctionType, form: Canonical) -> Call:
    by_name = fn.__kwdefaults__ or {}
    first = fn.__code__.co_argcount - len(fn.__defaults__ or ())
    hides = fn.__code__.co_name == "<lambda>"  # hardly ever called by these names
    kept = _kept_parameters(fn, form)
    said: list[tuple[object, ...]] = []
    defaults: list[tuple[int, str, int | str]] = []
    for at, (kind, name, slot) in enumerate(kept):
        has_default = at >= first if kind in _POSITIONAL else kind == "k" and name in by_name
        said.append((kind, "" if hides else name, slot, has_default))
        if has_default:
            defaults.append((at, name, name if kind == "k" else at - first))
    return Call(tuple(said), tuple(name for _, name, _ in kept) if hides else (), tuple(defaults))


def _kept_parameters(fn: FunctionType, form: Canonical) -> tuple[Parameter, ...]:
    """The parameters that count: all but those with a default that nothing reads and whose absence moves no other.

    So a new optional argument that the body doesn't use leaves the fingerprint as it was.
    """
    parameters = form.parameters
    optional = len(fn.__defaults__ or ())
    by_name = fn.__kwdefaults__ or {}
    if not (optional or by_name) or form.reads_locals:
        return parameters
    if min([p.slot for p in parameters], default=0) >= 0:
        return parameters
    kinds = {p.kind for p in parameters}
    if "**" in kinds:  # a new name would be taken from **kwargs
        return parameters
    kept = parameters
    if by_name:
        kept = tuple(p for p in parameters if not (p.kind == "k" and p.slot < 0 and p.name in by_name))
    positional = sum(p.kind in _POSITIONAL for p in kept)  # they come first
    while optional and positional and "*" not in kinds and kept[positional - 1].slot < 0:
        positional -= 1
        kept = kept[:positional] + kept[positional + 1 :]
        optional -= 1
    return kept
