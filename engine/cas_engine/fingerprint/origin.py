"""Whose code it is: the user's own, an installed distribution's, Python's, or ours."""

# ruff: noqa: PTH100, PTH118, PTH120 - asked for every module: os.path is several times faster

from __future__ import annotations

import builtins
import os
import sys
import sysconfig
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from types import FunctionType, ModuleType

from cas_engine.fingerprint.distributions import Site, distribution_of, site_of

OURS = frozenset({"cas_store", "cas_engine", "cas_run", "cloudpickle"})
_MAINS = frozenset({"__main__", "__mp_main__"})
_CYTHON = "_cython_"  # and its version: where what it compiled finds the types of its functions, a module without file
HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made while running, by a class statement or a call


class Kind(Enum):
    """How code counts: the user's by what it does, the rest by the version of what it came with."""

    USER = "user"
    PACKAGE = "package"
    PYTHON = "python"
    OURS = "ours"


_USERS = Kind.USER  # by a name of its own: a member of an enumeration is slow to come by


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose it is; `package` names the distribution, or "python"."""

    kind: Kind
    package: str = ""
    file: str = ""

    @property
    def is_user(self) -> bool:
        return self.kind is _USERS

    @property
    def compiled(self) -> str:
        """The file of a compiled extension of the user's, "" for anything else: it counts by content."""
        return self.file if self.is_user and self.file.endswith(tuple(EXTENSION_SUFFIXES)) else ""


_USER = Owner(Kind.USER)
_PYTHON = Owner(Kind.PYTHON, "python")
_known: dict[tuple[str, str], Owner] = {}
_not_there: set[str] = set()  # modules that classes say they are of


def owner_of_namespace(namespace: dict[str, object]) -> Owner:
    """The owner of a module, by its globals."""
    return _owner(*_facts_of(namespace))


def _facts_of(namespace: dict[str, object]) -> tuple[str, str]:
    name = namespace.get("__name__")
    file = namespace.get("__file__")
    return (
        name if isinstance(name, str) else "",
        file if isinstance(file, str) else _first_folder(namespace.get("__path__")),
    )


def _is_users(namespace: dict[str, object]) -> bool:
    """As `owner_of_namespace` says, without finding out of which distribution it is: that takes reading files."""
    return _placed(*_facts_of(namespace))[0] is _USERS


def owner_of_module(name: str) -> Owner:
    """The owner of a module by name, loaded or not; only its parents may be imported to find out."""
    module = sys.modules.get(name)
    if module is not None:
        return owner_of_namespace(vars(module))
    parent, _, _ = name.rpartition(".")
    if parent:
        owner = owner_of_module(parent)
        if owner.kind is Kind.OURS or not _is_namespace(parent):
            return owner
    try:
        spec = find_spec(name)  # imports its parents, which are namespaces: nothing runs
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return _PYTHON if name in sys.stdlib_module_names else _USER
    file = spec.origin if spec.has_location else _first_folder(spec.submodule_search_locations)
    return _owner(name, file or "")


def _is_namespace(name: str) -> bool:
    """Whether a package is only a name that several distributions share."""
    module = sys.modules.get(name)
    if module is not None:
        return getattr(module, "__file__", None) is None and hasattr(module, "__path__")
    try:
        spec = find_spec(name) if "." not in name or _is_namespace(name.rpartition(".")[0]) else None
    except (ImportError, ValueError):
        return False
    return spec is not None and not spec.has_location and spec.submodule_search_locations is not None


def owner_of_function(fn: FunctionType) -> Owner:
    """The owner of the code: what `functools.wraps` writes over it doesn't count."""
    return owner_of_namespace(fn.__globals__)


def owner_of_class(cls: type) -> Owner:
    """The owner of a class. One that its module doesn't have under its name was made while running: the user's."""
    if not cls.__flags__ & HEAP_TYPE:
        owner = owner_of_module(_text(cls.__module__))
        return _PYTHON if owner.is_user and not owner.file else owner
    module = sys.modules.get(_text(cls.__module__)) or _not_yet_loaded(_text(cls.__module__))
    if module is None:
        return _USER
    owner = owner_of_namespace(vars(module))
    if owner.is_user or is_importable(cls, module, cls.__qualname__):
        return owner
    return _USER


