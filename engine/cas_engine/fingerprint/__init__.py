"""The identity of code: what would run, taken from the objects that will run, and all that they reach."""

from cas_engine.fingerprint.environment import effective, version_of
from cas_engine.fingerprint.model import Component, Fingerprint
from cas_engine.fingerprint.session import Fingerprinter
from cas_engine.fingerprint.tables import KnownTables

__all__ = ["Component", "Fingerprint", "Fingerprinter", "KnownTables", "effective", "version_of"]
