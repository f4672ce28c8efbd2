"""The live function of an electron, for as long as it is what was recorded.

A dispatch runs beside the program that made it, and that program goes on: it may rebind a global, edit a table, patch a
helper while a call waits or runs. A call then runs the recorded code, by value.
"""

from __future__ import annotations

import ast
import threading
import time
from collections.abc import Callable
from typing import Any

from cas_engine import capsule
from cas_engine.definitions import load_by_value
from cas_engine.fingerprint import Component, Fingerprint, Fingerprinter
from cas_engine.frames import take_apart

# A look costs about a tenth of this; calls that begin within it share one.
_TRUST_S = 0.001
_FIXED = (int, float, complex, str, bytes, bool, type(None), tuple)
# What is there to be shared: two electrons that take turns by one lock must go on doing so.
_SHARED = ("<unlocked ", "<locked ", "<threading.", "<Logger ")


class LiveCode:
    """A function of this process, with the fingerprint that it had when it was recorded.

    What reads a table, an array or an instance of the program runs by value from the start: whether such a thing was
    changed by the call itself or by somebody else could not be told afterwards.
    """

    def __init__(self, fn: Callable[..., Any], recorded: Fingerprint) -> None:
        self._fn = fn
        self._fixed = _fixed_of(recorded)
        self._reaches_nothing = sum(c.kind != "package" for c in recorded.components) == 1
        self._wants_value = any(_is_mutable(component) for component in recorded.components)
        self._is_live = not self._wants_value
        self._recorded: Callable[..., Any] | None = None
        self._lock = threading.Lock()
        self._looked = time.monotonic()

    def is_own(self, function: Callable[..., Any]) -> bool:
        """Whether `function` gave the live one, so that what it read has to be looked at again."""
        return function is self._fn

    def function(self, blob: bytes | memoryview) -> Callable[..., Any]:
        """The function if it is what was recorded, else that of the capsule. Raises CapsuleError."""
        if self._wants_value:
            self._wants_value = False
            self._is_live = bool(capsule.header(blob).fault)  # what cannot be recorded has to do as it is
        if self._is_live and time.monotonic() - self._looked > _TRUST_S:
            self.changed_since(self._looked)
        if self._is_live:
            return self._fn
        if self._recorded is None:
            self._recorded = _by_value(blob)
        return self._recorded

    def changed_since(self, moment: float) -> bool:
        """Whether what the live function reads was another thing at any look after a moment of the monotonic clock."""
        with self._lock:
            # Whoever waited for the lock may take the look of another, if that began late enough.
            if self._is_live and self._looked <= moment and not self._reaches_nothing:
                self._looked = time.monotonic()
                self._is_live = self._fixed == _fixed_now(self._fn)
            return not self._is_live


class RecordedCode:
    """The function of a capsule, loaded once for a dispatch, so that what it does to its globals ends with that."""

    def __init__(self) -> None:
        self._function: Callable[..., Any] | None = None
        self._lock = threading.Lock()

    def function(self, blob: bytes | memoryview) -> Callable[..., Any]:
        """The function. Raises CapsuleError, EnvironmentMismatch."""
        with self._lock:
            if self._function is None:
                self._function = capsule.load(blob, fresh=True)
            return self._function


def _by_value(blob: bytes | memoryview) -> Callable[..., Any]:
    head = capsule.header(blob)
    shown = f"{head.module}.{head.qualname or head.name}"
    if head.fault:
        return capsule.load(blob)  # which says what hinders it
    stream = take_apart(blob).stream
    packages = dict(head.packages)
    function: Callable[..., Any] = load_by_value(stream, Fingerprinter(), shown, head.python, packages, fresh=True)
    return function


def _fixed_now(fn: Callable[..., Any]) -> frozenset[tuple[str, bytes]] | None:
    try:
        return _fixed_of(Fingerprinter().of(fn))
    except Exception:  # noqa: BLE001 - what cannot be looked at, perhaps because it is being changed, is not the same
        return None


def _fixed_of(fingerprint: Fingerprint) -> frozenset[tuple[str, bytes]]:
    """Code and constants: what a call cannot change in passing."""
    written = {warning.rpartition(" ")[2] for warning in fingerprint.warnings}
    inside: set[str] = set()  # what can change, and what is told as a part of that
    fixed = []
    for component in fingerprint.components:
        if component.via in inside or _is_mutable(component):
            inside.add(component.name)
        elif _is_fixed(component) and component.name.rpartition(".")[2] not in written:
            fixed.append((component.name, component.digest))
    return frozenset(fixed)


def _is_fixed(component: Component) -> bool:
    if component.kind in ("code", "class"):
        return True
    try:
        return component.kind == "value" and isinstance(ast.literal_eval(component.detail), _FIXED)
    except (ValueError, SyntaxError):
        return False


def _is_mutable(component: Component) -> bool:
    is_shared = component.detail.startswith(_SHARED)
    return component.kind == "value" and not is_shared and not _is_fixed(component)
