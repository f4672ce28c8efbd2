"""Whether a folder is fit to hold a store: whose it is, who may write to it, what file system it is on."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from cas_store.errors import StoreRefused

_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs",
    "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs", "smb2", "smb3", "smbfs",
}  # fmt: skip

_OCTAL = re.compile(r"\\([0-7]{3})")  # how the system writes a space in a path


def check_ground(path: Path) -> None:
    """Raise StoreRefused, with advice, unless it is."""
    found = path.stat()
    if found.st_uid != os.geteuid():
        msg = (
            f"the store at {path} belongs to another user (uid {found.st_uid}), and what is in it runs code\n"
            f"  -> use a store of your own, with --store or CAS_RUN_STORE"
        )
        raise StoreRefused(msg, path)
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and (path / "STORE").exists():
        msg = (
            f"others may write to the store at {path}, and what is in it runs code\n"
            f"  -> if you trust what is in it: chmod 700 {path}"
        )
        raise StoreRefused(msg, path)
    kind = file_system_of(path)
    if kind in _NETWORK:
        msg = (
            f"the store at {path} is on a network file system ({kind}), where locks and maps are not safe\n"
            f"  -> choose a folder on a local disk, with --store or CAS_RUN_STORE"
        )
        raise StoreRefused(msg, path)


def file_system_of(path: Path) -> str:
    """The type of file system, where the system tells (Linux); else an empty string."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text()
    except OSError:
        return ""
    kind, depth = "", -1
    where = str(path.resolve())
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), fields.split()[4])
        inside = where == point or where.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= depth:
            kind, depth = rest.split()[0], len(point)
    return kind
