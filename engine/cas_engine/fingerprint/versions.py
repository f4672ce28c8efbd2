"""The version of an installed distribution, read from where `importlib.metadata` would take it.

That module brings parsers of mail and of CSV along, which take longer than most redispatches. Here is the plain case,
a folder on the path with one `.dist-info` of the name; for all others `importlib.metadata` has the word.
"""

# ruff: noqa: PTH116, PTH118, PTH123, PTH208 - as texts, which is how sys.path has them

from __future__ import annotations

import functools
import os
import re
import sys
from importlib.machinery import PathFinder

_VERSION = re.compile(rb"^Version:[ \t]*([^\s:]+)\r?$", re.MULTILINE | re.IGNORECASE)


def installed_version(package: str) -> str | None:
    """What `importlib.metadata.version` says; None if there is no such distribution."""
    found = _plainly(package)
    if found is not None:
        return found
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _plainly(package: str) -> str | None:
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path):
        return None
    wanted = _normalized(package)
    for entry in sys.path:
        if not isinstance(entry, str) or entry.lower().endswith(".egg"):
            return None
        try:
            folder = entry or os.getcwd()  # noqa: PTH109
            found = _metadata_in(folder, os.stat(folder).st_mtime_ns).get(wanted, ())
        except FileNotFoundError:
            continue
        except OSError:  # an archive, or one that may not be looked into
            return None
        if len(found) == 1:
            return _version_in(os.path.join(folder, found[0]))
        if found:
            return None
    return None


@functools.lru_cache(maxsize=64)
def _metadata_in(folder: str, changed: int) -> dict[str, tuple[str, ...]]:
    """The folders with metadata, by the normalized name; `changed` says as of when."""
    del changed
    found: dict[str, tuple[str, ...]] = {}
    for entry in os.listdir(folder):
        low = entry.lower()
        if low.endswith((".dist-info", ".egg-info")):
            name = _normalized(low.rpartition(".")[0].partition("-")[0])
            found[name] = (*found.get(name, ()), entry)
    return found


def _version_in(folder: str) -> str | None:
    if not folder.lower().endswith(".dist-info"):
        return None
    try:
        with open(os.path.join(folder, "METADATA"), "rb") as file:
            text = file.read()
    except OSError:
        return None
    # The headers end with the first empty line; that of a licence in them is indented. Not by `re`, which takes a
    # millisecond for a long one.
    ends = [at for at in map(text.find, (b"\n\n", b"\n\r\n")) if at >= 0]
    version = _VERSION.search(text, 0, min(ends) + 1) if ends else _VERSION.search(text)
    return version[1].decode("ascii", "replace") if version and version[1].isascii() else None


def _normalized(name: str) -> str:
    """As PEP 503 compares the names of distributions, and wheels write them."""
    return re.sub(r"[-_.]+", "-", name).lower().replace("-", "_")
