"""Which store: the one given, CAS_RUN_STORE, that of the config file, or the user's data folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cas_engine.bookkeeping.settings import choice, home_folder, setting
from cas_engine.errors import BadOption
from cas_store.layout import expanded
from cas_store.stamps import Verify
from cas_store.store import Store

StoreChoice = Store | str | Path | None


def open_store(given: StoreChoice = None, *, create: bool = True) -> Store:
    """Open a store, creating it on first use. Raises StoreError.

    None means the folder in CAS_RUN_STORE or in the config file, else the one that the platform keeps for users' data.
    """
    if isinstance(given, Store):
        return given
    verify = Verify(choice("verify", [each.value for each in (Verify.BOOT, Verify.PROCESS, Verify.ALWAYS)]))
    compress = choice("compress", ["no", "zstd"]) == "zstd"
    store = Store.open(path_of(given), create=create)
    store.verify, store.compress = verify, compress
    return store


def path_of(given: StoreChoice = None) -> Path:
    """The folder that :func:`open_store` would open."""
    if isinstance(given, Store):
        return given.path
    if not isinstance(given, (str, os.PathLike, type(None))):
        raise BadOption(f"store= is of type {type(given).__name__}\n  -> give the path of a folder, or a store")
    return expanded(given or setting("store") or default_path())


def default_path() -> Path:
    """Where a user's data belong on this platform: the XDG base directories, Application Support, LocalAppData.

    Raises NoHome.
    """
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home_folder() / "AppData" / "Local") / "cas-run" / "store"
    if sys.platform == "darwin":
        return home_folder() / "Library" / "Application Support" / "cas-run" / "store"
    data = os.environ.get("XDG_DATA_HOME", "")
    # The specification says that relative paths are to be ignored.
    base = Path(data) if Path(data).is_absolute() else home_folder() / ".local" / "share"
    return base / "cas-run" / "store"
