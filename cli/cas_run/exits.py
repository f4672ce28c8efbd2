"""The exit statuses of the command, and which error leads to which."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a shell sees. Documented in docs/cli.md; numbers never change their meaning."""

    DONE = 0
    FAILED = 1  # the workflow failed, was cancelled or was interrupted
    USAGE = 2  # found wrong before anything ran
    STORE = 3
    NOT_FOUND = 4
    WOULD_RUN = 5  # only `plan --check`
    BUG = 70  # sysexits.h: EX_SOFTWARE
    UNWRITABLE = 74  # sysexits.h: EX_IOERR
    HUNG_UP = 129  # 128 + SIGHUP
    INTERRUPTED = 130  # 128 + SIGINT
    PIPE_CLOSED = 141  # 128 + SIGPIPE
    TERMINATED = 143  # 128 + SIGTERM


class Stopped(Exception):
    """Ctrl-C or a signal ended a dispatch. `unfinished`: electrons still run in threads that nobody can stop."""

    def __init__(self, message: str, status: Exit, dispatch_id: str, *, unfinished: bool) -> None:
        super().__init__(message)
        self.status = status
        self.dispatch_id = dispatch_id
        self.unfinished = unfinished


def exit_of(error: Exception) -> Exit:
    """The status for one of our errors. Imported late: no command that succeeds needs the tree of errors."""
    from cas_engine.errors import NotFound, ResultEvicted, Undigestible, Unstorable, UsageError
    from cas_store.errors import StoreError

    if isinstance(error, ResultEvicted):
        return Exit.FAILED
    if isinstance(error, StoreError):
        return Exit.STORE
    if isinstance(error, NotFound):
        return Exit.NOT_FOUND
    if isinstance(error, (UsageError, Undigestible, Unstorable)):
        return Exit.USAGE
    return Exit.FAILED


def as_json(kind: str, message: str, status: Exit, **more: str) -> dict[str, object]:
    """The one object that `--json` prints instead of an answer."""
    said, _, advice = message.partition("\n  -> ")
    told = {"kind": kind, "message": said, "advice": advice or None, "exit_status": int(status)}
    return {"error": told | more}
