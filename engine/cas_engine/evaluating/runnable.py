"""Whether recorded electrons can run here, told before any of them does: packages that are missing, another Python."""

from __future__ import annotations

from collections.abc import Iterable

from cas_engine.bookkeeping.kept import loads_here
from cas_engine.capsules import capsule
from cas_engine.capsules.definitions import PYTHON
from cas_engine.capsules.frames import FrameError
from cas_engine.errors import EnvironmentMismatch
from cas_engine.fingerprint import Fingerprinter
from cas_engine.fingerprint.environment import FILE, MISSING, version_of
from cas_engine.graphs.graph import Row
from cas_store.errors import BlobDamaged, BlobMissing
from cas_store.store import Store


def check_runnable(store: Store, rows: Iterable[Row]) -> None:
    """Raise EnvironmentMismatch if the code of one of these cannot be loaded here for want of what it was made with.

    The code is loaded only where its header already says that something is not as it was.
    """
    session = Fingerprinter()
    told: list[str] = []
    advice: dict[str, None] = {}
    differences: dict[tuple[str, str, str], None] = {}
    for row in rows:
        try:
            head = capsule.header(store.get_blob(row.capsule))
        except (BlobMissing, BlobDamaged, FrameError):
            continue  # it is told when the call finds out
        absent = {name: was for name, was in head.packages.items() if _is_missing(name, was)}
        if (not absent and head.python == PYTHON) or loads_here(store, row, session):
            continue
        for name, was in absent.items():
            told.append(f"electron `{row.slot}` needs {name} {was}, which is not installed here")
            advice[f"pip install {name}=={was}"] = None
            differences[name, was, MISSING] = None
        if not absent:
            told.append(f"electron `{row.slot}` was recorded under Python {head.python}, and this is Python {PYTHON}")
            advice[f"use Python {head.python}, or run where its source is as it was recorded"] = None
            differences["python", head.python, PYTHON] = None
    if told:
        said, then = "\n".join(told), ", ".join(advice)
        raise EnvironmentMismatch(f"{said}; nothing has run\n  -> {then}", list(differences))


def _is_missing(name: str, was: str) -> bool:
    return was != MISSING and not name.startswith(FILE) and version_of(name) == MISSING
