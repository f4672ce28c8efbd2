"""What may be left on a disk when the power fails: rebuilt from watched system calls, with unsynced sectors missing.

The model is the strictest that POSIX allows. What was written is there for certain once its file was synced, or if the
file was opened with O_DSYNC; before that each sector may or may not be, alone, in any of its versions, and a file that
grew may have kept its size. A name (made, renamed, linked, removed) is certain once its folder was synced; before that
each may be as it was or as it became, whatever became of the others.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sized
from dataclasses import dataclass, field
from pathlib import Path

from tracer import Call

SECTORS = (512, 4096)
FOLDER, GONE = -1, -2


@dataclass
class File:
    """The bytes of one file, by whatever names it has."""

    certain: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(default_factory=list)  # offset and bytes, in order
    size: int = 0  # as the running system sees it

    def write(self, offset: int, data: bytes) -> None:
        self.pending.append((offset, data))
        self.size = max(self.size, offset + len(data))

    def resize(self, size: int) -> None:
        self.size = size
        if size < len(self.certain):
            del self.certain[size:]  # the kindest reading: nothing of ours makes a file shorter
        self.pending = [(offset, data[: max(0, size - offset)]) for offset, data in self.pending]

    def sync(self, count: int) -> None:
        """The first so many of what was pending are certain now."""
        for offset, data in self.pending[:count]:
            self._put(self.certain, offset, data)
        del self.pending[:count]
        if len(self.certain) < self.size:
            self.certain.extend(bytes(self.size - len(self.certain)))

    def cut(self, dice: random.Random, chance: float, sector: int) -> bytes:
        """What may be left of it."""
        left = bytearray(self.certain)
        for offset, data in self.pending:
            at = 0
            while at < len(data):
                end = min(len(data), at + sector - (offset + at) % sector)
                if dice.random() < chance:
                    self._put(left, offset + at, data[at:end])
                at = end
        if len(left) < self.size and dice.random() < chance:
            left.extend(bytes(self.size - len(left)))
        return bytes(left)

    @staticmethod
    def _put(content: bytearray, offset: int, data: bytes) -> None:
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data


@dataclass
class Disk:
    """The files below one folder, which is empty and certain at first. Fed with calls; asked for images."""

    root: str
    files: list[File] = field(default_factory=list)
    certain: dict[str, int] = field(default_factory=dict)  # name -> number of its file, FOLDER or GONE
    now: dict[str, int] = field(default_factory=dict)  # as the running system sees it
    pending: list[tuple[str, int]] = field(default_factory=list)  # names and what they became, in order
    counts: dict[int, tuple[int, int]] = field(default_factory=dict)  # syncs under way: what was pending then

    def covers(self, path: str) -> bool:
        return path == self.root or path.startswith(self.root + "/")

    # --- what the system does

    def entering(self, call: Call) -> None:
        """Bytes may arrive from now on; a sync is for what was there before it began."""
        if call.name in ("write", "pwrite64", "writev", "pwritev"):
            self._write(call)
        elif call.name in ("fsync", "fdatasync"):
            number = self.now.get(call.path, GONE)
            self.counts[id(call)] = (number, len(self._pending_below(call.path, number)))

    def leaving(self, call: Call, outcome: int) -> None:
        """Names are as they became when the call has returned."""
        if call.name in ("fsync", "fdatasync"):
            number, count = self.counts.pop(id(call))
            if outcome == 0:
                self._sync(call.path, number, count)
            return
        if outcome < 0:
            return
        if call.name in ("open", "openat", "creat"):
            if call.name == "creat" or (call.flags & os.O_CREAT and call.path not in self.now):
                self.files.append(File())
                self._name(call.path, len(self.files) - 1)
            elif call.flags & os.O_TRUNC:
                self.files[self.now[call.path]].resize(0)
        elif call.name in ("mkdir", "mkdirat"):
            self._name(call.path, FOLDER)
        elif call.name in ("unlink", "unlinkat", "rmdir"):
            self._name(call.path, GONE)
        elif call.name in ("link", "linkat"):
            self._name(call.target, self.now[call.path])
        elif call.name in ("rename", "renameat", "renameat2"):
            number = self.now[call.path]
            if self.now.get(call.target) != number:  # else it does nothing: two names of one file
                self._name(call.target, number)
                self._name(call.path, GONE)
        elif call.name == "ftruncate":
            self.files[self.now[call.path]].resize(call.arguments[1])
        elif call.name not in ("write", "pwrite64", "writev", "pwritev", "sync_file_range"):
            raise AssertionError(f"what a power cut leaves of {call.name} is not modelled")

    def _write(self, call: Call) -> None:
        descriptor = call.arguments[0]
        position, flags = call.state(descriptor)
        file = self.files[self.now[call.path]]
        offset = call.arguments[3] if call.name in ("pwrite64", "pwritev") else position
        if flags & os.O_APPEND:
            offset = file.size
        data = call.data()
        if flags & os.O_DSYNC:
            before, file.pending = file.pending, []
            file.write(offset, data)
            file.sync(1)  # its own bytes and the size only
            file.pending = before
        else:
            file.write(offset, data)

    def _name(self, path: str, number: int) -> None:
        self.pending.append((path, number))
        if number == GONE:
            self.now.pop(path, None)
        else:
            self.now[path] = number

    def _pending_below(self, path: str, number: int) -> Sized:
        if number >= 0:
            return self.files[number].pending
        return [name for name, _ in self.pending if os.path.dirname(name) == path]  # noqa: PTH120 - often

    def _sync(self, path: str, number: int, count: int) -> None:
        if number >= 0:
            self.files[number].sync(count)
            return
        kept = []
        for name, became in self.pending:
            if os.path.dirname(name) == path and count:  # noqa: PTH120 - often
                self.certain[name] = became
                count -= 1
            else:
                kept.append((name, became))
        self.pending = kept

    # --- what the power cut leaves

    def image(self, dice: random.Random, folder: Path) -> None:
        """Write one of the possible outcomes."""
        sector = dice.choice(SECTORS)
        # Nothing of what was unsynced, all of it, and what lies between; names and bytes each for themselves.
        of_bytes = dice.choice([0, 0, 0.1, 0.5, 0.8, 0.95, 1])
        of_names = dice.choice([0, 0.5, 0.8, 0.9, 0.95, 1])
        names = dict(self.certain)
        names.update((path, became) for path, became in self.pending if dice.random() < of_names)
        cuts: dict[int, bytes] = {}
        for path in sorted(names):
            number = names[path]
            place = folder / os.path.relpath(path, self.root)
            if number == GONE or not place.parent.is_dir():
                continue
            if number == FOLDER:
                place.mkdir(mode=0o700)
                continue
            if number not in cuts:
                cuts[number] = self.files[number].cut(dice, of_bytes, sector)
            place.write_bytes(cuts[number])
            place.chmod(0o600)
