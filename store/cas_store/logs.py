"""Texts by name that grow while somebody works. They are files: not synced, and no row tells of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from cas_store.faults import translate
from cas_store.layout import Layout


class Logs:
    """The texts of one store. A name is some bytes; only one process at a time appends to a text."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def append(self, name: bytes, content: bytes) -> None:
        """Add to a text, which begins with its first addition. Raises StoreError."""
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(self._path(name), flags, 0o600)
            try:
                rest = memoryview(content)
                while rest.nbytes:
                    rest = rest[os.write(descriptor, rest) :]
            finally:
                os.close(descriptor)
        except OSError as error:
            raise translate(error, self._layout.root, "writing a log") from error

    def read(self, name: bytes, start: int, most: int) -> bytes:
        """A piece of a text, b"" at its end, and where there is none. Raises StoreError."""
        try:
            with self._path(name).open("rb") as file:
                file.seek(start)
                return file.read(most)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise translate(error, self._layout.root, "reading a log") from error

    def remove(self, names: Iterable[bytes]) -> None:
        """Take texts away; those that are not there are no matter."""
        for name in names:
            self._path(name).unlink(missing_ok=True)

    def sizes(self) -> Iterator[tuple[bytes, int]]:
        """Every text, with its bytes."""
        with os.scandir(self._layout.logs) as entries:
            for entry in entries:
                try:
                    yield bytes.fromhex(entry.name), entry.stat().st_size
                except (ValueError, FileNotFoundError):
                    continue  # not ours, or removed meanwhile

    def _path(self, name: bytes) -> Path:
        return self._layout.logs / name.hex()
