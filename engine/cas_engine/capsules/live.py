"""The user's own code in the running program: found by name, taken only if its fingerprint is the recorded one.

By reference where importing here gives the recorded fingerprint: so a class keeps its identity for a caller who has the
same code, in that module or, after a move, in another one. A module is imported for this only when nothing stands
against it; whatever goes wrong in that import means "not here", and the recorded code is loaded by value.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import types
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from cas_engine.fingerprint.pickled import Pickled

from cas_store import forks


class Coded(Protocol):
    """As much of a Fingerprint as is needed here."""

    @property
    def code(self) -> bytes: ...


class Session(Protocol):
    """As much of a Fingerprinter as is needed here."""

    def of(self, fn: object, depends_on: Sequence[object] = ...) -> Coded: ...

    def modules_of(self, fn: object) -> Sequence[types.ModuleType]: ...

    def pickled_of(self, fn: object) -> Sequence[Pickled]: ...


@dataclass(frozen=True, slots=True)
class Name:
    """Where a thing of the user's was defined. `script` is the module name of a file that ran as `__main__`."""

    module: str
    qualname: str
    script: str = ""

    @staticmethod
    def of(module: str, qualname: str) -> Name:
        """The name of a thing that says this of itself."""
        if module in {"__main__", "__mp_main__"}:
            return Name("__main__", qualname, script_name())
        return Name(module, qualname)


# A recorded class: its module, as it is or would be imported, its qualified name, and its fingerprint. Two with the
# same key are one class, wherever they were recorded.
ClassKey = tuple[str, str, bytes]


class DispatchWhileImporting(BaseException):
    """Raised in a module that is imported only to look for a class and would start a dispatch: it stops that import.

    Not an Exception: a module's own `except Exception` around its dispatch must not swallow it.
    """


_state = threading.local()
# Loaded by value; and the running program's own, which may have been changed since.
_loaded: weakref.WeakValueDictionary[ClassKey, type] = weakref.WeakValueDictionary()
_own: weakref.WeakValueDictionary[ClassKey, type] = weakref.WeakValueDictionary()
_classes_lock = forks.free_lock()
_unfit: set[str] = set()
# What a session has looked for in vain: looking costs a few hundred microseconds.
_absent: weakref.WeakKeyDictionary[Session, set[str]] = weakref.WeakKeyDictionary()


def importing() -> bool:
    """Whether this thread is importing a module of the user's only to look for recorded code in it."""
    return getattr(_state, "importing", 0) > 0


def refuse_while_importing() -> None:
    """For whatever starts work: a script without `if __name__ == "__main__"` must not run when looked into."""
    if importing():
        raise DispatchWhileImporting


@contextmanager
def _importing() -> Iterator[None]:
    _state.importing = getattr(_state, "importing", 0) + 1
    try:
        yield
    finally:
        _state.importing -= 1


def find(name: Name, code: bytes, session: Session, fits: Callable[[Any], bool] | None = None) -> Any | None:
    """The live object of this name whose fingerprint is `code`, or None. `fits` says whether its kind is right."""
    if "<" in name.qualname:
        return None
    met: set[int] = set()
    for holder in chain(_modules_for(name, session), _elsewhere(name)):
        for candidate, depends_on in _unwrapped(attribute(holder, name.qualname)):
            if id(candidate) not in met and (fits is None or fits(candidate)):
                met.add(id(candidate))
                if code_of(candidate, session, depends_on) == code:
                    return candidate
    return None


def _elsewhere(name: Name) -> Iterator[types.ModuleType]:
    """Other modules of the user's that have a thing of this name: it may have moved there."""
    from cas_engine.fingerprint.origin import namespaces_of_users  # late: mostly nothing has moved

    first = name.qualname.partition(".")[0]
    for namespace in namespaces_of_users():
        module = sys.modules.get(str(namespace.get("__name__"))) if first in namespace else None
        if module is not None and vars(module) is namespace:
            yield module


def code_of(thing: object, session: Session, depends_on: Sequence[object] = ()) -> bytes | None:
    """The fingerprint's digest, or None for what has none."""
    try:
        return session.of(thing, depends_on).code
    except Exception:  # noqa: BLE001 - whatever hinders a fingerprint, it is not the recorded one
        return None


class OwnClasses:
    """Classes that one load of recorded code has to itself, because calls change them; and those derived from them."""

    def __init__(self, names: frozenset[tuple[str, str]], sections: dict[ClassKey, bytes]) -> None:
        self.made: dict[ClassKey, type] = {}
        self.sections = sections  # how they are written down: as they were loaded, whatever a call has done to them
        self._names = names

    def concern(self, cls: type) -> bool:
        """Whether it is one of them, wherever it was made."""
        return any((each.__module__, each.__qualname__) in self._names for each in cls.__mro__)

    def section_of(self, cls: object) -> bytes | None:
        """How a class is written down, None if it is none of them."""
        return next((self.sections.get(key) for key, made in self.made.items() if made is cls), None)


_own_classes: ContextVar[OwnClasses | None] = ContextVar("own_classes", default=None)


