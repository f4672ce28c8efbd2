"""The live function of an electron, for as long as it is what was recorded.

A dispatch runs beside the program that made it, and that program goes on: it may rebind a global, edit a table, patch a
helper before a call is reached. What runs then is the recorded code, by value.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Callable
from typing import Any

from cas_engine.fingerprint import Component, Fingerprint, Fingerprinter

# A look costs about a tenth of this; calls shorter than it share one.
_TRUST_S = 0.001
_FIXED = (int, float, complex, str, bytes, bool, type(None), tuple)


class LiveCode:
    """A function of this process, with the fingerprint that it had when it was recorded."""

    def __init__(self, fn: Callable[..., Any], recorded: Fingerprint) -> None:
        self._fn = fn
        self._recorded = recorded
        self._seen = time.monotonic()
        self._is_changed = False

    def function(self) -> Callable[..., Any] | None:
        """The function if it is still what was recorded; None once it is not."""
        if not self._is_changed and time.monotonic() - self._seen > _TRUST_S:
            self._look()
        return None if self._is_changed else self._fn

    def changed_meanwhile(self) -> bool:
        """Whether somebody else changed, while it ran, what it reads.

        What a call does itself to a table or a list is not told from what others do to it, and is not counted: only what
        it cannot have changed without saying so, code and constants.
        """
        if self._recorded.warnings or time.monotonic() - self._seen <= _TRUST_S:
            return False
        now = self._look()
        if now is None:
            return False
        before = {component.name: component for component in self._recorded.components}
        return any(_is_fixed(c) and c.name in before and before[c.name].digest != c.digest for c in now.components)

    def _look(self) -> Fingerprint | None:
        """The fingerprint it has now, if that is another."""
        now = Fingerprinter().of(self._fn)
        self._seen = time.monotonic()
        if now.code == self._recorded.code:
            return None
        self._is_changed = True
        return now


def _is_fixed(component: Component) -> bool:
    if component.kind in ("code", "class"):
        return True
    try:
        return component.kind == "value" and isinstance(ast.literal_eval(component.detail), _FIXED)
    except (ValueError, SyntaxError):
        return False
