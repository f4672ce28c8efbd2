"""Recorded code, loaded and lent to one call at a time, and lent again only if that call left all as it was.

So each call sees the values that were recorded, whatever earlier ones and those that run beside it do to a global, a
closure, an instance or a class. Code that can change nothing is loaded once for all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from cas_engine.capsules import definitions, live
from cas_engine.capsules.changeable import Exposure, exposure_of
from cas_engine.fingerprint import Component, Fingerprint, Fingerprinter, KnownTables
from cas_engine.fingerprint.patches import Patch

Load = Callable[[], Callable[..., Any]]


def around(brought: Sequence[Patch]) -> AbstractContextManager[None]:
    """What other modules had brought to code is there; mostly that is nothing."""
    if not brought:
        return nullcontext()
    from cas_engine.capsules.restoring import restored  # late: most code is brought nothing

    return restored(brought)


class Lending:
    """All loads of one function by value."""

    def __init__(self, load: Load, brought: Sequence[Patch] = (), *, gives_one: bool = False) -> None:
        self.brought = brought  # is to be put back around what `take` gives, and around taking it
        self.gives_one = gives_one  # always the same object, so that calls share it after all
        self._load = load
        self._free: list[Loaded] = []
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._tables = KnownTables()
        self._recorded: Fingerprint | None = None
        self._exposure: Exposure | None = None
        self._classes: frozenset[tuple[str, str]] = frozenset()  # that calls may change
        self._sections: dict[live.ClassKey, bytes] = {}

    def take(self) -> Loaded:
        """The function, for one call. Raises CapsuleError, EnvironmentMismatch."""
        taken = self._taken()
        if taken is not None:
            return taken
        with self._loading:
            taken = self._taken()
            if taken is not None:
                return taken
            loaded = self._new()
            if loaded.is_for_all:
                self._free.append(loaded)
            return loaded

    def is_faithful(self, code: bytes) -> bool:
        """Whether a load is what was recorded under this fingerprint. Of a registry of weak references it is not.

        Raises CapsuleError, EnvironmentMismatch.
        """
        with around(self.brought):
            loaded = self.take()
        if not loaded.is_for_all:
            with self._lock:
                self._free.append(loaded)
        return self._recorded is not None and self._recorded.code == code

    def give_back(self, loaded: Loaded) -> tuple[str, ...] | None:
        """What the call has changed; None if it may have seen what another has changed, and is to be made again."""
        if loaded.is_for_all or self._recorded is None:
            return ()
        try:
            now = Fingerprinter(self._tables).of(loaded.function)
        except Exception:  # noqa: BLE001 - what cannot be looked at any more is not what it was
            return ("what it reads",)
        if now.code == self._recorded.code:
            with self._lock:
                self._free.append(loaded)
            return ()
        shared = {} if self.gives_one else self._changed_classes(loaded, now)
        if shared:
            # Everybody's classes: who has changed them, and who has seen it, cannot be told.
            with self._lock:
                self._classes |= shared.keys()
                self._free.clear()
            definitions.forget(shared.values())
            return None
        return changed_between(self._recorded, now)

    def _taken(self) -> Loaded | None:
        with self._lock:
            if not self._free:
                return None
            return self._free[-1] if self._free[-1].is_for_all else self._free.pop()

    def _new(self) -> Loaded:
        own = live.OwnClasses(self._classes, self._sections) if self._classes else None
        with live.classes_of(own):
            function = self._load()
            for key, cls in own.made.items() if own is not None else ():
                if key not in self._sections:
                    self._sections[key] = definitions.define(cls, Fingerprinter())
            if self._exposure is None or self._recorded is None:
                session = Fingerprinter(self._tables)
                self._recorded = session.of(function)
                self._exposure = exposure_of(function, self._recorded, session)
                self._tables.close()
                if not self._exposure.classes <= self._classes:
                    self._classes |= self._exposure.classes
                    return self._new()  # this time with such classes of its own
        return Loaded(function, own, is_for_all=not self._exposure.is_changed)

    def _changed_classes(self, loaded: Loaded, now: Fingerprint) -> dict[tuple[str, str], type]:
        """Those that other loads have too."""
        assert self._recorded is not None  # noqa: S101 - something was loaded
        changed = {(c.name, c.digest) for c in _differences(self._recorded, now)}
        found: dict[tuple[str, str], type] = {}
        for node in Fingerprinter(self._tables).reached(loaded.function):
            cls = node.obj
            if node.kind != "class" or not isinstance(cls, type) or (loaded.own and loaded.own.concern(cls)):
                continue
            if any((each.name, each.local) in changed for each in (node, *node.children)):
                found[cls.__module__, cls.__qualname__] = cls
        return found


class Loaded:
    """One load of a function. `own`: the classes that it has to itself."""

    __slots__ = ("function", "is_for_all", "own")

    def __init__(self, function: Callable[..., Any], own: live.OwnClasses | None, *, is_for_all: bool) -> None:
        self.function = function
        self.own = own
        self.is_for_all = is_for_all

    def in_use(self) -> AbstractContextManager[None]:
        """Around the call, so that its arguments are of the classes that the function knows."""
        return live.classes_of(self.own)


def changed_between(before: Fingerprint, after: Fingerprint) -> tuple[str, ...]:
    """The values that differ, each by the name under which code reads it."""
    found: dict[str, None] = {}
    for fingerprint in (before, after):
        by_name = {component.name: component for component in fingerprint.components}
        for component in _differences(before, after):
            top = component
            while by_name.get(top.via, top).kind == "value" and top.via in by_name and top.via != top.name:
                top = by_name[top.via]
            found.setdefault(top.name)
    names = [name for name in found if not any(name.startswith((f"{other}[", f"{other}.")) for other in found)]
    return tuple(names)


def _differences(before: Fingerprint, after: Fingerprint) -> list[Component]:
    then = {(c.name, c.digest) for c in before.components}
    now = {(c.name, c.digest) for c in after.components}
    both = (*before.components, *after.components)
    kinds = ("value", "class", "code")
    return [c for c in both if ((c.name, c.digest) in then) != ((c.name, c.digest) in now) and c.kind in kinds]
