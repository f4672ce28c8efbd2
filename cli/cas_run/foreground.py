"""Starts a dispatch, shows how it goes, and stays until it is over, or Ctrl-C or a signal ends it."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, NoReturn

from cas_run import findings
from cas_run.exits import Exit, Stopped
from cas_run.ids import short_id
from cas_run.progress import Lines
from cas_run.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from cas_engine.evaluating.events import Event, Observer
    from cas_run.backend import Backend
    from cas_run.live import View
    from cas_run.session import Session
    from cas_run.shapes import Dispatch

TICK_S = 0.1
GRACE_S = 3.0  # for electrons that run when Ctrl-C comes: threads can't be stopped, but they may be nearly done


def follow(session: Session, backend: Backend, start: Callable[[Observer], str]) -> Dispatch:
    """The result, when the dispatch is over. Raises Stopped after Ctrl-C, once all that can be kept is.

    So it does after SIGTERM, by which schedulers, containers and `timeout` end a program, and when the terminal goes.
    """
    tally = Tally()
    live = _wants_live(session)
    lines = Lines(session.terminal.err, every=session.verbose) if not live and not session.quiet else None

    def observe(event: Event) -> None:
        tally(event)
        if lines is not None:
            lines(event)

    came = _Signals()
    try:
        waiting = _Waiting(backend, start(observe))
        with closing(_view(tally, live=live)) as view:
            while not waiting.over(TICK_S):
                view.tick()
    except KeyboardInterrupt:
        _stop(session, backend, tally, came.status)
    finally:
        came.let_go()
    result = waiting.result()
    if tally.audited is not None and (tally.audited.checked or tally.audited.different):
        err = session.terminal.err
        line = findings.audit_line(tally.audited.checked, tally.audited.different, err)
        (err.line if tally.audited.different else session.note)(line)
    return result


class _Signals:
    """Until they are let go these end the dispatch as Ctrl-C does; which of them came is in the status."""

    def __init__(self) -> None:
        self.status = Exit.INTERRUPTED
        self._taken: list[int] = []
        if threading.current_thread() is not threading.main_thread():
            return  # nor does Ctrl-C come here
        for name, status in (("SIGTERM", Exit.TERMINATED), ("SIGHUP", Exit.HUNG_UP)):
            number = getattr(signal, name, None)  # Windows has not both
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup, for one, has it ignored
                signal.signal(number, lambda *_, status=status: self._come(status))
                self._taken.append(number)

    def let_go(self) -> None:
        for number in self._taken:
            signal.signal(number, signal.SIG_DFL)

    def _come(self, status: Exit) -> NoReturn:
        self.status = status
        raise KeyboardInterrupt


class _Waiting:
    """Waits in a thread of its own, so that the main one stays free to draw and to be interrupted."""

    def __init__(self, backend: Backend, dispatch_id: str) -> None:
        self._done = threading.Event()
        self._result: Dispatch | None = None
        self._error: BaseException | None = None

        def wait() -> None:
            try:
                self._result = backend.finished(dispatch_id)
            except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
                self._error = error
            finally:
                self._done.set()

        threading.Thread(target=wait, daemon=True, name="cas-run-waiting").start()

    def over(self, seconds: float) -> bool:
        return self._done.wait(seconds)

    def result(self) -> Dispatch:
        self._done.wait()
        if self._result is None:
            raise self._error or RuntimeError
        return self._result


def _wants_live(session: Session) -> bool:
    err = session.terminal.err
    return err.tty and not session.quiet and not session.verbose and os.environ.get("TERM") not in ("dumb", "", None)


class _NoView:
    def tick(self) -> None: ...
    def close(self) -> None: ...


def _view(tally: Tally, *, live: bool) -> View | _NoView:
    if not live:
        return _NoView()
    from cas_run.live import View

    return View(tally)


def _stop(session: Session, backend: Backend, tally: Tally, status: Exit) -> NoReturn:
    """Cancel, give running electrons a moment, and end. A second Ctrl-C ends it at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: session.terminal.leave(status))
    if not tally.dispatch_id:
        raise Stopped("interrupted before anything ran", status, "", unfinished=False)
    backend.cancel(tally.dispatch_id)
    began, told = time.monotonic(), False
    while not tally.over and time.monotonic() - began < GRACE_S:
        time.sleep(TICK_S / 2)
        if not told and time.monotonic() - began > GRACE_S / 4:
            told = True
            names = ", ".join(tally.running) or "the dispatch"
            session.note(f"stopping: {names} has {GRACE_S:.0f} s to finish (Ctrl-C again: at once)")
    counts = tally.sum()
    message = (
        f"interrupted: {counts.hit + counts.ran:,} of {tally.total:,} nodes had finished, and are kept\n"
        f"  -> `cas-run redispatch {short_id(tally.dispatch_id)}` takes it up again"
    )
    raise Stopped(message, status, tally.dispatch_id, unfinished=not tally.over or bool(tally.running))
