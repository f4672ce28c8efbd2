"""A store as one file of golden/, the same whoever makes it, without what lies beside it for one machine."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path


def archive_store(folder: Path, file: Path, told: Mapping[str, object]) -> None:
    """Write `store` in this folder, and what is told of it."""
    with tarfile.open(file, "w:xz") as archive:
        for path in sorted((folder / "store").rglob("*")):
            name = path.relative_to(folder)
            if not {"scratch", "live", "tmp"} & set(name.parts) and path.name not in ("lock.mdb", "clean"):
                archive.add(path, str(name), recursive=False, filter=_plain)
        content = json.dumps(told).encode()
        entry = tarfile.TarInfo("told.json")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry
