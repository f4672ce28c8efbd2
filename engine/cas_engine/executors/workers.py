"""One worker process as its coordinator sees it: started, spoken to, watched, killed."""

from __future__ import annotations

import codecs
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import IO

from cas_engine.errors import WorkerUnavailable
from cas_engine.executors.jobs import Job
from cas_engine.executors.jobs import Report as Hear
from cas_engine.executors.surroundings import Surroundings, folder
from cas_engine.executors.wire import Forget, Frames, Message, Order, Place, Recall, Report, report_in, told
from cas_store.digest import Digest
from cas_store.outpost import Lying

_PIECE = 1 << 18
_CODES = 256  # that a worker keeps
_ROOM = 1 << 20  # bytes of output in its files, above which they are emptied
# It has no `__main__` of the user's and imports nothing of theirs: what calls need comes with their code. Until all of
# ours is imported, the folders of the program come last: a queue.py in one of them is not that of Python.
_START = (
    "import os,sys;f=int(sys.argv[1]);n=int(os.read(f,8),16);b=b''\n"
    "while len(b)<n:b+=os.read(f,n-len(b))\n"
    "own=[p for p in sys.path if p];sys.path[:]=own+[p for p in os.fsdecode(b).split('\\0') if p not in own]\n"
    "from cas_engine.executors.child import main;main(f,int(sys.argv[2]),sys.argv[3],int(sys.argv[4]))"
)


@dataclass(slots=True, eq=False)
class Call:
    """A job on its way. `begun` is when it became the first in its worker's hands."""

    job: Job
    hear: Hear
    number: int = 0
    begun: float = 0.0
    is_wanted: bool = True


class Worker:
    """For the thread of the pool alone."""

    def __init__(self, path: Sequence[str]) -> None:
        self.name = f"w{os.urandom(4).hex()}-"
        self.calls: deque[Call] = deque()  # in its hands: the first one runs
        self.is_ready = False
        self.is_recalled = False  # it was asked to give back what it has not begun
        self.since = time.monotonic()  # when it came to have nothing to do
        self._frames = Frames()
        self._known: set[Digest] = set()
        self._surroundings: Surroundings | None = None
        self._to_send = bytearray()
        self.process = self._started()
        self.socket.settimeout(0)
        raw = b"\0".join(map(os.fsencode, path))
        self._to_send += b"%08x" % len(raw) + raw

    def _started(self) -> subprocess.Popen[bytes]:
        with ExitStack() as ours, ExitStack() as theirs:
            try:
                self._out = tuple(ours.enter_context(closing(_Printed(name))) for name in ("stdout", "stderr"))
                self.socket, socket_there = socket.socketpair()
                ours.callback(self.socket.close)
                theirs.callback(socket_there.close)
                # Nobody writes to it: that it is closed tells the system, whatever the worker does, that we are gone.
                there, self._lifeline = os.pipe()
                ours.callback(os.close, self._lifeline)
                theirs.callback(os.close, there)
                process = self._process(socket_there.fileno(), there)
            except OSError as error:
                raise WorkerUnavailable(
                    f"no worker process can be started: {error}\n"
                    '  -> executor="thread" runs electrons in this process; fewer workers: CAS_RUN_WORKERS'
                ) from error
            self._ours = ours.pop_all()
        return process

    def _process(self, descriptor: int, lifeline: int) -> subprocess.Popen[bytes]:
        if not sys.executable:
            raise OSError("this Python does not know where its own program lies")
        flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()
        words = [sys.executable, *flags, "-c", _START, str(descriptor), str(os.getpid()), self.name, str(lifeline)]
        # A session of its own: Ctrl-C is for the coordinator, and all that calls start can be ended together.
        return subprocess.Popen(  # noqa: S603 - this very Python
            words,
            stdin=subprocess.DEVNULL,
            stdout=self._out[0].file,
            stderr=self._out[1].file,
            pass_fds=(descriptor, lifeline),
            start_new_session=True,
            # Python 3.13.0 imports no extensions where the working folder is gone.
            cwd=None if folder() else os.sep,
        )

    # Speaking -----------------------------------------------------------------------------------------------

    def give(
        self, call: Call, blobs: Mapping[Digest, Sequence[Lying]], place: Place, surroundings: Surroundings
    ) -> None:
        """Have it make a call, after those that it has."""
        if not self.calls:
            if len(self._known) > _CODES:
                self._known.clear()
                self._say(Forget())
            self._begin(call)
        self._known.add(call.job.task.capsule)
        news = None if surroundings is self._surroundings else surroundings
        self._surroundings = surroundings
        self.calls.append(call)
        self._say(Order(call.number, call.job.task, blobs, place, news))

    def knows(self, capsule: Digest) -> bool:
        """Whether it has been given this code."""
        return capsule in self._known and (bool(self.calls) or len(self._known) <= _CODES)

    def recall(self) -> None:
        """Ask for the calls that it has not begun."""
        self.is_recalled = True
        self._say(Recall())

    @property
    def has_more_to_hear(self) -> bool:
        """Whether something could not be sent yet."""
        return bool(self._to_send)

    def send(self) -> None:
        """As much as it takes. Raises OSError once it is dead."""
        with suppress(BlockingIOError):
            while self._to_send:
                with memoryview(self._to_send) as view:
                    sent = self.socket.send(view[:_PIECE])
                del self._to_send[:sent]

    def _say(self, message: Message) -> None:
        self._to_send += told(message)

    # Listening ----------------------------------------------------------------------------------------------

    def reports(self) -> Iterator[Report]:
        """What it has said since. Raises EOFError once it says nothing any more."""
        while True:
            try:
                piece = self.socket.recv(_PIECE)
            except BlockingIOError:
                return
            except OSError as error:
                raise EOFError from error
            if not piece:
                raise EOFError
            for frame in self._frames.take(piece):
                yield report_in(frame)

    def ready(self) -> None:
        """It has started."""
        self.is_ready = True
        if self.calls:
            self._begin(self.calls[0])

    def took(self, number: int) -> Call | None:
        """The call of this number is over; the next has begun."""
        if not self.calls or self.calls[0].number != number:
            return None
        call = self.calls.popleft()
        if self.calls:
            self._begin(self.calls[0])
        else:
            self.since = time.monotonic()
        return call

    def gave_back(self, numbers: Sequence[int]) -> list[Call]:
        """These will not be made here."""
        self.is_recalled = False
        back = [call for call in self.calls if call.number in numbers]
        self.calls = deque(call for call in self.calls if call.number not in numbers)
        return back

    def _begin(self, call: Call) -> None:
        if self.is_ready:
            call.begun = time.monotonic()
            if call.job.on_begin is not None:
                call.job.on_begin()

    # Output -------------------------------------------------------------------------------------------------

    def take_output(self, up_to: Sequence[int] | None = None) -> None:
        """Pass on what the call that runs has printed."""
        call = self.calls[0] if self.calls and self.is_ready else None
        for i, printed in enumerate(self._out):
            is_over = up_to is not None
            for text in printed.take(up_to[i] if up_to is not None else None, is_over=is_over):
                _show(printed.name, text)
                if call is not None and call.job.output is not None and call.is_wanted:
                    call.job.output(printed.name, text)
            if call is None:
                printed.empty()

    # The end ------------------------------------------------------------------------------------------------

    def is_over(self) -> bool:
        """Whether the process has ended."""
        if self.process.returncode is not None or not hasattr(os, "waitid"):
            return self.process.poll() is not None
        # Not waited for yet: until it is, its number, and that of its group, cannot be anybody else's.
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        return True

    def end(self) -> int:
        """Kill it, with all that its calls have started; what it ended with: a status, or a signal, negative."""
        if self.process.returncode is None:
            with suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
        status = self.process.wait()
        self.close()
        return status

    def last_words(self) -> str:
        """What it wrote to stderr and nobody has taken."""
        return "".join(self._out[1].take(None, is_over=True)).strip()

    def close(self) -> None:
        """Give back what it took in this process."""
        self._ours.close()


