"""The canonical form of a code object: what it does, whatever its formatting, names, line numbers. Pure."""

from __future__ import annotations

from types import CodeType
from typing import Any, NamedTuple

from cas_engine.fingerprint.constants import dumped
from cas_engine.fingerprint.readings import LEADING_ON, LOADERS
from cas_engine.fingerprint.references import Ref
from cas_engine.fingerprint.scopes import Parameter
from cas_engine.fingerprint.writing import Writer
from cas_store.digest import digest_of_one

_TELLING = LEADING_ON | LOADERS
_NOTHING: frozenset[str] = frozenset()


class Canonical(NamedTuple):
    """The pure part of a function's identity."""

    digest: bytes  # of the body
    parameters: tuple[Parameter, ...]
    refs: tuple[Ref, ...]  # in the order of first reading
    writes: tuple[str, ...]  # "global COUNT": what it writes outside itself
    reflects: frozenset[str]  # values of REFLECTIVE
    names: frozenset[str]  # all names that it mentions
    asked: frozenset[str]  # attributes that it reads of what isn't a name
    counted: frozenset[str]  # attributes that are only counted up
    computed_imports: bool  # imports what only running it would tell
    literals: tuple[str, ...]  # string constants, kept only where a computed import may use them
    keywords: frozenset[str]  # names by which it may pass arguments
    hidden: tuple[str, ...]  # parameters of its lambdas: they count where something passes arguments by these names
    reads_locals: bool  # it may look at its own variables by name
    queries: bool  # it asks a package to look up what a text names that is made elsewhere
    is_telling: bool  # whether there is more to note of it than what it reads, asks for and passes
    calls: dict[object, Any]  # ways to call it, by which parameters have defaults; filled as they are met


_memo: dict[int, tuple[CodeType, Canonical]] = {}


def canonical(code: CodeType) -> Canonical:
    """The canonical form, computed once for a code object and process."""
    known = _memo.get(id(code))
    if known is None:
        known = _memo[id(code)] = (code, written(code))
    return known[1]


def written(code: CodeType) -> Canonical:
    """The canonical form, computed anew."""
    writer = Writer()
    parameters = writer.write(code)
    names = frozenset(writer.names)
    computes = writer.computed_imports
    # As a tuple, in the order given above: several times as quick as by name.
    told: tuple[Any, ...] = (
        digest_of_one(dumped(writer.out)),
        tuple(parameters),
        tuple(writer.slots),
        tuple(writer.writes),
        frozenset(writer.reflects) if writer.reflects else _NOTHING,
        names,
        frozenset(writer.asked) if writer.asked else _NOTHING,
        frozenset(writer.counted - writer.uncounted) if writer.counted else _NOTHING,
        computes or not names.isdisjoint(LOADERS),
        tuple(writer.strings) if computes or "modules" in names else (),
        frozenset(writer.keywords) if writer.keywords else _NOTHING,
        tuple(writer.hidden),
        writer.reads_locals,
        "" in writer.queries,
        bool(computes or writer.reflects or writer.hidden or writer.writes or writer.queries)
        or not names.isdisjoint(_TELLING),
        {},
    )
    return tuple.__new__(Canonical, told)
