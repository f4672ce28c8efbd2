"""Environment variables that code reads by name: they count as found where the node runs, like a package's version.

A name with a star stands for all variables that begin or end so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from cas_engine.fingerprint.environment import VARIABLE, is_elsewhere
from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.reach import Reach, says

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_IN_SHELL = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")  # names within a text: `$DATA/${RUN}.csv`
_IN_TEXT = re.compile(rf"{_IN_SHELL.pattern}|%\(([A-Za-z_][A-Za-z0-9_]*)\)|\{{([A-Za-z_][A-Za-z0-9_]*)\}}")
# What begins or ends names: `os.environ[f"{PREFIX}_DIR"]`, `name.startswith("APP_")`. In the place of the rest, a star.
_PART = re.compile(r"[A-Z][A-Z0-9_]*_|_[A-Z0-9_]*[A-Z0-9]")


class Variable:
    """One of them, by its name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


def describe_variable(node: Node, _reach: Reach) -> None:
    """By name; what it is set to is found where the node runs."""
    name = node.obj.name
    node.name = name
    node.packages = frozenset({VARIABLE + name})
    says(node, "variable", name)


def variables_named(texts: Iterable[str]) -> Iterator[str]:
    """Which of these texts, or names within them, may name one that counts: in capitals, or set now."""
    for text in sorted(text for text in texts if text.isascii()):  # half of a surrogate cannot even be asked for
        if _PART.fullmatch(text) and not is_elsewhere(text):
            yield f"*{text}" if text.startswith("_") else f"{text}*"
            continue
        within = (name for found in _IN_TEXT.findall(text) for name in found if name)
        yield from filter(_may_count, [text] if _NAME.fullmatch(text) else within)


def variables_of_shells(texts: Iterable[str]) -> Iterator[str]:
    """Those that command lines and scripts in these texts name."""
    for text in sorted(text for text in texts if "$" in text):
        yield from filter(_may_count, _IN_SHELL.findall(text))


def _may_count(name: str) -> bool:
    return (name.isupper() or name in os.environ) and not is_elsewhere(name)
