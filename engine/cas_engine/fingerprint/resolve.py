"""What a reference stands for at this moment: the objects behind names, attribute chains and imports."""

# ruff: noqa: PTH100, PTH117, PTH120 - as texts, asked for every module

from __future__ import annotations

import builtins
import functools
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple, TypeGuard, TypeVar

from cas_engine.fingerprint.origin import (
    HEAP_TYPE,
    Kind,
    Owner,
    owner_of_class,
    owner_of_function,
    owner_of_module,
    owner_of_namespace,
)
from cas_engine.fingerprint.readings import WHOLE_MODULE
from cas_engine.fingerprint.references import FREE, IMPORT, LITERAL, Ref
from cas_engine.modules.program import program_of, stood_for

_MOST_REGISTERED = 1000
_KEEP_NOTHING = frozenset({FunctionType, BuiltinFunctionType, str, int, float, bool, tuple, type(None)})
_NUMBERS = frozenset({bool, int, float, complex})
_TABLES = frozenset({list, tuple, dict, set, frozenset})
_PLAIN = _TABLES | {str}
_CACHED = type(functools.cache(len))
Thing = TypeVar("Thing")
MISSING = object()  # no such name, now


class Home(NamedTuple):
    """What the globals of code say of where it is from."""

    owner: Owner
    shown: str  # the module's name for people
    folder: str  # of its project
    modules: frozenset[str]  # its name as it is


class Found(NamedTuple):
    """An object, and the attributes that are read from it and were not followed."""

    obj: object
    rest: tuple[str, ...]
    place: tuple[int, str]  # the namespace it was found in, by id, and its name there
    name: str  # how it is told: "helpers.scale"
    through: tuple[str, ...] = ()  # the user's modules on the way
    as_written: Foreign | None = None  # of a class of a package: as what it is told by its name alone


class Foreign(NamedTuple):
    """Something of a module that isn't the user's: counts by name, and by the version of its package."""

    owner: Owner
    module: str
    rest: tuple[str, ...]
    held: tuple[object, ...] = ()  # code of the user's that was registered with it
    maker: Owner | None = None  # the owner of the thing itself, where another package passes it on
    setting: object = None  # what a plain value of a package is now: the user may have set it


class Missing(NamedTuple):
    """A name that stands for nothing now."""

    name: str
    why: str


Resolution = Found | Foreign | Missing


def shown_module(namespace: dict[str, object]) -> str:
    """The name of a module for people: the same whether it was imported or run as a script."""
    name = namespace.get("__name__")
    if name not in {"__main__", "__mp_main__"}:
        return name if isinstance(name, str) else "<exec>"
    spec = namespace.get("__spec__")
    spec_name = getattr(spec, "name", None)
    if isinstance(spec_name, str):
        return spec_name.removesuffix(".__main__")
    file = namespace.get("__file__")
    if isinstance(file, str):
        return file.replace("\\", "/").rpartition("/")[2].partition(".")[0] or "__main__"
    return "__main__"


def home_of(namespace: dict[str, object]) -> Home:
    """Where code with these globals is from."""
    name = namespace.get("__name__")
    return Home(
        owner_of_namespace(namespace),
        shown_module(namespace),
        folder_of(namespace),
        frozenset({name if isinstance(name, str) else ""}),
    )


def module_of(fn: FunctionType) -> ModuleType:
    """The module that a function was defined in; one of that content where it is no longer to be found."""
    module = sys.modules.get(str(fn.__globals__.get("__name__")))
    if module is None or vars(module) is not fn.__globals__:
        module = ModuleType(shown_module(fn.__globals__))
        vars(module).update(fn.__globals__)
    return module


def folder_of(namespace: dict[str, object]) -> str:
    """The folder that a module's project lies in: of a package, the one that holds the whole of it."""
    file = namespace.get("__file__")
    if not isinstance(file, str) or file.startswith("<"):
        return ""
    package = namespace.get("__package__")
    levels = len(package.split(".")) if isinstance(package, str) and package else 0
    return _folder(file, levels) if os.path.isabs(file) else _folder.__wrapped__(file, levels)


