"""Which globals, modules and parts of modules a function reaches: as its fingerprint sees it, for recording it."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from cas_engine.capsules.installed import is_dispatcher, is_installed, is_users_class, is_users_module
from cas_engine.fingerprint.bytecode import canonical
from cas_engine.fingerprint.origin import owner_of_module
from cas_engine.fingerprint.readings import MODULE_READERS, REFLECTIVE, UNPICKLERS
from cas_engine.fingerprint.references import COUNTER, FREE, GLOBAL, IMPORT, LITERAL, OPTIONAL
from cas_engine.fingerprint.resolve import import_module
from cas_engine.graphs.handles import Handle, refuse_hidden
from cas_engine.modules.program import absolute_name, program_of
from cas_store.errors import CasRunError

if TYPE_CHECKING:
    from cas_engine.fingerprint.pickled import Pickled

# The chains of attributes that are read from a thing; () is the thing as a whole.
Paths = frozenset[tuple[str, ...]]
WHOLE: Paths = frozenset([()])
_ANNOTATION_READERS = frozenset(name for name, what in REFLECTIVE.items() if what in {"annotations", "signatures"})
# What Python itself puts into a module.
NOT_CARRIED = frozenset({"__builtins__", "__spec__", "__loader__", "__cached__", "__warningregistry__"})


def globals_of(code: types.CodeType) -> dict[str, Paths]:
    """The names of the module that the code reads, in the order of the code, and what it reads of each."""
    return _paths(code, (GLOBAL, COUNTER, OPTIONAL))


def variables_of(code: types.CodeType) -> dict[str, Paths]:
    """The same for variables of the enclosing function."""
    return _paths(code, (FREE,))


def reads_any_global(code: types.CodeType) -> bool:
    """Whether it asks for its globals by names that are not in the code."""
    known = canonical(code)
    return known.queries or not MODULE_READERS.isdisjoint(known.names)


def looks_up_modules(code: types.CodeType) -> bool:
    """Whether it may import modules whose names are not in the code, itself or by what it brings back from a pickle."""
    known = canonical(code)
    return known.computed_imports or not UNPICKLERS.isdisjoint(known.names)


def modules_with(pickled: Iterable[Pickled]) -> Iterator[tuple[types.ModuleType, Paths]]:
    """The modules that pickles name, and what they name of each."""
    for each in pickled:
        yield each.holder, frozenset([(each.name.partition(".")[0],)])


def reads_annotations(code: types.CodeType) -> bool:
    """Whether it asks for annotations, its own or those of others."""
    return not _ANNOTATION_READERS.isdisjoint(canonical(code).names)


def modules_of(fn: types.FunctionType) -> Iterator[tuple[types.ModuleType, Paths]]:
    """The user's modules that the body imports, and what it reads of each."""
    known = canonical(fn.__code__)
    for ref in known.refs:
        if ref.source not in {IMPORT, LITERAL}:
            continue
        level = ref.level or (len(ref.name) - len(ref.name.lstrip(".")) if ref.source == LITERAL else 0)
        name = absolute_name(ref.name.lstrip("."), fn.__globals__, level)
        module = users_module(name, fn)
        if module is None:
            continue
        if ref.top:
            # `import a.b` binds `a` and looks for `a.b`.
            yield module, frozenset()
            top = users_module(name.partition(".")[0], fn)
            if top is not None:
                yield top, frozenset([ref.attrs])
        else:
            yield module, frozenset([ref.attrs])
    for text in known.literals:
        # An import of a computed name: the module may be one that the code names somewhere.
        if text in sys.modules or text in program_of(fn.__globals__):
            module = users_module(text, fn)
            if module is not None:
                yield module, WHOLE


def users_module(name: str, fn: types.FunctionType) -> types.ModuleType | None:
    """The module of the user's of that name, as `fn` would import it."""
    recorded = program_of(fn.__globals__).get(name)
    if recorded is not None:
        return recorded
    owner = owner_of_module(name)
    return import_module(name) if owner.is_user and not owner.compiled else None


def modules_below(namespace: dict[str, object]) -> list[types.ModuleType]:
    """The modules right below a package of the user's, all of which count where the package counts as a whole."""
    package = namespace.get("__name__")
    if "__path__" not in namespace or not isinstance(package, str):
        return []
    known = program_of(namespace) or sys.modules
    names = sorted(name for name in list(known) if name.rpartition(".")[0] == package)
    return [known[name] for name in names if not name.endswith(".__main__")]


def by_first(paths: Paths) -> dict[str, Paths]:
    """The chains sorted by their first attribute."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for path in sorted(paths):
        if path:
            found.setdefault(path[0], set()).add(path[1:])
    return {name: frozenset(deeper) for name, deeper in found.items()}


def submodules(package: types.ModuleType, paths: Paths) -> Iterator[types.ModuleType]:
    """The loaded modules below an installed package that the chains lead to."""
    for path in sorted(paths):
        name = package.__name__
        for part in path:
            name = f"{name}.{part}"
            module = sys.modules.get(name)
            if module is None:
                break
            yield module


def _paths(code: types.CodeType, sources: tuple[str, ...]) -> dict[str, Paths]:
    found: dict[str, set[tuple[str, ...]]] = {}
    for ref in canonical(code).refs:
        if ref.source in sources:
            found.setdefault(ref.name, set()).add(ref.attrs)
    return {name: frozenset(paths) for name, paths in found.items()}


def innermost_first(root: object) -> list[Any]:
    """The user's functions below the root, each after those that it reaches (but for cycles)."""
    order: list[Any] = []
    seen: dict[int, object] = {}
    pending: list[tuple[Any, bool]] = [(root, False)]
    while pending:
        thing, done = pending.pop()
        if done:
            if type(thing) is types.FunctionType:
                order.append(thing)
            continue
        if id(thing) not in seen:
            seen[id(thing)] = thing
            pending.append((thing, True))
            try:
                pending += [(below, False) for below in _below(thing)]
            except CasRunError:
                raise
            except Exception:  # noqa: BLE001, S112 - a class or an object may refuse to be looked into
                continue
    return order


def _below(thing: Any) -> list[Any]:
    """What a function, or something that holds functions, leads to."""
    if isinstance(thing, types.FunctionType):
        if is_installed(thing):
            return []
        if is_dispatcher(thing):
            return list(vars(thing)["registry"].values())
        space = thing.__globals__
        names = space if reads_any_global(thing.__code__) else globals_of(thing.__code__)
        return [*(space[name] for name in names if name in space), *(thing.__closure__ or ())]
    if isinstance(thing, types.CellType):
        try:
            return [thing.cell_contents]
        except ValueError:
            return []
    if isinstance(thing, types.ModuleType):
        return list(vars(thing).values()) if is_users_module(thing) else []
    if isinstance(thing, type):
        return list(vars(thing).values()) if is_users_class(thing) else []
    if type(thing) in {dict, types.MappingProxyType}:
        return list(thing.values())
    if type(thing) in {list, tuple, set, frozenset}:
        return list(thing)
    if is_users_class(type(thing)):
        return list(getattr(thing, "__dict__", {}).values())
    if type(thing) is Handle:
        refuse_hidden(thing)
    if isinstance(thing, functools.partial | functools.partialmethod):
        return [thing.func]
    try:
        # Not by getattr: an object may make up whatever is asked of it, without end.
        own = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return []
    return [own[name] for name in ("fn", "func", "__wrapped__") if own.get(name) is not None]
