"""What calls print in this process: `sys.stdout` and `sys.stderr` pass a copy on to the call that prints.

Only while calls run, or one after the other are about to, and only what Python itself prints in their own threads: C
code, processes that calls start and threads that they start write past it. In worker processes all of that is seen.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, Token
from typing import Any

from cas_store import forks

# Is given what a call prints: the stream ("stdout", "stderr", "log") and a piece of it.
Output = Callable[[str, str], None]

_output: ContextVar[Output | None] = ContextVar("cas_output", default=None)
_lock = forks.free_lock()
_calls = 0
_make_record = logging.getLogRecordFactory()


class _Copying:
    """A stream of the program's, with a copy for the call that writes."""

    def __init__(self, name: str, stream: Any) -> None:
        self.__dict__.update(_name=name, _stream=stream)

    def write(self, text: str) -> int:
        thread = threading.get_ident()
        _writing.add(thread)
        try:
            if _is_ended and threading.current_thread() is not threading.main_thread():
                return len(text)
            written: int = self._stream.write(text)
        finally:
            _writing.discard(thread)
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


class captured:  # noqa: N801 - reads as the function that it might be, at a third of the cost
    """Around a call, in its thread."""

    __slots__ = ("_given", "_token")

    def __init__(self, output: Output) -> None:
        self._given = output

    def __enter__(self) -> None:
        listen()
        self._token: Token[Output | None] = _output.set(self._given)

    def __exit__(self, *_: object) -> None:
        _output.reset(self._token)
        stop_listening()


hear = _output.set  # in a context of its own, while somebody listens: the same at a fifth of the cost


def listen() -> None:
    """Have copies made until as many have stopped. Around many calls it spares each of them the most of it."""
    global _calls  # noqa: PLW0603
    with _lock:
        _calls += 1
        _stand_in()


def listen_on() -> None:
    """While somebody listens: the program may have put other streams in the places of ours."""
    if not (type(sys.stdout) is type(sys.stderr) is _Copying and logging.getLogRecordFactory() is _noting):
        with _lock:
            _stand_in()


def _stand_in() -> None:
    global _make_record  # noqa: PLW0603
    stdout, stderr = sys.stdout, sys.stderr
    if stdout is not None and type(stdout) is not _Copying:
        sys.stdout = _Copying("stdout", stdout)
    if stderr is not None and type(stderr) is not _Copying:
        sys.stderr = _Copying("stderr", stderr)
    factory = logging.getLogRecordFactory()
    if factory is not _noting:
        _make_record = factory
        logging.setLogRecordFactory(_noting)


def stop_listening() -> None:
    """After `listen`."""
    global _calls  # noqa: PLW0603
    with _lock:
        _calls -= 1
        if not _calls:
            _restore()


def _restore() -> None:
    if type(sys.stdout) is _Copying:
        sys.stdout = sys.stdout._stream  # noqa: SLF001 - of this module
    if type(sys.stderr) is _Copying:
        sys.stderr = sys.stderr._stream  # noqa: SLF001
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


def _end() -> None:
    """Calls that nobody could stop may still print: one that is frozen in the middle of a write when the interpreter
    ends makes that a fatal error of Python's, as it cannot flush its streams.
    """
    global _is_ended  # noqa: PLW0603
    _is_ended = True
    deadline = time.monotonic() + _LAST_WRITE_S
    while _writing - {threading.get_ident()} and time.monotonic() < deadline:
        time.sleep(0.001)


_is_ended = False
_LAST_WRITE_S = 2.0  # whoever reads what is printed may take some time
_writing: set[int] = set()  # threads
atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_writing.clear)
