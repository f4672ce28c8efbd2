"""The identity of code: what would run, taken from the objects that will run, and all that they reach.

The names are looked up when first used (PEP 562): who asks for versions of packages looks at no code.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cas_engine.fingerprint.environment import effective, version_of
    from cas_engine.fingerprint.model import Component, Fingerprint
    from cas_engine.fingerprint.session import Fingerprinter
    from cas_engine.fingerprint.tables import KnownTables

_HOME_OF = {
    "effective": "environment",
    "version_of": "environment",
    "Component": "model",
    "Fingerprint": "model",
    "Fingerprinter": "session",
    "KnownTables": "tables",
}

__all__ = ["Component", "Fingerprint", "Fingerprinter", "KnownTables", "effective", "version_of"]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
