"""Keeps Python from running bytecode of a file that has been edited since.

Python takes cached bytecode for that of a file if size and time of change are what they were, and of the time it keeps
whole seconds (PEP 3147, PEP 552). So a file edited within a second of having been imported, by a character that
replaces another, may run as it was. Bytecode as young as that is not believed here, but made anew.
"""

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
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.importlib import PathEntryFinderProtocol as PathEntryFinder

_DOUBTFUL_NS = 2 * 10**9  # a whole second, and as much again for reading, compiling and coarse clocks

_STANDARD_LIBRARY = str(Path(os.__file__).parent)
_INSTALLED = frozenset({"site-packages", "dist-packages"})


class CarefulLoader(SourceFileLoader):
    """Loads a module from its file, and from bytecode only if that was written well after the file's last change."""

    def get_data(self, path: str | bytes) -> bytes:
        """The content of a file. Raises OSError for bytecode that may be of an earlier text: it counts as not there."""
        if os.fsdecode(path).endswith(tuple(BYTECODE_SUFFIXES)) and self._is_doubtful(path):
            raise OSError(f"{os.fsdecode(path)} may be out of date")
        return super().get_data(path)  # type: ignore[arg-type]

    def _is_doubtful(self, bytecode: str | bytes) -> bool:
        written, changed = (Path(os.fsdecode(file)).stat().st_mtime_ns for file in (bytecode, self.path))
        return written - changed < _DOUBTFUL_NS


_careful = FileFinder.path_hook(
    (ExtensionFileLoader, EXTENSION_SUFFIXES),
    (CarefulLoader, SOURCE_SUFFIXES),
    (SourcelessFileLoader, BYTECODE_SUFFIXES),
)


def _finder_for(folder: str) -> PathEntryFinder:
    # What is installed counts by version, and its bytecode is as young as its files when both have just been put there.
    if folder.startswith(_STANDARD_LIBRARY) or not _INSTALLED.isdisjoint(Path(folder).parts):
        raise ImportError(folder)
    return _careful(folder)


def distrust_young() -> None:
    """Let what is imported from here on be loaded with care. What has been found already is as it is."""
    if _finder_for not in sys.path_hooks:
        sys.path_hooks.insert(0, _finder_for)
        # Folders that were looked into before keep their finders; the user's may be among them (PYTHONPATH).
        sys.path_importer_cache.clear()