def _not_yet_loaded(name: str) -> ModuleType | None:
    """A module of an installed package that is loaded, such as numpy.rec, which NumPy's own classes say they are of."""
    package, _, rest = name.partition(".")
    loaded = sys.modules.get(package)
    if not rest or loaded is None or name in _not_there or owner_of_namespace(vars(loaded)).is_user:
        return None
    try:
        return import_module(name)
    except Exception:  # noqa: BLE001 - a class may say anything of itself, and a module raise anything
        _not_there.add(name)
        return None


_last_look: tuple[int, str] = (0, "")
_modules: dict[str, tuple[object, bool]] = {}  # those loaded, each with whether it is the user's


def modules_loaded() -> tuple[int, str]:
    """How many modules are loaded, and the last of them: another answer after every import."""
    return len(sys.modules), next(reversed(sys.modules), "")


def namespaces_of_users() -> list[dict[str, object]]:
    """The globals of the user's modules that are loaded."""
    global _last_look  # noqa: PLW0603 - asked for each function, and hardly ever is there another module
    look = modules_loaded()
    if look != _last_look:
        _last_look = look
        for name, module in list(sys.modules.items()):
            if _modules.get(name, (None, False))[0] is not module:
                _modules[name] = module, isinstance(module, ModuleType) and _is_users(vars(module))
    return [vars(module) for module, is_users in _modules.values() if is_users and isinstance(module, ModuleType)]


def is_importable(thing: object, module: ModuleType | None, qualname: str) -> bool:
    """Whether this very object is what its module has under its name."""
    found: object = module
    for part in qualname.split("."):
        try:
            found = vars(found)[part]
        except (KeyError, TypeError):
            return False
    return found is thing or getattr(found, "__func__", None) is thing


def is_builtin(name: str, value: object) -> bool:
    """Whether `value` is Python's own builtin of that name, not one put in its place."""
    return getattr(value, "__module__", None) == "builtins" and getattr(value, "__qualname__", None) == name


def told_module(owner: Owner, module: object) -> str:
    """The module under which something of others counts. In which of ours a thing lies is nobody's affair."""
    return "" if owner.kind is Kind.OURS else str(module)


def _owner(name: str, file: str) -> Owner:
    known = _known.get((name, file))
    if known is None:
        known = _known[name, file] = _find_owner(name, file)
    return known


def _find_owner(name: str, file: str) -> Owner:
    kind, path, site = _placed(name, file)
    if site is not None:
        folder, below = site
        return Owner(Kind.PACKAGE, distribution_of(folder, below) or _stem(below[0]), path)
    return _PYTHON if kind is Kind.PYTHON else Owner(kind, "", path)


def _placed(name: str, file: str) -> tuple[Kind, str, Site | None]:
    """(whose it is, its path, where among what is installed), by where it lies."""
    top = name.partition(".")[0]
    if top in OURS:
        return Kind.OURS, "", None
    if not file or file.startswith("<"):
        is_python = name not in _MAINS and (top in sys.stdlib_module_names or name == builtins.__name__)
        return (Kind.PYTHON if is_python or name.startswith(_CYTHON) else _USERS), "", None
    path = os.path.abspath(file)
    site = site_of(path)
    if site is not None:
        return Kind.PACKAGE, path, site
    if path.startswith(_python_folders()):
        return Kind.PYTHON, "", None
    return _USERS, path, None


@cache  # sysconfig puts its paths together each time, in 0.4 ms
def _python_folders() -> tuple[str, ...]:
    folders = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), os.path.dirname(os.__file__)}
    both = {os.path.abspath(f) for f in folders} | {os.path.realpath(f) for f in folders}
    return tuple(sorted(folder + os.sep for folder in both))


def _stem(name: str) -> str:
    return name.partition(".")[0]


def _first_folder(paths: object) -> str:
    try:
        return os.path.join(next(iter(paths)), "__init__.py")  # type: ignore[call-overload]
    except (TypeError, StopIteration):
        return ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
