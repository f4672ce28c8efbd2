"""Whether recorded code that was loaded by value meets here what it met where it was recorded.

Some of what counts for code lies outside of it: an accessor that another module registers with pandas, what a module of
the user's sets in a package, a class that only another module derives. Where such a thing is another one, or not there,
the code would give another result under the key of the recorded one. What was put into packages is kept with the code,
and put back around its calls; classes are imported, or it is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from cas_engine.capsules import live
from cas_engine.capsules.restoring import restored
from cas_engine.errors import CapsuleError
from cas_engine.fingerprint import Fingerprinter
from cas_engine.fingerprint.model import named
from cas_engine.fingerprint.patches import Patch

Pairs = Iterable[tuple[str, bytes]]  # names and digests, as in `Fingerprint.brought`
_MOST = 5  # differences that an error lists


def missing(
    function: Any, recorded: Pairs, brought: Sequence[Patch], session: Fingerprinter, shown: str
) -> Sequence[Patch]:
    """What has to be put back for a function to meet what it met: all that was recorded with it, or nothing.

    Raises CapsuleError if that does not do.
    """
    before = set(recorded)
    if _found(function, session) == before:
        return ()
    here = _found_with(function, brought)
    imported = [_import_for(name) for name, _ in sorted(before - here)]
    if any(imported):
        if _found(function, Fingerprinter()) == before:
            return ()
        here = _found_with(function, brought)
    if here == before:
        return brought
    then, now = {name for name, _ in before}, {name for name, _ in here}
    told = []
    for name in sorted({name for name, _ in before ^ here}):
        how = "is another one" if name in then and name in now else "is missing" if name in then else "was not there"
        told.append(f"\n     {name} {how}")
    raise CapsuleError(
        f"the recorded code of `{shown}` reaches what other modules put into packages or derive from its classes, or "
        "what it brings back from pickles. Not all of that is recorded with it, and here it is not as it was\n"
        "  -> run where these modules are as they were recorded, or dispatch the workflow anew with what is here"
        + "".join(told[:_MOST])
    )


def _found(function: Any, session: Fingerprinter) -> set[tuple[str, bytes]]:
    return named(session.of(function).brought)


def _found_with(function: Any, brought: Sequence[Patch]) -> set[tuple[str, bytes]]:
    with restored(brought):
        return _found(function, Fingerprinter())


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
