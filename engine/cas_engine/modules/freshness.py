"""Keeps Python from running bytecode of a file that has been edited since.

Python takes cached bytecode for that of a file if size and time of change are what they were, and of the time it keeps
whole seconds (PEP 3147, PEP 552). So a file edited within a second of having been imported, by a character that
replaces another, may run as it was. Bytecode as young as that is not believed here, but made anew.
"""

# ruff: noqa: PTH108, PTH116, PTH120 - part of every start: os is there, pathlib may not be

from __future__ import annotations

import os
import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from typing import TYPE_CHECKING

from cas_store.errors import CasRunError

if TYPE_CHECKING:
    from _typeshed.importlib import PathEntryFinderProtocol as PathEntryFinder

_DOUBTFUL_NS = 2 * 10**9  # a whole second, and as much again for reading, compiling and coarse clocks
_STANDARD_LIBRARY = os.path.dirname(os.__file__)
_INSTALLED = ("site-packages", "dist-packages")


class OutdatedBytecode(CasRunError):
    """A module was loaded before cas_run, from bytecode of an earlier text of its file."""


class CarefulLoader(SourceFileLoader):
    """Loads a module from its file, and from bytecode only if that was written well after the file's last change."""

    def get_data(self, path: str | bytes) -> bytes:
        """The content of a file. Raises OSError for bytecode that may be of an earlier text: it counts as not there."""
        name = os.fsdecode(path)
        if name.endswith(tuple(BYTECODE_SUFFIXES)) and _is_doubtful(name, self.path):
            raise OSError(f"{name} may be out of date")
        return super().get_data(name)


def _is_doubtful(bytecode: str, source: str) -> bool:
    return os.stat(bytecode).st_mtime_ns - os.stat(source).st_mtime_ns < _DOUBTFUL_NS


_careful = FileFinder.path_hook(
    (ExtensionFileLoader, EXTENSION_SUFFIXES),
    (CarefulLoader, SOURCE_SUFFIXES),
    (SourcelessFileLoader, BYTECODE_SUFFIXES),
)


def _is_installed(folder: str) -> bool:
    # What is installed counts by version, and its bytecode is as young as its files when both have just been put there.
    return folder.startswith(_STANDARD_LIBRARY) or any(name in folder for name in _INSTALLED)


def _finder_for(folder: str) -> PathEntryFinder:
    if _is_installed(folder):
        raise ImportError(folder)
    return _careful(folder)


def distrust_young() -> None:
    """Load with care what the user's program imports from here on.

    Raises OutdatedBytecode if something that it has imported before should have been.
    """
    if _finder_for in sys.path_hooks:
        return
    sys.path_hooks.insert(0, _finder_for)
    for folder in [folder for folder in sys.path_importer_cache if not _is_installed(folder)]:
        del sys.path_importer_cache[folder]  # its finder is of the old kind
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        loader = getattr(spec, "loader", None)
        if type(loader) is SourceFileLoader and not _is_installed(loader.path):
            _check(loader, getattr(spec, "cached", None))


def _check(loader: SourceFileLoader, bytecode: str | None) -> None:
    """Look into a module that was loaded without care. Raises OutdatedBytecode."""
    source = loader.path
    try:
        if bytecode is None or not _is_doubtful(bytecode, source):
            return
        run, today = loader.get_code(loader.name), loader.source_to_code(loader.get_data(source), source)
        if run == today:
            return
        os.unlink(bytecode)
    except (OSError, ImportError, SyntaxError, ValueError):
        return  # edited, moved or removed since: Python has run what was there then
    raise OutdatedBytecode(
        f"Python has run an earlier text of {source}: the file was edited within a second of its last import, and what"
        f" was compiled then looks current\n  -> that bytecode is removed now: start the program again"
    )
