"""Which store: the one given, CAS_RUN_STORE, that of the config file, or the user's data folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cas_engine.settings import setting
from cas_store.store import Store

StoreChoice = Store | str | Path | None


def open_store(choice: StoreChoice = None, *, create: bool = True) -> Store:
    """Open a store, creating it on first use. Raises StoreError.

    None means the folder in CAS_RUN_STORE or in the config file, else the one that the platform keeps for users' data.
    """
    if isinstance(choice, Store):
        return choice
    path = choice or setting("store") or default_path()
    return Store.open(Path(path).expanduser(), create=create)


def default_path() -> Path:
    """Where a user's data belong on this platform: the XDG base directories, Application Support, LocalAppData."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "cas-run" / "store"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "cas-run" / "store"
    data = os.environ.get("XDG_DATA_HOME", "")
    # The specification says that relative paths are to be ignored.
    base = Path(data) if Path(data).is_absolute() else Path.home() / ".local" / "share"
    return base / "cas-run" / "store"