@contextmanager
def classes_of(own: OwnClasses | None) -> Iterator[None]:
    """Around the loading of code that has classes to itself, and around the call of it."""
    token = _own_classes.set(own)
    try:
        yield
    finally:
        _own_classes.reset(token)


def own_classes() -> OwnClasses | None:
    """Those of the code that is loaded or called now."""
    return _own_classes.get()


def find_class(name: Name, code: bytes, session: Session) -> type | None:
    """The class for a recorded one: the live one with the same code, or one already loaded by value."""
    own = _own_classes.get()
    if own is None:
        return _find_class(name, code, session)
    made = own.made.get(key_of(name, code))
    if made is not None:
        return made
    found = _find_class(name, code, session)
    return None if found is not None and own.concern(found) else found


def forget(classes: Collection[type]) -> None:
    """No longer take these for what was recorded: a call has changed them."""
    with _classes_lock:
        for table in (_loaded, _own):
            for key in [key for key, cls in list(table.items()) if cls in classes]:
                table.pop(key, None)


def _find_class(name: Name, code: bytes, session: Session) -> type | None:
    found = find(name, code, session)
    if isinstance(found, type):
        return found
    key = key_of(name, code)
    known = _loaded.get(key)
    if known is None:
        known = _own.get(key)
        if known is not None and code_of(known, session) not in {code, None}:
            return None
    return known


def key_of(name: Name, code: bytes) -> ClassKey:
    return name.script or name.module, name.qualname, code


def agree_on(made: list[tuple[ClassKey, type]]) -> bool:
    """Make classes known to later streams; False if another thread was first with one of them."""
    own = _own_classes.get()
    if own is not None:
        own.made.update((key, cls) for key, cls in made if own.concern(cls))
        made = [(key, cls) for key, cls in made if not own.concern(cls)]
    with _classes_lock:
        if any(_loaded.get(key, cls) is not cls for key, cls in made):
            return False
        for key, cls in made:
            _loaded[key] = cls
    return True


def remember(name: Name, code: bytes, cls: type) -> None:
    """A class of the running program that is being recorded: what it stores comes back as its own.

    For classes that have no importable name, and those whose module has another class under it by now.
    """
    key = key_of(name, code)
    with _classes_lock:
        if _loaded.get(key) is not cls:
            _own[key] = cls


def loaded_by_value(module: str, name: str = "") -> list[type]:
    """The classes of a module that were loaded by value, all or those of this name."""
    with _classes_lock:
        loaded = list(_loaded.items())
    return [cls for (home, qualname, _), cls in loaded if home == module and (not name or qualname == name)]


def script_name() -> str:
    """The module name that the running `__main__` would have if it were imported."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and isinstance(spec.name, str):
        return str(spec.name).removesuffix(".__main__")
    path = getattr(main, "__file__", None)
    # A file named "<stdin>" is none.
    if not isinstance(path, str) or path.startswith("<"):
        return ""
    return path.replace("\\", "/").rpartition("/")[2].removesuffix(".py")


def _modules_for(name: Name, session: Session) -> Iterator[types.ModuleType]:
    """Loaded modules first; one that would have to be imported last."""
    main = sys.modules.get("__main__")
    if name.module == "__main__":
        if main is not None:
            yield main
        # The same file, imported where this runs. Never imported for this: a script does its work when imported.
        if name.script and (imported := sys.modules.get(name.script)) is not None:
            yield imported
        return
    loaded = sys.modules.get(name.module)
    if loaded is not None:
        yield loaded
    if main is not None and name.module == script_name():
        # Importing it would run the running script a second time.
        yield main
    elif loaded is None:
        absent = _absent.setdefault(session, set())
        imported = None if name.module in absent else import_quietly(name.module)
        if imported is None:
            absent.add(name.module)
        else:
            yield imported


def import_quietly(name: str) -> types.ModuleType | None:
    """The module, if it can be imported without harm."""
    if name in _unfit or any(_is_initializing(module) for module in list(sys.modules.values())):
        # While some module is being imported, perhaps by a thread that waits for this one, an import may never end.
        return None
    try:
        with _importing():
            if importlib.util.find_spec(name) is None:
                return None
            return importlib.import_module(name)
    except (Exception, SystemExit, DispatchWhileImporting):  # noqa: BLE001 - a script may do anything when imported
        _unfit.add(name)
        return None


def _is_initializing(module: object) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _unwrapped(found: Any | None) -> Iterator[tuple[Any, Sequence[object]]]:
    """What the name gives, then what decorators have wrapped; with an electron's function, what it depends on."""
    depends_on: Sequence[object] = ()
    for _ in range(16):
        if found is None:
            return
        yield found, depends_on
        depends_on = getattr(getattr(found, "options", None), "depends_on", depends_on)
        found = getattr(found, "__wrapped__", None) or getattr(found, "__func__", None)


def attribute(module: types.ModuleType | None, qualname: str) -> Any | None:
    """What the module has under a dotted name, or None."""
    found: Any = module
    for part in qualname.split(".") if qualname else ():
        try:
            found = getattr(found, part)
        except Exception:  # noqa: BLE001 - a descriptor may raise anything
            return None
    return found
