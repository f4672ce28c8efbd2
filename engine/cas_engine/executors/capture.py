"""What calls print in this process: `sys.stdout` and `sys.stderr` pass a copy on to the call that prints.

Only while calls run, and only what Python itself prints in their own threads: C code, processes that calls start and
threads that they start write past it. In worker processes all of that is seen.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

# Is given what a call prints: the stream ("stdout", "stderr", "log") and a piece of it.
Output = Callable[[str, str], None]

_output: ContextVar[Output | None] = ContextVar("cas_output", default=None)
_lock = threading.Lock()
_calls = 0
_make_record = logging.getLogRecordFactory()


class _Copying:
    """A stream of the program's, with a copy for the call that writes."""

    def __init__(self, name: str, stream: Any) -> None:
        self.__dict__.update(_name=name, _stream=stream)

    def write(self, text: str) -> int:
        written: int = self._stream.write(text)
        output = _output.get()
        if output is not None and isinstance(text, str):
            output(self._name, text)
        return written

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._stream, name, value)


@contextmanager
def captured(output: Output) -> Iterator[None]:
    """Around a call, in its thread."""
    global _calls, _make_record  # noqa: PLW0603
    with _lock:
        _calls += 1
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and not isinstance(stream, _Copying):
                setattr(sys, name, _Copying(name, stream))
        if logging.getLogRecordFactory() is not _noting:
            _make_record = logging.getLogRecordFactory()
            logging.setLogRecordFactory(_noting)
    token = _output.set(output)
    try:
        yield
    finally:
        _output.reset(token)
        with _lock:
            _calls -= 1
            if not _calls:
                _restore()


def _restore() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, _Copying):
            setattr(sys, name, stream._stream)  # noqa: SLF001 - of this module
    if logging.getLogRecordFactory() is _noting:
        logging.setLogRecordFactory(_make_record)


def _noting(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = _make_record(*args, **kwargs)
    output = _output.get()
    # Without a handler it will be printed to stderr, and noted there.
    if output is not None and logging.getLogger(record.name).hasHandlers():
        with suppress(Exception):  # arguments that do not fit: logging says so itself
            output("log", f"{record.levelname} {record.name}: {record.getMessage()}\n")
    return record
