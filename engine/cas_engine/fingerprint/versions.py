"""The version of an installed distribution, read from where `importlib.metadata` would take it.

What was installed from a folder, a repository or a file of one's own (direct_url.json, PEP 610) may be another text of
the same version: its files count too, by the digests that the installer wrote down. Not where conda installed it, which
leaves such a file from building.

`importlib.metadata` brings parsers of mail and of CSV along, which take longer than most redispatches. Here is the
plain case, a folder on the path with one `.dist-info` of the name; for all others `importlib.metadata` has the word.
"""

# ruff: noqa: PTH116, PTH118, PTH123, PTH208 - as texts, which is how sys.path has them

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder

from cas_store.digest import digest_of

# Not what differs for each environment: scripts and metadata.
_DIGESTED = re.compile(r"^(?!\.\./)(?![^/\n]*\.dist-info/)([^\n]+),(sha\d+=[^,\n]+),\d*\r?$", re.MULTILINE)
_EDITABLE = re.compile(r'"editable"\s*:\s*true')
_VERSION = re.compile(rb"^Version:[ \t]*([^\s:]+)\r?$", re.MULTILINE | re.IGNORECASE)


def installed_version(package: str) -> str | None:
    """What `importlib.metadata.version` says, with the build where that counts; None if it knows no such package."""
    found = _plainly(package)
    if found is not None:
        return found
    import importlib.metadata

    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    return _with_build(distribution.version, distribution.read_text)


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
    if version is None or not version[1].isascii():
        return None
    return _with_build(version[1].decode("ascii"), functools.partial(_text_in, folder))


def _text_in(folder: str, name: str) -> str | None:
    try:
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def _with_build(version: str, read: Callable[[str], str | None]) -> str:
    origin = read("direct_url.json")
    if origin is None or _EDITABLE.search(origin) or (read("INSTALLER") or "").strip() == "conda":
        return version
    files = sorted(_DIGESTED.findall(read("RECORD") or ""))
    return f"{version}+{digest_of(repr(files).encode()).hex()[:12]}" if files else version


def _normalized(name: str) -> str:
    """As PEP 503 compares the names of distributions, and wheels write them."""
    if not ("-" in name or "." in name or "__" in name):  # most, in a tenth of the time
        return name.lower()
    return re.sub(r"[-_.]+", "-", name).lower().replace("-", "_")
