"""Whether recorded code that was loaded by value meets here what it met where it was recorded.

Not all that counts for code is recorded with it: an accessor that another module registers with pandas, what a module
of the user's sets in a package, a class that only another module derives. Where such a thing is another one, or not
there, the code would give another result under the key of the recorded one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from cas_engine.capsules import live
from cas_engine.errors import CapsuleError
from cas_engine.fingerprint import Fingerprinter

Brought = Iterable[tuple[str, bytes]]  # as `Fingerprint.brought`
_MOST = 5  # differences that an error lists


def check(function: Any, brought: Brought, session: Fingerprinter, shown: str) -> None:
    """Raise CapsuleError if others bring it something else here."""
    before, here = set(brought), set(session.of(function).brought)
    if before == here:
        return
    imported = [_import_for(name) for name, _ in sorted(before - here)]
    if any(imported):
        here = set(Fingerprinter().of(function).brought)
        if before == here:
            return
    then, now = {name for name, _ in before}, {name for name, _ in here}
    told = []
    for name in sorted({name for name, _ in before ^ here}):
        how = "is another one" if name in then and name in now else "is missing" if name in then else "was not there"
        told.append(f"\n     {name} {how}")
    raise CapsuleError(
        f"the recorded code of `{shown}` reaches what other modules put into packages, or derive from its classes. "
        "That is not recorded with it, and here it is not as it was\n"
        "  -> run where these modules are as they were recorded, or dispatch the workflow anew with what is here"
        + "".join(told[:_MOST])
    )


def _import_for(name: str) -> bool:
    """Import the module that a thing is named after, for what that does elsewhere; whether one was imported."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:end])
        if module in sys.modules:
            return False
        if live.import_quietly(module) is not None:
            return True
    return False
