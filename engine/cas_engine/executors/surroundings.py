"""What a call finds around it besides its code and inputs: the working folder, the path of imports, the environment.

In a worker process it is as in the program that dispatches, at the moment when the call is given to the worker.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.machinery import ModuleSpec
from typing import NamedTuple


class Surroundings(NamedTuple):
    """As they were found. `levels` are those of loggers, "" the root; `main` the file and the name of `__main__`, by
    which what is defined there is known elsewhere.
    """

    folder: str
    path: tuple[str, ...]
    environment: Mapping[str, str]
    words: tuple[str, ...]
    recursion: int
    levels: Mapping[str, int]
    disabled: int
    main: tuple[str | None, str | None]


def surroundings(before: Surroundings | None = None) -> Surroundings:
    """Those of this process; the same object as before if nothing has changed."""
    same = before is not None and _is_environment(before.environment)
    found = Surroundings(
        folder=folder(),
        path=tuple(each for each in sys.path if isinstance(each, str)),
        environment=before.environment if same and before is not None else dict(os.environ),
        words=tuple(map(str, getattr(sys, "argv", ()))),
        recursion=sys.getrecursionlimit(),
        levels=_levels(),
        disabled=logging.root.manager.disable,
        main=_main(),
    )
    return before if before is not None and found == before else found


def surround(wanted: Surroundings) -> None:
    """Make those of this process the same. Asked for each call, as the last one may have changed them."""
    global _had  # noqa: PLW0603
    with suppress(OSError):  # it may be gone by now: then this is as near as one gets
        if wanted.folder and wanted.folder != folder():
            os.chdir(wanted.folder)
    if sys.path != list(wanted.path):
        sys.path[:] = wanted.path
    if not _is_environment(wanted.environment):
        for name in set(os.environ) - set(wanted.environment):
            del os.environ[name]
        os.environ.update(wanted.environment)
    if sys.getrecursionlimit() != wanted.recursion:
        sys.setrecursionlimit(wanted.recursion)
    if wanted is _had:
        return  # the rest is a matter of course, and takes as long as all before
    _had = wanted
    if wanted.main != _main():
        _be_main(*wanted.main)
    sys.argv[:] = wanted.words
    for name, level in wanted.levels.items():
        logging.getLogger(name or None).setLevel(level)
    logging.disable(wanted.disabled)


class Limits:
    """What the system lets this process do, as it was at first: a call may have asked for less, or for an alarm."""

    def __init__(self) -> None:
        self._soft: dict[int, int] = {}
        with suppress(ImportError):  # Windows
            import resource

            kinds = [getattr(resource, f"RLIMIT_{name}", None) for name in _LIMITED]
            self._soft = {kind: resource.getrlimit(kind)[0] for kind in kinds if kind is not None}

    def restore(self) -> None:
        """After each call, so that none suffers from what was meant for another. What was given up is gone."""
        if not self._soft:
            return
        import resource

        signal.setitimer(signal.ITIMER_REAL, 0)
        for kind, soft in self._soft.items():
            now, hard = resource.getrlimit(kind)
            if now != soft:
                with suppress(OSError, ValueError):
                    resource.setrlimit(kind, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


_LIMITED = ("AS", "DATA", "STACK", "NOFILE", "FSIZE", "NPROC", "CPU")
_had: Surroundings | None = None
_seen: tuple[Mapping[str, str], dict[object, object]] | None = None  # an environment, and how Python keeps it


def _is_environment(wanted: Mapping[str, str]) -> bool:
    """Whether the environment is this one. Asked for each call: to decode all of it would take longer than the rest."""
    global _seen  # noqa: PLW0603
    kept: dict[object, object] | None = getattr(os.environ, "_data", None)
    if kept is not None and _seen is not None and _seen[0] is wanted and _seen[1] == kept:
        return True
    if os.environ != wanted:
        return False
    if kept is not None:
        _seen = wanted, dict(kept)
    return True


def _main() -> tuple[str | None, str | None]:
    main = sys.modules.get("__main__")
    return getattr(main, "__file__", None), getattr(getattr(main, "__spec__", None), "name", None)


def _be_main(file: str | None, name: str | None) -> None:
    main = sys.modules["__main__"]
    main.__spec__ = None if name is None else ModuleSpec(name, None, origin=file)
    if file is not None:
        main.__file__ = file
    else:
        vars(main).pop("__file__", None)


def folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - asked for each batch of calls
    except OSError:
        return ""


def _levels() -> dict[str, int]:
    found = {"": logging.root.level}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level:
            found[name] = logger.level
    return found
