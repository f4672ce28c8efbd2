"""What a worker process does: takes orders from its coordinator, makes the calls, says what came of each.

It knows no store: it is told where blobs lie, and its results are bytes or files that the coordinator takes over. It
ends when the coordinator does, whatever it is doing.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cas_engine.calling.worker import Raised, Reply, Returned, trimmed
from cas_engine.capsules.unchanged import RecordedCode
from cas_engine.executors.jobs import called
from cas_engine.executors.surroundings import Limits, Surroundings, surround, surroundings
from cas_engine.executors.wire import (
    UNHEARD,
    Answered,
    Forget,
    Frames,
    Given,
    Logged,
    Order,
    Place,
    Ready,
    Recall,
    message_in,
    reported,
)
from cas_engine.graphs.contexts import context_for_call
from cas_store.digest import Digest
from cas_store.errors import StoreError
from cas_store.outpost import Lying, Made, Outpost

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = 1 << 18
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def main(descriptor: int, coordinator: int, name: str, lifeline: int) -> None:
    """Serve until the other end of this socket is closed, and that of the lifeline, a pipe that nobody writes to."""
    namespace = vars(sys.modules["__main__"])
    for each in [each for each in namespace if not each.startswith("__")]:
        del namespace[each]  # it stands for the user's own, which has nothing of this
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    # What the coordinator ignores is its own affair; what calls start is to be interrupted and ended as usual.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    flush_c = _library(coordinator, lifeline)
    worker = _Worker(channel, name, flush_c)
    logging.lastResort = _ToCoordinator(worker.send)
    threading.Thread(target=worker.listen, name="cas-run orders", daemon=True).start()
    worker.send(reported(Ready()))
    try:
        worker.serve()
    except BaseException:  # noqa: BLE001 - a call has broken what this process works with
        # At once: Python would wait for the threads that calls have left running.
        with suppress(BaseException):
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(1)


def _library(coordinator: int, lifeline: int) -> Callable[[], object]:
    """Have the system end this process with its coordinator; what flushes the streams of C."""
    if hasattr(fcntl, "F_SETSIG"):
        # With all that calls have started, which need not be asked, nor hold still: the kernel does it.
        with suppress(OSError):
            fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpid())
            fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    os.set_inheritable(lifeline, False)  # noqa: FBT003 - as it stands in its manual
    try:
        import ctypes

        library = ctypes.CDLL(None)
        if sys.platform == "linux":
            library.prctl(_DEATH_SIGNAL, int(signal.SIGKILL))
            if os.getppid() != coordinator:
                os._exit(0)  # it died before we could ask
        return lambda: library.fflush(None)
    except (ImportError, OSError, AttributeError):
        return lambda: None


class _ToCoordinator(logging.Handler):
    """For records that no handler of this process takes: those of the program that dispatched may."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        raw = {
            "name": record.name,
            "levelno": record.levelno,
            "levelname": record.levelname,
            "msg": record.getMessage(),
            "created": record.created,
            "pathname": record.pathname,
            "lineno": record.lineno,
            "funcName": record.funcName,
            "exc_text": logging.Formatter().formatException(record.exc_info) if record.exc_info else record.exc_text,
        }
        self._send(reported(Logged(raw)))


class _Worker:
    def __init__(self, channel: socket.socket, name: str, flush_c: Callable[[], object]) -> None:
        self._channel = channel
        self._name = name
        self._flush_c = flush_c
        self._orders: deque[Order] = deque()
        self._lock = threading.Condition()
        self._sending = threading.Lock()
        self._codes: dict[Digest, tuple[RecordedCode, Sequence[Lying]]] = {}
        self._outposts: dict[Place, Outpost] = {}
        self._around: Surroundings = surroundings()
        self._limits = Limits()
        self._process = os.getpid()
        self._streams = sys.stdout, sys.stderr

    def send(self, frame: bytes) -> None:
        with self._sending:
            try:
                self._channel.sendall(frame)
            except OSError:
                # The coordinator is gone, or a call has closed files that are not its own: nobody is to be told here.
                os._exit(UNHEARD)

    def listen(self) -> None:
        """In a thread of its own, so that orders are heard, and the end of the coordinator, while a call runs."""
        frames = Frames()
        # Whatever it is: who hears nothing more, for want of memory say, would keep the coordinator waiting for ever.
        with suppress(Exception):
            while piece := self._channel.recv(_PIECE):
                for frame in frames.take(piece):
                    self._hear(message_in(frame))
        # Also whatever calls have started: this process is the first of its group.
        with suppress(OSError):
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(0)

    def _hear(self, message: object) -> None:
        if isinstance(message, Order):
            capsule = message.task.capsule
            # Now, not when it is made: it may be recalled, and the coordinator sends the code of each electron once.
            if capsule not in self._codes:
                self._codes[capsule] = RecordedCode(), message.blobs[capsule]
            with self._lock:
                self._orders.append(message)
                self._lock.notify()
        elif isinstance(message, Recall):
            with self._lock:
                numbers = tuple(order.number for order in self._orders)
                self._orders.clear()
            self.send(reported(Given(numbers)))
        elif isinstance(message, Forget):
            self._codes = {}

    def serve(self) -> None:
        while True:
            with self._lock:
                while not self._orders:
                    self._lock.wait()
                order = self._orders.popleft()
            self.send(reported(self._answer(order)))

    def _answer(self, order: Order) -> Answered:
        code, recorded = self._codes[order.task.capsule]
        outpost = self._outpost(order.place)
        outpost.begin(f"{self._name}{order.number:x}-")
        made: Sequence[Made] = ()
        reply: Reply | StoreError
        try:
            self._around = order.surroundings or self._around
            surround(self._around)
            sys.stdout, sys.stderr = self._streams
            try:
                reply = self._called(order, code, {order.task.capsule: recorded, **order.blobs}, outpost)
            finally:
                self._limits.restore()
            if os.getpid() != self._process:
                self._printed()
                os._exit(0)  # a child that the call has forked, and that has come back from it as well
            if isinstance(reply, Returned):
                made = outpost.write(reply.encoded.pieces, reply.encoded.parts)
        except StoreError as error:
            reply = error
        except BaseException as error:  # noqa: BLE001 - whatever it is, the coordinator waits for an answer
            reply = Raised(trimmed(error), 0.0)
        return Answered(order.number, reply, made, self._printed(), outpost.take_read())

    @staticmethod
    def _called(order: Order, code: RecordedCode, blobs: Mapping[Digest, Sequence[Lying]], outpost: Outpost) -> Reply:
        return context_for_call().run(called, order.task, lambda digest: outpost.get(digest, blobs[digest]), code)

    def _outpost(self, place: Place) -> Outpost:
        found = self._outposts.get(place)
        if found is None:
            found = Outpost(Path(place.root), place.owner, compress=place.compress)
            self._outposts[place] = found
        return found

    def _printed(self) -> tuple[int, int]:
        for stream in {getattr(sys, "stdout", None), getattr(sys, "stderr", None), *self._streams}:
            with suppress(BaseException):  # the user may have put anything there
                stream.flush()  # type: ignore[union-attr]  # or nothing at all
        self._flush_c()
        return _size(1), _size(2)


def _size(descriptor: int) -> int:
    try:
        return os.fstat(descriptor).st_size
    except OSError:
        return 0  # the user's code has closed it
