"""The two streams: answers go to stdout, all else to stderr, and what user code prints with it."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn, TextIO

_STYLES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
    "bold red": "1;31",
    "bold green": "1;32",
}


class Unwritable(Exception):
    """stdout takes no more."""


class ReaderGone(Unwritable):
    """Whoever read stdout has seen enough: `cas-run list | head`."""


class Stream:
    """One of the two, with what it can show."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.tty = file.isatty()
        # https://no-color.org: present and not empty
        self.colour = self.tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None when nobody's eyes limit the line."""
        if not self.tty:
            return None
        import shutil

        return shutil.get_terminal_size((100, 24)).columns

    def paint(self, text: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style and text and self.colour else text

    def write(self, text: str) -> None:
        """Raises ReaderGone when nobody reads any more, Unwritable for a full disk and the like."""
        try:
            self.file.write(text)
            self.file.flush()
        except BrokenPipeError as error:  # click would make it a silent status 1
            raise ReaderGone from error
        except OSError as error:
            raise Unwritable(f"can't write the answer: {error.strerror}") from error

    def line(self, text: str = "") -> None:
        self.write(text + "\n")


class Bytes:
    """A stream's bytes; ends as the stream does when nobody reads any more."""

    def __init__(self, stream: Stream) -> None:
        self._file = stream.file.buffer

    def write(self, piece: bytes | memoryview) -> int:
        try:
            written = self._file.write(piece)
            self._file.flush()
        except BrokenPipeError as error:
            raise ReaderGone from error
        except OSError as error:
            raise Unwritable(f"can't write the answer: {error.strerror}") from error
        return written


class Diagnostics(Stream):
    """stderr: that nobody takes what is said there is no reason to stop the work."""

    def write(self, text: str) -> None:
        with contextlib.suppress(Unwritable):
            super().write(text)


class Terminal:
    """stdout and stderr of this process, taken once at the start."""

    def __init__(self) -> None:
        # A closed stream (`>&-`) is None in Python: what is written to it goes nowhere.
        self.out = Stream(_tolerant(sys.stdout))
        self.err = Diagnostics(_tolerant(sys.stderr))
        self._diverted = False

    def divert(self) -> None:
        """From here on whatever prints to stdout, Python or not, lands on stderr; only `out` reaches stdout.

        On the level of file descriptors, because C extensions and child processes print too.
        """
        if self._diverted or sys.stdout is None:
            return
        self._diverted = True
        sys.stdout.flush()
        kept = os.dup(1)
        try:
            os.dup2(2, 1)
        except OSError:  # stderr is closed
            _point_to_nowhere(1)
        tty, colour = self.out.tty, self.out.colour
        # Open to the end, whoever warns of that: it is the answer's.
        self.out = Stream(os.fdopen(kept, "w", encoding=sys.stdout.encoding, errors="replace", closefd=False))
        self.out.tty, self.out.colour = tty, colour
        # Prints of electrons appear when they happen, between our own lines.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)

    def binary(self) -> Bytes:
        """`out` for bytes. What prints besides lands on stderr from here on."""
        self.divert()
        return Bytes(self.out)

    def leave(self, status: int) -> NoReturn:
        """End the process without waiting for threads. What the store has acknowledged is durable."""
        for file in (self.out.file, self.err.file, sys.stdout, sys.stderr):
            try:
                file.flush()
            except (OSError, ValueError, AttributeError):
                continue
        os._exit(status)

    def drop_unwritten(self) -> None:
        """What could not be said is no reason for the interpreter to end with a status of its own."""
        for file in (self.err.file, sys.stdout, sys.stderr):
            try:
                if file is not None:
                    file.flush()
            except OSError:
                _point_to_nowhere(file.fileno())
            except ValueError:  # closed
                continue

    def drop_out(self) -> None:
        """The reader of stdout has gone: let nothing complain, the interpreter's last flush included."""
        _point_to_nowhere(self.out.file.fileno())


def _tolerant(file: TextIO | None) -> TextIO:
    if file is None:
        from pathlib import Path

        return Path(os.devnull).open("w", encoding="utf-8", errors="replace")
    # A terminal that can't show an arrow shows a question mark, never a UnicodeEncodeError.
    if hasattr(file, "reconfigure"):
        file.reconfigure(errors="replace")
    return file


def _point_to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    if nowhere != descriptor:
        os.close(nowhere)
