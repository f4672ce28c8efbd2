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
# What components of these begin with in words. Such values come back from a capsule just as they were.
_TABLES = (
    "[",
    "{",
    "<ndarray",
    "<DataFrame",
    "<Series",
    "bytearray(",
    "defaultdict(",
    "deque(",
    "Counter(",
    "OrderedDict(",
)


class LiveCode:
    """A function of this process, with the fingerprint that it had when it was recorded.

    What reads a table or an array of the program runs by value from the start: whether such a thing was changed by the
    call itself or by somebody else could not be told afterwards. What reads other things that can change, such as
    instances, runs live as long as they are what they were when a call begins.
    """

    def __init__(self, fn: Callable[..., Any], recorded: Fingerprint) -> None:
        self._fn = fn
        self._code = recorded.code
        self._fixed = _fixed_of(recorded)
        self._reaches_nothing = sum(c.kind != "package" for c in recorded.components) == 1
        self._reads_tables = any(c.kind == "value" and c.detail.startswith(_TABLES) for c in recorded.components)
        self._can_be_recorded: bool | None = None  # None: not looked at yet
        self._is_live = True
        self._recorded: Callable[..., Any] | None = None
        self._lock = threading.Lock()
        self._looked = time.monotonic()

    def is_own(self, function: Callable[..., Any]) -> bool:
        """Whether `function` gave the live one, so that what it read has to be looked at again."""
        return function is self._fn

    def function(self, blob: bytes | memoryview) -> Callable[..., Any]:
        """The function if it is what was recorded, else that of the capsule. Raises CapsuleError."""
        if self._can_be_recorded is None and not self._reaches_nothing:
            self._can_be_recorded = not capsule.header(blob).fault
            # What cannot be recorded has to do as it is.
            self._is_live = not (self._reads_tables and self._can_be_recorded)
        if self._is_live and time.monotonic() - self._looked > _TRUST_S:
            self._look(also_what_calls_change=bool(self._can_be_recorded))
        if self._is_live:
            return self._fn
        if self._recorded is None:
            self._recorded = _by_value(blob)
        return self._recorded

    def changed_since(self, moment: float) -> bool:
        """Whether code or constants that the live function reads were others at any look after a moment (monotonic)."""
        with self._lock:
            # Whoever waited for the lock may take the look of another, if that began late enough.
            is_due = self._looked <= moment
        if is_due:
            self._look(also_what_calls_change=False)
        return not self._is_live

    def _look(self, *, also_what_calls_change: bool) -> None:
        with self._lock:
            if not self._is_live or self._reaches_nothing:
                return
            self._looked = time.monotonic()
            try:
                now = Fingerprinter().of(self._fn)
            except Exception:  # noqa: BLE001 - what cannot be looked at, perhaps because it is being changed, is not the same
                self._is_live = False
                return
            same = now.code == self._code
            self._is_live = same or (not also_what_calls_change and self._fixed == _fixed_of(now))


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


def _fixed_of(fingerprint: Fingerprint) -> frozenset[tuple[str, bytes]]:
    """Code and constants: what a call cannot change in passing."""
    written = {warning.rpartition(" ")[2] for warning in fingerprint.warnings}
    inside: set[str] = set()  # what can change, and what is told as a part of that
    fixed = []
    for component in fingerprint.components:
        if component.via in inside or (component.kind == "value" and not _is_fixed(component)):
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