@functools.lru_cache(maxsize=1024)
def _folder(file: str, levels: int) -> str:
    folder = os.path.dirname(os.path.abspath(file))
    for _ in range(levels):
        folder = os.path.dirname(folder)
    return folder


def resolve(ref: Ref, fn: FunctionType) -> Resolution:
    """What `ref` in the body of `fn` stands for."""
    if ref.source in {IMPORT, LITERAL}:
        return resolve_import(ref, fn.__globals__)
    if ref.source == FREE:
        base = _cell(fn, ref.name)
        place, name = (id(fn.__closure__), ref.name), f"{name_of_function(fn)}[{ref.name}]"
        why = "not bound yet"
    else:
        base = look_up(fn.__globals__, ref.name)
        place, name = (id(fn.__globals__), ref.name), f"{shown_module(fn.__globals__)}.{ref.name}"
        why = "not defined"
    if base is MISSING:
        return Missing(name, why)
    return follow(stood_for(base), ref.attrs, place, name)


def look_up(namespace: dict[str, object], name: str) -> object:
    """As a function with these globals would."""
    found = namespace.get(name, MISSING)
    if found is not MISSING:
        return found
    inner = namespace.get("__builtins__", builtins)
    inner = vars(inner) if isinstance(inner, ModuleType) else inner
    return inner.get(name, MISSING) if isinstance(inner, dict) else MISSING


def follow(base: object, attrs: tuple[str, ...], place: tuple[int, str], name: str) -> Resolution:
    """Walk down attributes as long as they lead through the user's modules."""
    through: list[str] = []
    for at, attr in enumerate(attrs):
        if type(base) is not ModuleType and not is_a(base, ModuleType):
            return Found(base, attrs[at:], place, name, tuple(through))
        namespace = vars(base)
        owner = owner_of_namespace(namespace)
        if not owner.is_user or owner.compiled:
            below = namespace.get(attr)
            if not isinstance(below, ModuleType) or not below.__name__.startswith(f"{base.__name__}."):
                return _foreign(base, owner, attrs[at:])
            base = below  # another distribution may share the namespace, or the user's own code
            continue
        if attr in WHOLE_MODULE or (attr not in namespace and has_own_class(base)):
            return Found(base, attrs[at:], place, name, tuple(through))
        through.append(base.__name__)
        found = _attribute(base, attr)
        place, name = (id(namespace), attr), f"{shown_module(namespace)}.{attr}"
        if found is MISSING:
            return Missing(name, "not defined")
        base = found
    if type(base) not in _KEEP_NOTHING and is_a(base, ModuleType):
        owner = owner_of_namespace(vars(base))
        if not owner.is_user or owner.compiled:
            return _foreign(base, owner, ())
    return Found(base, (), place, name, tuple(through))


def is_a(thing: object, kind: type[Thing]) -> TypeGuard[Thing]:
    """As isinstance. A proxy may say what it stands for, or raise: it is unbound."""
    if issubclass(type(thing), kind):
        return True
    try:
        return isinstance(thing, kind)
    except Exception:  # noqa: BLE001 - a __class__ of the user's may raise anything
        return False


def has_own_class(module: ModuleType) -> bool:
    """Whether a module was given a class of the user's, with properties perhaps."""
    return type(module) is not ModuleType and owner_of_class(type(module)).is_user


def import_module(name: str, package: str | None = None) -> ModuleType | None:
    """The user's module of that name, imported if need be; None when that fails, whatever the reason."""
    try:
        return importlib.import_module(name, package)
    except (Exception, SystemExit):  # noqa: BLE001 - the module is the user's code: it may raise anything
        return None


