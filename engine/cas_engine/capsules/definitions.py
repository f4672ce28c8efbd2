"""The user's classes and functions that a stored value is made of, kept with it: by name, fingerprint and value.

Loading one looks for the live class or function of that name; only if its fingerprint is not the recorded one, or there
is none, the recorded code is loaded. Until then it stays unread.
"""

from __future__ import annotations

import functools
import importlib
import io
import json
import pickle
import sys
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import cloudpickle

from cas_engine.capsules import live, oddities
from cas_engine.capsules.by_value import PROTOCOL, code_of_class
from cas_engine.capsules.deep import empty
from cas_engine.capsules.image import load_code
from cas_engine.capsules.installed import class_by_name, function_by_name, is_installed, is_users_class, is_users_module
from cas_engine.capsules.live import Name, Session, code_of
from cas_engine.capsules.streams import Stream, write_code
from cas_engine.errors import CapsuleError, EnvironmentMismatch
from cas_engine.fingerprint import Fingerprinter
from cas_engine.fingerprint.patches import Patch
from cas_engine.modules import moved
from cas_engine.modules.importing import Unpickler
from cas_store import forks
from cas_store.digest import Digest, digest_of

_MEMORY = 512  # streams loaded by value and kept; a class among them lives as long as anything uses it
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class Definition:
    """One class, function or module of the user's. `code` is empty where there is no fingerprint."""

    name: Name
    code: bytes
    is_class: bool
    python: str
    fault: str
    stream: bytes

    def to_bytes(self) -> bytes:
        """A line of JSON, then the stream."""
        name = (self.name.module, self.name.qualname, self.name.script)
        head = [*name, self.code.hex(), self.is_class, self.python, self.fault]
        return json.dumps(head).encode() + b"\n" + self.stream

    @staticmethod
    def from_bytes(section: bytes | memoryview) -> Definition:
        head, _, stream = bytes(section).partition(b"\n")
        module, qualname, script, code, is_class, python, fault = json.loads(head)
        return Definition(Name(module, qualname, script), bytes.fromhex(code), is_class, python, fault, stream)

    @property
    def shown(self) -> str:
        return f"{self.name.module}.{self.name.qualname}"


def define(thing: Any, session: Session) -> bytes:
    """The section for one class, function or module of the user's."""
    own = live.own_classes()
    if own is not None and (section := own.section_of(thing)) is not None:
        return section
    if isinstance(thing, types.ModuleType):
        name = Name.of(thing.__name__, "")
    else:
        name = Name.of(str(thing.__module__), thing.__qualname__)
    code = code_of_class(thing, session) if isinstance(thing, type) else code_of(thing, session) or b""
    known = _written.get(thing)
    if known is not None and known[0] == code:
        return known[1]
    stream = write_code(thing, session)
    section = Definition(name, code, isinstance(thing, type), PYTHON, told(stream), stream.content).to_bytes()
    _written[thing] = code, section
    return section


def told(stream: Stream) -> str:
    """Why the stream can't be loaded, "" if it can."""
    if stream.fault is None:
        return ""
    place = stream.where or "something that it reaches"
    return f"{place} is a {stream.fault.type}, which cannot be stored: {stream.fault.why}"


def recall(section: bytes | memoryview, session: Session) -> Any:
    """The class, function or module that the section defines. Raises CapsuleError, EnvironmentMismatch."""
    wanted = Definition.from_bytes(section)
    look_for = live.find_class if wanted.is_class else live.find
    found = look_for(wanted.name, wanted.code, session) if wanted.code else None
    if found is not None:
        return found
    if wanted.fault:
        raise CapsuleError(
            f"`{wanted.shown}` can only be used where its module can be imported unchanged: {wanted.fault}\n"
            "  -> make that inside the function that needs it, or run where the source is as it was recorded"
        )
    made = load_by_value(wanted.stream, session, wanted.shown, wanted.python)
    if (own := live.own_classes()) is not None and wanted.is_class and own.concern(made):
        own.sections.setdefault(live.key_of(wanted.name, wanted.code), bytes(section))
    return made


def load_by_value(
    stream: bytes | memoryview,
    session: Session,
    shown: str,
    python: str,
    versions: dict[str, str] | None = None,
) -> Any:
    """The root of a stream, loaded once for a process as long as it is among the last ones used.

    Raises CapsuleError, EnvironmentMismatch.
    """
    # What somebody has to himself is not to be met by anybody else.
    is_own = live.own_classes() is not None
    digest = digest_of(stream)
    with _lock:
        if digest in _loaded and not is_own:
            _loaded.move_to_end(digest)
            return _loaded[digest]
    found, _ = load_anew(stream, session, shown, python, versions)
    with _lock:
        if not is_own:
            _loaded[digest] = found
        if len(_loaded) > _MEMORY:
            _loaded.popitem(last=False)
    return found


def load_anew(
    stream: bytes | memoryview,
    session: Session,
    shown: str,
    python: str,
    versions: dict[str, str] | None = None,
) -> tuple[Any, list[Patch]]:
    """The root of a stream with globals that nobody has changed since they were recorded; what others brought to it.

    Raises CapsuleError, EnvironmentMismatch.
    """
    if python != PYTHON:
        raise EnvironmentMismatch(
            f"`{shown}` was recorded under Python {python}, and its source is not here as it was recorded; "
            f"recorded code runs only under the Python that recorded it\n  -> use Python {python}",
            [("python", python, PYTHON)],
        )
    try:
        return load_code(stream, session)
    except (CapsuleError, EnvironmentMismatch, MemoryError):
        raise
    except ImportError as error:
        raise missing_import(error, shown, versions or {}) from error
    except Exception as error:
        raise CapsuleError(
            f"the recorded code of `{shown}` cannot be loaded here: {type(error).__name__}: {error}\n"
            "  -> compare the installed packages with those that were recorded"
        ) from error


