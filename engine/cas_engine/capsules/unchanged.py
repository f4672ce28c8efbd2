"""What a call runs: the live function of an electron for as long as it is what was recorded, else the recorded one.

A dispatch runs beside the program that made it, and that program goes on: it may rebind a global, edit a table, patch a
helper while a call waits or runs. And calls may change what they read. A call then runs the recorded code, by value.
"""

from __future__ import annotations

import ast
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cas_engine.capsules import capsule
from cas_engine.capsules.changeable import Exposure, exposure_of, last_name, written_by
from cas_engine.capsules.lending import Lending, Loaded, around, changed_between
from cas_engine.errors import CapsuleError, EnvironmentMismatch
from cas_engine.fingerprint import Component, Fingerprint, Fingerprinter, KnownTables
from cas_engine.fingerprint.model import named

if TYPE_CHECKING:
    from cas_engine.capsules.glimpse import Glimpse

# A look costs about a tenth of this; calls that begin within it share one.
_TRUST_S = 0.001
_FIXED = (int, float, complex, str, bytes, bool, type(None), tuple)
_AGAIN = 4  # times that a call is made at most


Result = TypeVar("Result")
Blob = Callable[[], "bytes | memoryview"]  # gives a capsule, read only if it has to be: most calls need none
FunctionOf = Callable[[Blob], Callable[..., Any]]


class Loan(Protocol):
    """The function for one call."""

    def function(self, blob: Blob) -> Callable[..., Any]:
        """The function. Raises CapsuleError, EnvironmentMismatch."""

    def end(self) -> tuple[str, ...] | None:
        """After the call: warnings; None if it may have read what was not recorded, and is to be made again."""


class Code(Protocol):
    """What gives each call its function."""

    @property
    def constant(self) -> Callable[[], Callable[..., Any]] | None:
        """What gives the function, if every call has this one: nothing that it reads can be another."""

    def loan(self) -> Loan:
        """For one call."""


def calling(code: Code, call: Callable[[FunctionOf], Result]) -> tuple[Result, str]:
    """What comes of a call that has read what was recorded, and what is to be said about it.

    `call` is given what makes a function of a capsule. It is called again if that has read anything else.
    """
    for _ in range(_AGAIN):
        loan = code.loan()
        try:
            result = call(loan.function)
        finally:
            warnings = loan.end()
        if warnings is not None:
            break
    return result, "; ".join((_UNSETTLED,) if warnings is None else warnings)


_UNSETTLED = "what it reads is changed by others again and again: it may not have read what was recorded"


class LiveCode:
    """A function of this process, with the fingerprint that it had when it was recorded.

    What reads anything that a call could change in place runs by value from the start: whether such a thing was changed
    by the call itself or by somebody else could not be told afterwards, and what the program holds stays as it is.
    What cannot be recorded has to do as it is, and says so once it has changed.
    """

    def __init__(self, fn: Callable[..., Any], recorded: Fingerprint, exposure: Exposure) -> None:
        self._fn = fn
        self._recorded = recorded
        self._exposure = exposure
        self._fixed = _fixed_of(recorded)
        self._reaches_nothing = sum(c.kind != "package" for c in recorded.components) == 1
        self._can_be_recorded: bool | None = None  # None: not looked at yet
        self._is_live = True
        self._glimpse: Glimpse | None = None
        self._can_glimpse = True  # as far as is known
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._by_value = RecordedCode(by_value=True)
        self._tables = KnownTables()
        self.constant = (lambda: fn) if self._reaches_nothing and not exposure.is_changed else None

    def loan(self) -> Loan:
        """For one call."""
        return _LiveLoan(self)

    def live_function(self, blob: Blob) -> Callable[..., Any] | None:
        """The function if it is what was recorded, and stays so."""
        if self._can_be_recorded is None and not self._reaches_nothing:
            can_be = not capsule.header(blob()).fault
            if can_be and self._exposure.can_change:
                can_be = self._by_value.is_faithful(blob, self._recorded.code)
                self._is_live = self._is_live and not can_be
            self._can_be_recorded = can_be
        # What is put back for a moment may have been there a moment ago.
        if self._is_live and (self._recorded.brought or time.monotonic() - self._looked > _TRUST_S):
            self._look(also_what_calls_change=bool(self._can_be_recorded))
        return self._fn if self._is_live else None

    @property
    def meets_what_it_met(self) -> bool:
        """Whether what other modules have brought to the function when it was recorded is there in this process."""
        recorded = self._recorded.brought
        return not recorded or named(Fingerprinter().of(self._fn).brought) == named(recorded)

    def by_value(self) -> Loan:
        """The recorded function, for one call."""
        return self._by_value.loan()

    def warnings(self) -> tuple[str, ...]:
        """After a call of the live function: what it should not have changed."""
        if not self._exposure.is_changed:
            return ()
        try:
            now = Fingerprinter(self._tables).of(self._fn)
        except Exception:  # noqa: BLE001 - whatever it is now, it is not what was recorded
            return (_SHARED.format("what it reads"),)
        names = changed_between(self._recorded, now) if now.code != self._recorded.code else ()
        return (_SHARED.format(_listed(names)),) if names else ()

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
            if self._glimpse is not None and self._glimpse.holds():
                return
            session = Fingerprinter()
            try:
                now = session.of(self._fn)
                same = now.code == self._recorded.code
                if same and self._can_glimpse:
                    self._glimpse = self._first_glimpse(now, session)
                    self._can_glimpse = self._glimpse is not None
            except Exception:  # noqa: BLE001 - what cannot be looked at, perhaps because it is being changed, is not the same
                self._is_live = False
                return
            self._is_live = same or (not also_what_calls_change and self._fixed == _fixed_of(now))

    def _first_glimpse(self, found: Fingerprint, session: Fingerprinter) -> Glimpse | None:
        """What tells from now on that nothing has changed since a look, where that can be told so."""
        from cas_engine.capsules.glimpse import glimpse_of  # late: most electrons read nothing that could change

        glimpse = glimpse_of(found, session.reached(self._fn))
        # Something may have changed between the look and this: so it has to hold around another look.
        if glimpse is not None and Fingerprinter().of(self._fn).code == self._recorded.code and glimpse.holds():
            return glimpse
        return None