def name_of_function(fn: FunctionType) -> str:
    """How a function is told."""
    return f"{shown_module(fn.__globals__)}.{fn.__qualname__}"


def _cell(fn: FunctionType, name: str) -> object:
    for known, cell in zip(fn.__code__.co_freevars, fn.__closure__ or ()):  # noqa: B905
        if known == name:
            try:
                return cell.cell_contents
            except ValueError:
                return MISSING
    return MISSING


def _attribute(module: ModuleType, attr: str) -> object:
    found = stood_for(vars(module).get(attr, MISSING))
    if found is MISSING:
        found = program_of(vars(module)).get(f"{module.__name__}.{attr}", MISSING)
    if found is MISSING and "__getattr__" in vars(module):
        try:
            return getattr(module, attr)
        except Exception:  # noqa: BLE001 - the module's own __getattr__ may raise anything
            return MISSING
    if found is MISSING:
        return sys.modules.get(f"{module.__name__}.{attr}", MISSING)
    return found


def _foreign(module: ModuleType, owner: Owner, attrs: tuple[str, ...], *, constants: bool = True) -> Resolution:
    """A name of an installed module, unless somebody put the user's code in its place."""
    base: object = module
    for at, attr in enumerate(attrs):
        if not isinstance(base, (ModuleType, type)):
            break
        place = (id(vars(base)), attr)
        base = made_when_asked(base, attr)
        if is_made_of_users_code(base):
            return Found(base, attrs[at + 1 :], place, f"{module.__name__}.{attr}")
        if isinstance(base, type) and base.__flags__ & HEAP_TYPE:
            told = Foreign(owner, module.__name__, attrs, (), _maker_of(base) or owner)
            return Found(base, attrs[at + 1 :], place, f"{module.__name__}.{attr}", (), told)
    if type(base) is FunctionType:
        held = tuple(registered_with(base))
    else:  # a function in C may read any table of its module: `sqlite3.adapters`
        held = tuple(_tables_of(module) if type(base) is BuiltinFunctionType else _registered_in(base))
    setting = base if constants and not owner.is_user and _is_setting(base, owner) else None
    return Foreign(owner, module.__name__, attrs, held, _maker_of(base) or owner, setting)


def _is_setting(value: object, owner: Owner) -> bool:
    """Whether it is a plain value that counts by content: of Python itself, where texts are the machine's, a number."""
    if type(value) in _NUMBERS:
        return True
    if owner.kind is not Kind.PACKAGE or type(value) not in _PLAIN:
        return False
    row: list[Any] = [value]
    for each in row:
        kind = type(each)
        if kind is str:
            if os.path.isabs(each):
                return False
        elif kind in _TABLES and len(row) + len(each) <= _MOST_REGISTERED:
            row += [*each, *each.values()] if kind is dict else each
        elif kind not in _NUMBERS and each is not None:
            return False
    return True


def made_when_asked(base: ModuleType | type, attr: str) -> object:
    """What is there, or what a module's `__getattr__` (PEP 562) gives: whether anybody had asked does not show."""
    if attr in vars(base) or not isinstance(base, ModuleType) or "__getattr__" not in vars(base):
        return vars(base).get(attr, MISSING)
    try:
        return getattr(base, attr)
    except Exception:  # noqa: BLE001 - the package's own code may raise anything
        return MISSING


def _maker_of(thing: object) -> Owner | None:
    """The owner of what a package may only pass on from another one."""
    if isinstance(thing, FunctionType):
        return owner_of_function(thing)
    name = getattr(thing, "__module__", None) if callable(thing) else None
    return owner_of_namespace(vars(sys.modules[name])) if isinstance(name, str) and name in sys.modules else None


def registered_with(fn: FunctionType) -> Iterator[object]:
    """The user's code that a function of a package reads: what was put into its module, and into its registries."""
    for name in fn.__code__.co_names:
        found = fn.__globals__.get(name)
        if is_users_code(found):
            yield found
        else:
            yield from _registered_in(found)


