"""Files that count by what is in them."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from cas_engine.values.pieces import CodeOf, Digested, Refusal
from cas_store.digest import Digest, digest_of

_CHUNK = 1 << 20
# A file may be written twice within one tick of the file system's clock and show the same times. The coarsest
# clock in use is FAT's, with 2 s; a file that was changed less than that before it was read is read again.
_GRAIN_NS = 2_500_000_000
_ATTEMPTS = 3


@dataclass(frozen=True)
class File:
    """A file as a value: equal content is an equal input, whatever it is called and wherever it lies.

    ``os.fspath`` and ``open`` take it. Relative paths are resolved when it is made.
    """

    path: Path

    def __init__(self, path: str | os.PathLike[str]) -> None:
        object.__setattr__(self, "path", Path(os.path.abspath(os.fspath(path))))  # noqa: PTH100 - links stay

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"File({str(self.path)!r})"


class Stamp(NamedTuple):
    """What the folder says of a file: changes with its content, unless within one tick of the clock."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class _Reading(NamedTuple):
    stamp: Stamp
    at_ns: int  # when it began
    digest: Digest


class Readings:
    """The digests of files' contents, read again unless a file's stamp proves that this would tell nothing new.

    What writes through a memory map and has not flushed may show in no stamp.
    """

    def __init__(self, stamp_of: Callable[[str], Stamp], digest_content: Callable[[str], Digest]) -> None:
        self._stamp_of = stamp_of
        self._digest_content = digest_content
        self._known: dict[str, _Reading] = {}

    def digest(self, path: str) -> Digest:
        """The digest of what is in the file now. Raises OSError, Refusal."""
        known = self._known.get(path)
        stamp = self._stamp_of(path)
        if known is not None and known.stamp == stamp and _is_settled(known):
            return known.digest
        for _ in range(_ATTEMPTS):
            reading = _Reading(stamp, time.time_ns(), self._digest_content(path))
            stamp = self._stamp_of(path)
            if stamp == reading.stamp:
                self._known[path] = reading
                return reading.digest
        raise Refusal("it is being written to; wait until it is complete", f"File at {path}")


def _is_settled(reading: _Reading) -> bool:
    """Whether a later change must show in the stamp. A time in the future is never settled."""
    return max(reading.stamp.mtime_ns, reading.stamp.ctime_ns) + _GRAIN_NS < reading.at_ns


def stamp_of(path: str) -> Stamp:
    entry = os.stat(path)  # noqa: PTH116 - the hot path of an unchanged file
    if not (stat.S_ISREG(entry.st_mode) or stat.S_ISDIR(entry.st_mode)):
        raise Refusal("it is a pipe or a device, which can be read only once", f"File at {path}")
    return Stamp(entry.st_dev, entry.st_ino, entry.st_size, entry.st_mtime_ns, entry.st_ctime_ns)


def digest_content(path: str) -> Digest:
    # As the digests of its chunks, so that neither memory nor a running state is needed for a large file.
    digests = [b"file\0"]
    buffer = memoryview(bytearray(_CHUNK))
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - unbuffered, into one buffer
        while size := _fill(file, buffer):
            digests.append(digest_of(buffer[:size]))
    return digest_of(b"".join(digests))


def _fill(file: FileIO, buffer: memoryview) -> int:
    """Read until the buffer is full or the file ends: how reads come in must not decide the chunks."""
    filled = 0
    while filled < len(buffer):
        size = file.readinto(buffer[filled:])
        if not size:
            break
        filled += size
    return filled


_readings = Readings(stamp_of, digest_content)


FileContent = tuple[str, Digest]  # a path, and the digest of what was in the file there
_met = threading.local()


@contextmanager
def files_met() -> Iterator[list[FileContent]]:
    """The files that this thread comes upon in values while this lasts."""
    before = getattr(_met, "files", None)
    _met.files = met = list[FileContent]()
    try:
        yield met
    finally:
        _met.files = before


def content_of(path: str) -> Digest | None:
    """The digest of a file's content as it is now, None if it cannot be read."""
    try:
        return _content(path)
    except Refusal:
        return None


@contextmanager
def files_as_code() -> Iterator[None]:
    """While this lasts, files in values that this thread digests are told like code: who asks sees to their content."""
    before = getattr(_met, "as_code", False)
    _met.as_code = True
    try:
        yield
    finally:
        _met.as_code = before


def file_rule(value: File) -> CodeOf | Digested:
    """A file as the digest of its content."""
    if getattr(_met, "as_code", False):
        return CodeOf(value)
    path = str(value.path)
    digest = _content(path)
    _meet(path, digest)
    return Digested(digest)


def meet(path: str) -> None:
    """Count a file, where there is one, among those that this thread comes upon: code in a value depends on it."""
    digest = content_of(path)
    if digest is not None:
        _meet(path, digest)


def _meet(path: str, digest: Digest) -> None:
    met = getattr(_met, "files", None)
    if met is not None:
        met.append((path, digest))


def _content(path: str) -> Digest:
    try:
        return _readings.digest(path)
    except IsADirectoryError:
        raise Refusal("it is a folder; pass its files", f"File at {path}") from None
    except OSError as error:
        raise Refusal(f"it cannot be read ({error.strerror}); check the path", f"File at {path}") from None