class _LiveLoan:
    def __init__(self, code: LiveCode) -> None:
        self._code = code
        self._by_value: Loan | None = None
        self._is_used = False

    def function(self, blob: Blob) -> Callable[..., Any]:
        found = self._code.live_function(blob)
        if found is None:
            self._by_value = self._code.by_value()
            return self._by_value.function(blob)
        self._is_used = True
        return found

    def end(self) -> tuple[str, ...] | None:
        if self._by_value is not None:
            return self._by_value.end()
        if self._is_used and self._code.changed_since(time.monotonic()):
            return None  # it may have read what was not recorded
        return self._code.warnings() if self._is_used else ()


class RecordedCode:
    """The function of a capsule, as it was recorded for each call."""

    def __init__(self, *, by_value: bool = False) -> None:
        self._is_by_value = by_value
        self._lending: Lending | None = None
        self._live: LiveCode | None = None
        self._lock = threading.Lock()
        self.constant: None = None

    def loan(self) -> Loan:
        """For one call."""
        return _Lent(self)

    def is_faithful(self, blob: Blob, code: bytes) -> bool:
        """Whether the function by value is what has this fingerprint."""
        try:
            return self.lending(blob).is_faithful(code)
        except (CapsuleError, EnvironmentMismatch):
            return False

    def lending(self, blob: Blob) -> Lending:
        """All loads of the function. Raises CapsuleError, EnvironmentMismatch."""
        with self._lock:
            if self._lending is None:
                self._lending = (_by_value if self._is_by_value else _best)(blob())
        return self._lending


class _Lent:
    def __init__(self, code: RecordedCode) -> None:
        self._code = code
        self._taken: tuple[Lending, Loaded] | None = None
        self._use = ExitStack()

    def function(self, blob: Blob) -> Callable[..., Any]:
        lending = self._code.lending(blob)
        self._use.enter_context(around(lending.brought))
        loaded = lending.take()
        self._taken = lending, loaded
        self._use.enter_context(loaded.in_use())
        return loaded.function

    def end(self) -> tuple[str, ...] | None:
        with self._use:
            if self._taken is None:
                return ()
            lending, loaded = self._taken
            names = lending.give_back(loaded)
        text = _SHARED if lending.gives_one else _OWN
        return names and (text.format(_listed(names)),)


_OWN = "it changes {} while it runs: each call begins with what was recorded, and what it changes is not kept"
_SHARED = (
    "it changes {}, which cannot be recorded: later calls read what earlier ones left, and results depend on their "
    "order; make it inside the electron, or pass it in"
)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _best(blob: bytes | memoryview) -> Lending:
    """The function by name where that does, by value if a call could change what it reads."""
    session = Fingerprinter()
    function, brought = capsule.load_anew(blob, session)
    with around(brought):
        session = Fingerprinter() if brought else session
        found = session.of(function)
        if exposure_of(function, found, session).can_change and not capsule.header(blob).fault:
            lending = Lending(lambda: _recorded(blob), brought)
            try:
                if lending.is_faithful(found.code):
                    return lending
            except (CapsuleError, EnvironmentMismatch):
                pass  # the one that is here will have to do
    return Lending(lambda: function, brought, gives_one=True)


def _by_value(blob: bytes | memoryview) -> Lending:
    brought = capsule.load_recorded(blob, Fingerprinter())[1] if capsule.header(blob).brought else ()
    return Lending(lambda: _recorded(blob), brought)


def _recorded(blob: bytes | memoryview) -> Callable[..., Any]:
    function, _ = capsule.load_recorded(blob, Fingerprinter())
    return function


def _fixed_of(fingerprint: Fingerprint) -> frozenset[tuple[str, bytes]]:
    """Code and constants: what a call cannot change in passing."""
    written = written_by(fingerprint)
    inside: set[str] = set()  # what can change, and what is told as a part of that
    fixed = []
    for component in fingerprint.components:
        if component.via in inside or (component.kind == "value" and not _is_fixed(component)):
            inside.add(component.name)
        elif _is_fixed(component) and last_name(component.name) not in written:
            fixed.append((component.name, component.digest))
    return frozenset(fixed)


def _is_fixed(component: Component) -> bool:
    if component.kind in ("code", "class"):
        return True
    try:
        return component.kind == "value" and isinstance(ast.literal_eval(component.detail), _FIXED)
    except (ValueError, SyntaxError):
        return False