def _tables_of(module: ModuleType) -> Iterator[object]:
    """The user's code in the tables that a module has."""
    for table in list(vars(module).values()):
        if type(table) is dict and table is not vars(module):
            yield from _registered_in(table)


def _registered_in(holder: object) -> Iterator[object]:
    """The user's code in a table, or in an object or class of a package that keeps tables."""
    kind = type(holder)
    if kind in _KEEP_NOTHING or issubclass(kind, ModuleType):
        return
    tables = [holder]
    if not issubclass(kind, (dict, list)):
        with suppress(Exception):  # the package's own __dict__ may raise anything
            tables = list(vars(holder).values())
        yield from filter(is_users_code, tables)
    for table in tables:
        if isinstance(table, (dict, list)) and len(table) <= _MOST_REGISTERED and "__builtins__" not in table:
            yield from filter(is_users_code, table.values() if isinstance(table, dict) else table)


def is_users_code(thing: object) -> bool:
    """Whether it is a function or a class of the user's."""
    if isinstance(thing, FunctionType):
        return owner_of_function(thing).is_user
    return isinstance(thing, type) and owner_of_class(thing).is_user


def is_made_of_users_code(thing: object) -> bool:
    """The same for what is made around one: a partial, a method, what functools.cache gives, an instance."""
    while True:
        if isinstance(thing, (FunctionType, type)):
            return is_users_code(thing)
        kind = type(thing)
        if kind is functools.partial:
            thing = thing.func  # type: ignore[attr-defined]
        elif kind is MethodType:
            thing = thing.__func__  # type: ignore[attr-defined]
        elif kind is _CACHED:
            thing = thing.__wrapped__  # type: ignore[attr-defined]
        else:
            # By its module alone: packages make types that say they are from elsewhere.
            made = kind.__flags__ & HEAP_TYPE and kind.__module__ in sys.modules
            return bool(made) and owner_of_module(kind.__module__).is_user


def resolve_import(ref: Ref, namespace: dict[str, object]) -> Resolution:
    """What an import in a module with these globals gives."""
    name = ref.name
    package = _package(namespace)
    level = ref.level
    if ref.source == LITERAL and name.startswith("."):
        level = len(name) - len(name.lstrip("."))
        name = name.lstrip(".")
    if level:
        parents = package.split(".")
        if not package or level > len(parents):
            return Missing("." * level + name, "no package to import it from")
        name = ".".join([*parents[: len(parents) - level + 1], *([name] if name else [])])
    recorded = program_of(namespace)
    if name in recorded:  # code that came out of a capsule imports the modules recorded with it
        base = recorded[name.partition(".")[0] if ref.top else name]
        return follow(base, ref.attrs, (id(vars(base)), ""), shown_module(vars(base)))
    owner = owner_of_module(name)
    if not owner.is_user or owner.compiled:
        loaded = sys.modules.get(name)
        if loaded is not None and not ref.top:
            return _foreign(loaded, owner, ref.attrs, constants=False)  # as where it isn't loaded yet
        return Foreign(owner, name.partition(".")[0] if ref.top else name, ref.attrs)
    module = import_module(name)
    if module is None:
        return Missing(name, "can't be imported")
    for attr in ref.attrs[:1]:
        if not hasattr(module, attr) and hasattr(module, "__path__"):
            import_module(f"{name}.{attr}")  # `from package import module`
    top = sys.modules.get(name.partition(".")[0]) if ref.top else module
    return follow(top, ref.attrs, (id(vars(module)), ""), shown_module(vars(module)))


def _package(namespace: dict[str, object]) -> str:
    package = namespace.get("__package__")
    if isinstance(package, str):
        return package
    name = namespace.get("__name__")
    name = name if isinstance(name, str) else ""
    return name if "__path__" in namespace else name.rpartition(".")[0]