class _Printed:
    """A stream of a worker as a file that both have open: nobody waits for anybody, and where a call ends is a number.

    In memory where the system has such files.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.file: IO[bytes]
        if hasattr(os, "memfd_create"):
            self.file = os.fdopen(os.memfd_create(f"cas-run {name}", os.MFD_CLOEXEC), "r+b", buffering=0)
        else:
            self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with its worker
        _append(self.file.fileno())
        self._at = 0
        self._decoder = _Decoder(errors="replace")

    def close(self) -> None:
        """Give it back."""
        self.file.close()

    def take(self, up_to: int | None, *, is_over: bool) -> Iterator[str]:
        """What is new in it, up to a place; the end of a text that goes on waits for the rest."""
        size = os.fstat(self.file.fileno()).st_size
        if size < self._at:
            self._at = 0  # emptied by what was printing: `> /dev/stderr` does that
        end = size if up_to is None else min(size, up_to)
        while self._at < end:
            piece = os.pread(self.file.fileno(), min(_PIECE, end - self._at), self._at)
            if not piece:
                break
            self._at += len(piece)
            if text := self._decoder.decode(piece):
                yield text
        if is_over and (text := self._decoder.decode(b"", final=True)):
            yield text

    def empty(self) -> None:
        """Nobody prints now: begin anew if much is in it."""
        if self._at > _ROOM:
            self._at = 0
            os.ftruncate(self.file.fileno(), 0)


_Decoder = codecs.getincrementaldecoder("utf-8")


def _show(stream: str, text: str) -> None:
    """As if it had been printed here."""
    with suppress(Exception):  # whoever reads it may have gone, and any object may stand there
        file = getattr(sys, stream)
        encoding = getattr(file, "encoding", None) or "utf-8"
        file.write(text.encode(encoding, "replace").decode(encoding))
        file.flush()


def _append(descriptor: int) -> None:
    import fcntl

    # Each write goes to the end, whoever makes it and wherever it was emptied to.
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)
