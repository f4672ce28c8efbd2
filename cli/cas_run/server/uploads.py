"""Files that clients sent, until they are used or an hour has passed. Their names are the server's own."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from cas_run.server import limits
from cas_run.server.guards import Receive
from cas_run.server.problems import Field, Problem, unprocessable

_GATHERED = 1 << 18  # bytes written at once
_PREFIX = "cas-run-uploads-"
_FRESH_S = 60.0  # between being made and being locked a folder belongs to nobody; it is left that long


class Upload(NamedTuple):
    """One of them."""

    path: str
    media_type: str
    size: int
    expires: float  # seconds since 1970


class Uploads:
    """A folder of this server's, made for the first one and removed with the server."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._lock = -1  # held on the folder for as long as this process lives
        self._all: dict[str, Upload] = {}
        self._bytes = 0
        self._coming = 0  # bytes of those that are on their way

    async def take(self, receive: Receive, media_type: str) -> tuple[str, Upload]:
        """Write a body to a file as it comes. Raises Problem."""
        self.expire()
        name = secrets.token_hex(16)
        if self._folder is None:
            _remove_left()
            self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._lock = _opened(self._folder)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        path = self._folder / name
        size = 0
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                more, gathered = True, bytearray()
                while more or gathered:
                    if more:
                        message = await receive()
                        if message["type"] != "http.request":
                            _refuse(400, "BadRequest", "the body ends too early")
                        gathered += message.get("body", b"")
                        more = message.get("more_body", False)
                    if len(gathered) >= _GATHERED or not more:
                        size += len(gathered)
                        self._coming += len(gathered)
                        if self._bytes + self._coming > limits.UPLOADS:
                            _refuse(507, "StoreFull", "there are too many uploads\n  -> try again in an hour")
                        await asyncio.to_thread(file.write, gathered)
                        gathered = bytearray()
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            self._coming -= size
        found = Upload(str(path), media_type, size, time.time() + limits.UPLOAD_S)
        self._all[name] = found
        self._bytes += size
        return name, found

    def named(self, names: Iterable[tuple[str, str]], *, code: bool) -> dict[str, dict[str, str]]:
        """Those of these ids, as a coordinator takes them; each comes with its place in the request. Raises Problem."""
        self.expire()
        found: dict[str, dict[str, str]] = {}
        wrong = []
        for where, name in names:
            one = self._all.get(name)
            if one is None:
                wrong.append(Field(where, f"there is no upload `{name[:40]}`; one is kept for an hour: send it again"))
            elif (one.media_type in CODE) is not code:
                wrong.append(Field(where, f"that upload is {one.media_type}, which goes somewhere else"))
            else:
                found[name] = {"path": one.path, "media_type": one.media_type}
        if wrong:
            raise unprocessable(wrong, "UnknownUpload")
        return found

    def expire(self) -> None:
        """Remove those whose time is over."""
        now = time.time()
        for name in [name for name, one in self._all.items() if one.expires < now]:
            gone = self._all.pop(name)
            self._bytes -= gone.size
            Path(gone.path).unlink(missing_ok=True)

    def close(self) -> None:
        """All are gone."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._lock)
            self._folder = None


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _remove_left() -> None:
    """Take away what servers of this user have left that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # not ours, or in use
            found = folder.lstat()
            if found.st_uid != os.geteuid() or time.time() - found.st_mtime < _FRESH_S:
                continue
            descriptor = _opened(folder)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _refuse(status: int, kind: str, message: str) -> NoReturn:
    raise Problem(status, kind, message)


CODE = frozenset({"application/vnd.cas-run.capsule"})
VALUES = frozenset(
    {
        "application/x-npy",
        "application/vnd.apache.arrow.stream",
        "application/vnd.apache.arrow.file",
        "application/vnd.apache.parquet",
    }
)
