"""Which files are known to be intact, so that a large one is not read from end to end by each process that maps it.

A stamp is what the system says of a file: its inode, its size, when its bytes and when anything about it was last
changed. A file that looks as it did when it was written or read through has not been written to since. It is known by
the digest of what is in it, compressed or not. Stamps go with the boot: what a crash or another machine did to a disk
is found by reading.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum

from cas_store.digest import Digest
from cas_store.errors import StoreError
from cas_store.scratch import Scratch

_STAMP = struct.Struct("<QQqqQ")
# Times of files are as coarse as a tick of the kernel's clock, or a second: one written to so shortly ago may be
# written to again and look the same.
_SETTLED_NS = 2_000_000_000
_BACK_S = 10


class Verify(str, Enum):
    """How often the bytes of a large blob are compared with its digest. Small ones always are."""

    ALWAYS = "always"  # each time it is read
    PROCESS = "process"  # once per file and process
    BOOT = "boot"  # once per file and boot; again when the file was touched


class Stamps:
    """What this process and, by way of the scratch, the others of this boot know of the files of one store."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._here: dict[Digest, bytes] = {}
        self.verify = Verify.BOOT

    def is_intact(self, digest: Digest, found: os.stat_result) -> bool:
        """Whether nothing was done to the file since it was written, or read through."""
        if self.verify is Verify.ALWAYS:
            return False
        stamp = stamp_of(found)
        if self._here.get(digest) == stamp:
            return True
        if self.verify is Verify.PROCESS:
            return False
        with suppress(StoreError):
            if self._scratch.get_stamp(digest) == stamp:
                self._here[digest] = stamp
                return True
        return False

    def known(self, digest: Digest) -> bytes | None:
        """What a file with that digest looks like while it is intact; None if it is to be read through."""
        if self.verify is Verify.ALWAYS:
            return None
        found = self._here.get(digest)
        if found is None and self.verify is Verify.BOOT:
            with suppress(StoreError):
                found = self._scratch.get_stamp(digest)
        return found

    def note_here(self, digest: Digest, found: os.stat_result) -> None:
        """It looks like this now, and is intact; others are not told yet, for it will get another name."""
        self._here[digest] = stamp_of(found)

    def note_read(self, digest: Digest, found: os.stat_result) -> None:
        """It was read through, and looked like this before."""
        self.note_here(digest, found)
        if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > _SETTLED_NS:
            self._tell({digest: stamp_of(found)})

    def note_read_elsewhere(self, stamps: Mapping[Digest, bytes]) -> None:
        """Another process has read them through for this one."""
        now = time.time_ns()
        self._here.update(stamps)
        settled = {digest: stamp for digest, stamp in stamps.items() if now - _latest_in(stamp) > _SETTLED_NS}
        if settled:
            self._tell(settled)

    def note_written(self, files: Mapping[Digest, os.stat_result]) -> None:
        """They were written by this process, or their names changed, and look like this now."""
        stamps = {digest: stamp_of(found) for digest, found in files.items()}
        self._here.update(stamps)
        self._tell(stamps)

    def _tell(self, stamps: Mapping[Digest, bytes]) -> None:
        if self.verify is Verify.BOOT:
            with suppress(Exception):  # others will read the file, that is all; the committer must not end by it
                self._scratch.set_stamps(stamps)


def _latest_in(stamp: bytes) -> int:
    _, _, modified, changed, _ = _STAMP.unpack(stamp)
    return int(max(modified, changed))


def set_back(descriptor: int) -> None:
    """Date a file a little earlier: whatever is written to it from now on shows, however coarse the clock is."""
    earlier = (int(time.time()) - _BACK_S) * 1_000_000_000
    os.utime(descriptor, ns=(earlier, earlier))


def stamp_of(found: os.stat_result) -> bytes:
    """What has to be as it was."""
    return _STAMP.pack(found.st_ino, found.st_dev, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
