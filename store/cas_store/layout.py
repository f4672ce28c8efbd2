"""Where things lie in a store folder, and the file that says it is one.

STORE        JSON: format, id        durable/     LMDB, synced: all rows
scratch/B/   LMDB, not synced, for   blobs/ab/H   large blobs, 0400, named by digest
             the boot B only         tmp/         blobs on their way in
live/        a locked file for each  quarantine/  what was found damaged
             living process
logs/        what is printed
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from cas_store.errors import StoreDamaged, StoreRefused, StoreTooNew

FORMAT = 1
IDENTITY_KEY = b"\x00store"  # in META: the content of STORE, so that an emptied or exchanged durable/ is noticed
_ID_SIZE = 16


class Layout(NamedTuple):
    """The places in one store folder."""

    root: Path

    @property
    def identity(self) -> Path:
        """The STORE file."""
        return self.root / "STORE"

    @property
    def durable(self) -> Path:
        """The LMDB folder that must last."""
        return self.root / "durable"

    @property
    def scratch(self) -> Path:
        """The parent of the LMDB folders that need not last."""
        return self.root / "scratch"

    @property
    def blobs(self) -> Path:
        """Large blobs."""
        return self.root / "blobs"

    @property
    def tmp(self) -> Path:
        """Blobs being written."""
        return self.root / "tmp"

    @property
    def live(self) -> Path:
        """Locked files of living processes."""
        return self.root / "live"

    @property
    def quarantine(self) -> Path:
        """Damaged things, kept to be looked at."""
        return self.root / "quarantine"

    @property
    def logs(self) -> Path:
        """Texts that grow while somebody works."""
        return self.root / "logs"

    def folders(self) -> tuple[Path, ...]:
        """All of them, to be made."""
        return (self.durable, self.scratch, self.blobs, self.tmp, self.live, self.quarantine, self.logs)

    def blob(self, digest: bytes) -> Path:
        """Where a large blob lies."""
        name = digest.hex()
        return self.root / "blobs" / name[:2] / name


def expanded(path: str | os.PathLike[str]) -> Path:
    """With the home folder that a `~` stands for. Raises StoreRefused if nobody knows of one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        msg = f"{path}: there is no such home folder\n  -> give the path from `/` on, or set HOME"
        raise StoreRefused(msg, Path(path)) from None


def identity_text(store_id: bytes) -> bytes:
    """The content of STORE."""
    return json.dumps({"format": FORMAT, "id": store_id.hex()}).encode() + b"\n"


def parse_identity(content: bytes, path: Path) -> bytes:
    """The store's id. Raises StoreTooNew or StoreDamaged."""
    advice = "\n  -> `cas-run doctor --repair` takes it from the rows, which have it too; or restore a backup"
    try:
        entries = json.loads(content)
        found_format, store_id = entries["format"], entries["id"]
        if not isinstance(found_format, int):
            raise TypeError("format is not a number")  # noqa: TRY301
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} is not readable as the identity of a store: {error}{advice}"
        raise StoreDamaged(msg, path) from error
    if found_format > FORMAT:
        msg = (
            f"the store at {path.parent} has format {found_format}; this cas-run knows up to {FORMAT}\n"
            f"  -> upgrade cas-run (pip install -U cas-run), or choose another store with CAS_RUN_STORE"
        )
        raise StoreTooNew(msg, path.parent)
    try:
        number = bytes.fromhex(store_id)
    except (ValueError, TypeError) as error:
        msg = f"{path} has no usable id: {error}{advice}"
        raise StoreDamaged(msg, path) from error
    if len(number) != _ID_SIZE or found_format < 1:
        msg = f"{path} has no usable id or format{advice}"
        raise StoreDamaged(msg, path)
    return number


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """A small file that is there whole or not at all, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)  # before the rename: after a power cut the name may survive and the bytes not
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
