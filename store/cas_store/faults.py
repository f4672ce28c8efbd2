"""What LMDB and the system report, turned into our errors, at this edge and nowhere else."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import lmdb

from cas_store.errors import StoreDamaged, StoreError, StoreFull, StoreRefused

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_OF_DAMAGE = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.CursorFullError,
    lmdb.BadTxnError,
)
_NO_PLACE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST}  # of a path that leads nowhere
_SPARE = 1 << 20  # bytes; with less, a failed write means a full disk, whatever it is called
_PROBE = 1 << 16  # bytes; a quota shows only to who writes


def translate(error: Exception, path: Path, doing: str) -> StoreError:
    """Our error for a foreign one. ``doing`` completes "while ..."."""
    if isinstance(error, StoreError):
        return error
    code = _errno_of(error)
    what = f"the store at {path}: {_text(error)} while {doing}"
    if isinstance(error, (lmdb.MapFullError, lmdb.MemoryError, MemoryError)):
        return StoreFull(
            f"{what}\n  -> the address space is limited (ulimit -v): raise the limit, then try again", path
        )
    if code in _NOT_ALLOWED or isinstance(error, lmdb.ReadonlyError):
        return StoreRefused(
            f"{what}\n  -> make the folder writable for you (chmod u+rwX, or a mount that is not read-only), "
            f"or choose another with CAS_RUN_STORE",
            path,
        )
    if isinstance(error, lmdb.LockError):
        return StoreRefused(
            f"{what}; the store is in use from another container or pid namespace\n"
            f"  -> use it from one of them at a time, or give each its own store",
            path,
        )
    if isinstance(error, lmdb.ReadersFullError):
        return StoreError(f"{what}; too many reading at once\n  -> run fewer processes against it", path)
    if isinstance(error, _OF_DAMAGE):
        return StoreDamaged(
            f"{what}\n  -> `cas-run doctor --repair` saves all that can be read; or restore a backup", path
        )
    if code == errno.EXDEV:
        return StoreRefused(
            f"{what}; its folders lie on different file systems, where nothing can be renamed into place\n"
            f"  -> keep the whole store on one, with a link to it if need be",
            path,
        )
    if code in (errno.EMFILE, errno.ENFILE):
        return StoreError(f"{what}\n  -> let go of some results, or raise the limit of open files (ulimit -n)", path)
    if code in _NO_ROOM or _is_full(path):
        # LMDB reports a write that was cut short for want of room as an input/output error.
        return StoreFull(
            f"no room in the store at {path} while {doing}: {_text(error)}\n"
            f"  -> free some disk space (or raise the quota); nothing acknowledged is lost",
            path,
        )
    if code in _NO_PLACE and not os.path.exists(path):  # noqa: PTH110 - of a name that is too long too
        return StoreRefused(f"{what}\n  -> give a folder that can be made, or is there", path)
    if code == errno.ENOENT:
        advice = "start again: what can be is made anew; `cas-run doctor` tells what is lost"
        return StoreError(f"{what}; a part of it was removed\n  -> {advice}", path)
    return StoreError(f"{what}\n  -> look at the system's log for a failing disk; then try again", path)


def _errno_of(error: Exception) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    code = getattr(error, "code", None)
    return code if isinstance(code, int) and code > 0 else None


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _is_full(root: Path) -> bool:
    import tempfile

    try:
        found = os.statvfs(root)
        if found.f_bavail * found.f_frsize < _SPARE:
            return True
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(bytes(_PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in _NO_ROOM
    return False