def forget(classes: Collection[type]) -> None:
    """No longer take these classes for what was recorded: a call has changed them."""
    live.forget(classes)
    with _lock:
        for digest in [digest for digest, found in _loaded.items() if isinstance(found, type) and found in classes]:
            del _loaded[digest]


def missing_import(error: ImportError, shown: str, versions: dict[str, str]) -> EnvironmentMismatch:
    """An import failed while loading: which package it is, as far as the names tell."""
    top = (error.name or "").partition(".")[0]
    same = [package for package in versions if _plain(package) == _plain(top)]
    near = same or [package for package in versions if _plain(top) and _plain(top) in _plain(package)]
    package = near[0] if near else top or "a package"
    was = versions.get(package, "")
    here = "missing" if isinstance(error, ModuleNotFoundError) and error.name == top else "another version"
    return EnvironmentMismatch(
        f"`{shown}` needs `{error.name or error}`, which cannot be imported here: {error}\n"
        f"  -> install {package}{'==' + was if was else ''}",
        [(package, was or "present", here)],
    )


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").replace(".", "").lower()


_lock = forks.free_lock()
_loaded: OrderedDict[Digest, Any] = OrderedDict()
_written: weakref.WeakKeyDictionary[Any, tuple[bytes, bytes]] = weakref.WeakKeyDictionary()


class ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles a value; what is the user's own code in it becomes a number, `definitions` says of what."""

    def __init__(
        self,
        file: io.BytesIO,
        keep_buffer: Callable[[pickle.PickleBuffer], bool],
        session: Session | None,
        emptied: frozenset[int] = frozenset(),
    ) -> None:
        """`emptied`: the ids of objects whose attributes are written elsewhere."""
        super().__init__(file, protocol=PROTOCOL, buffer_callback=keep_buffer)
        self._emptied = emptied
        self.definitions: list[bytes] = []
        self._session = session
        # Instances of these say themselves how they are pickled. Asking them is three times faster than leaving it to
        # the pickler, which first looks into a ChainMap.
        self._usual: set[type] = set()

    def reducer_override(self, obj: Any) -> Any:
        """What pickle asks for each object that is not of the simplest types."""
        kind = type(obj)
        if self._emptied and id(obj) in self._emptied:
            return empty(obj)
        if kind in self._usual:
            return obj.__reduce_ex__(PROTOCOL)
        reduce = oddities.reducer_of(kind)
        if reduce is not None:
            return reduce(obj)
        if issubclass(kind, type):
            return self._define(obj) if is_users_class(obj) else class_by_name(obj)
        if kind is types.FunctionType:
            return function_by_name(obj) if is_installed(obj) else self._define(obj)
        if issubclass(kind, types.ModuleType):
            return self._define(obj) if is_users_module(obj) else (importlib.import_module, (obj.__name__,))
        if kind is functools._lru_cache_wrapper and not is_installed(obj):  # noqa: SLF001 - it has no public name
            settings = obj.cache_parameters()
            return oddities.cached, (obj.__wrapped__, settings["maxsize"], settings["typed"], dict(vars(obj)))
        if _reduces_itself(kind) and is_users_class(kind):
            return self._maybe_named(obj, kind)
        if kind in self.dispatch_table:
            return NotImplemented
        self._usual.add(kind)
        return obj.__reduce_ex__(PROTOCOL)

    def _define(self, thing: Any) -> Any:
        if self._session is None:
            self._session = Fingerprinter()
        section = define(thing, self._session)
        if isinstance(thing, types.FunctionType) and "<" in thing.__qualname__:  # <locals>: no name leads there
            fault = Definition.from_bytes(section).fault
            if fault:
                raise oddities.Refused(fault)
        self.definitions.append(section)
        return ValueUnpickler.recall, (len(self.definitions) - 1,)

    def _maybe_named(self, obj: Any, kind: type) -> Any:
        """An instance whose `__reduce__` may give the name of a global of the user's, to be one object everywhere."""
        reduced = obj.__reduce_ex__(PROTOCOL)
        if not isinstance(reduced, str):
            return reduced
        return ValueUnpickler.named, (kind, kind.__module__, reduced, getattr(obj, "__dict__", None))


def _reduces_itself(kind: type) -> bool:
    """Whether a method in Python says how its instances are pickled."""
    return isinstance(kind.__reduce_ex__, types.FunctionType) or isinstance(kind.__reduce__, types.FunctionType)


class ValueUnpickler(Unpickler):
    """Loads a value that refers to definitions."""

    def __init__(
        self, file: io.BytesIO, buffers: Sequence[Any] | None, sections: Sequence[memoryview], session: Session
    ) -> None:
        super().__init__(file, buffers=buffers)
        self._sections = sections
        self._session = session

    def find_class(self, module: str, name: str, /) -> Any:
        if name.startswith("ValueUnpickler.") and moved.now(module) == __name__:
            return getattr(self, name.removeprefix("ValueUnpickler."))
        return super().find_class(module, name)

    def recall(self, number: int) -> Any:
        """The class, function or module of that number."""
        return recall(self._sections[number], self._session)

    @staticmethod
    def named(kind: Any, module: str, name: str, state: dict[str, Any] | None) -> Any:
        """The global of that name if it is here and of that class, else one like it."""
        found = live.attribute(sys.modules.get(module), name)
        if type(found) is not kind:
            found = kind.__new__(kind)
            vars(found).update(state or {})
        return found
