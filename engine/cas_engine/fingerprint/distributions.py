"""Which installed distribution a file belongs to, found without reading the metadata of all of them where possible."""

# ruff: noqa: PTH110, PTH116, PTH118, PTH119, PTH123, PTH206, PTH208 - paths are cut up here, not opened

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

SITE_FOLDERS = frozenset({"site-packages", "dist-packages"})
Site = tuple[str, tuple[str, ...]]  # a site-packages folder, and the path below it
_TOPS = re.compile(r"^([^/,\n]+)[/,]", re.MULTILINE)


def site_of(file: str) -> Site | None:
    """(the site-packages folder above a file, the path below it), or None when it lies in none."""
    parts = os.path.normpath(file).split(os.sep)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] in SITE_FOLDERS:
            return os.sep.join(parts[: index + 1]), tuple(parts[index + 1 :])
    return None


def distribution_of(site: str, below: tuple[str, ...]) -> str | None:
    """The name of the distribution that installed the file, None when no metadata tells."""
    try:
        changed = os.stat(site).st_mtime_ns
    except OSError:
        return None
    known = _sites.get(site)
    if known is None or known.changed != changed:
        known = _sites[site] = _Site(site, changed, _metadata_folders(site))
    return known.owner(below)


def normalized(name: str) -> str:
    """As PEP 503 compares the names of distributions."""
    return re.sub(r"[-_.]+", "_", name).lower()


def _metadata_folders(site: str) -> dict[str, str]:
    found = {}
    for entry in sorted(os.listdir(site)):
        if entry.endswith((".dist-info", ".egg-info")):
            found[normalized(entry.rpartition(".")[0].split("-")[0])] = os.path.join(site, entry)
    return found


@dataclass(slots=True)
class _Site:
    """One site-packages folder, as it was at one time."""

    path: str
    changed: int
    folders: dict[str, str]  # normalized name -> metadata folder
    owners: dict[str, str | None] = field(default_factory=dict)  # file -> name
    tops: dict[str, list[str]] | None = None  # first part of the path -> metadata folders

    def owner(self, below: tuple[str, ...]) -> str | None:
        # One answer stands for a package: distributions share namespaces, hardly ever a folder with an __init__.py.
        where = "/".join(below[:-1])
        if not where or not os.path.exists(os.path.join(self.path, where, "__init__.py")):
            where = "/".join(below)
        if where not in self.owners:
            self.owners[where] = self._find(below)
        return self.owners[where]

    def _find(self, below: tuple[str, ...]) -> str | None:
        top = below[0]
        if top.endswith(".egg"):
            return top.split("-")[0]
        stem = top.split(".")[0]
        likely = self.folders.get(normalized(stem))
        if likely is not None and "/".join(below) in _listing(likely):
            return _name(likely)
        if self.tops is None:
            self.tops = self._read_tops()
        candidates = self.tops.get(top) or self.tops.get(stem) or []
        if len(candidates) > 1:
            exact = [folder for folder in candidates if "/".join(below) in _listing(folder)]
            candidates = exact or candidates
        return _name(candidates[0]) if candidates else None

    def _read_tops(self) -> dict[str, list[str]]:
        tops: dict[str, list[str]] = {}
        for folder in self.folders.values():
            names = set(_TOPS.findall(_listing(folder))) | set(_read(folder, "top_level.txt").split())
            for top in names:
                tops.setdefault(top, []).append(folder)
        return tops


_sites: dict[str, _Site] = {}


def _listing(folder: str) -> str:
    return _read(folder, "RECORD") or _read(folder, "installed-files.txt")


def _read(folder: str, name: str) -> str:
    try:
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _name(folder: str) -> str:
    metadata = _read(folder, "METADATA") or _read(folder, "PKG-INFO")
    for line in metadata.splitlines():
        if line.lower().startswith("name:"):
            return line[5:].strip()
        if not line:
            break
    return os.path.basename(folder).rpartition(".")[0].split("-")[0]
