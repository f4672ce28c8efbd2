"""Tracebacks as users want them: their own frames, and whose fault it was."""

from __future__ import annotations

import sysconfig
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_OURS = ("cas_run", "cas_engine", "cas_store")


def users_traceback(error: BaseException) -> str:
    """The traceback without the frames of Python's import system and of ours."""
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if not _is_machinery(frame)]
    while frames and not _is_users(frames[0][0]):  # what called the user's code is not theirs either
        frames.pop(0)
    summary = traceback.StackSummary.extract(iter(frames))
    lines = ["Traceback (most recent call last):\n", *summary.format()] if frames else []
    return "".join([*lines, *traceback.format_exception_only(type(error), error)]).rstrip()


def is_users(error: BaseException) -> bool:
    """Whether it was raised by the user's code, or by something that this called, and not by us."""
    users = False
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if _package(frame) in _OURS:
            users = False
        elif _is_users(frame):
            users = True
    return users


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_machinery(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return _package(frame) in (*_OURS, "importlib", "_frozen_importlib", "click") or file.startswith("<frozen")


def _is_users(frame: FrameType) -> bool:
    if _is_machinery(frame):
        return False
    installed = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    return not frame.f_code.co_filename.startswith(installed)
