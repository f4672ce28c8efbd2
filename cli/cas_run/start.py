"""The first that the command does: until it can tell of Ctrl-C itself, that ends it without a word."""

from __future__ import annotations

import signal
import threading


def main() -> int:
    """What the script `cas-run` calls."""
    # Whoever changes their mind at once meets imports, and would be shown a traceback through click.
    # (From a thread of somebody's program it is none of our business.)
    is_main = threading.current_thread() is threading.main_thread()
    is_heard = is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cas_run import main as command
    from cas_run.exits import Exit

    try:
        if is_heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return command.main()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
