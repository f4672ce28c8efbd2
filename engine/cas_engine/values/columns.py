"""Columns of texts, as data frames have them: by value, however a library keeps them. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any, TypeAlias

from cas_engine.values.pieces import Branch, Digested, listed
from cas_store.digest import digest_of

Buffer: TypeAlias = Any  # what memoryview takes, which has no name before Python 3.12
MISSING = -1  # the length of a text that is not there


def texts(values: Iterable[str | None]) -> Branch:
    """A column of texts in one go; None is a missing one."""
    lengths, raw = array("q"), []
    for value in values:
        if value is None:
            lengths.append(MISSING)
        else:
            raw.append(value.encode("utf-8", "surrogatepass"))
            lengths.append(len(raw[-1]))
    return joined_texts(lengths, b"".join(raw))


def joined_texts(lengths: Buffer, raw: Buffer) -> Branch:
    """A column of texts as the length of each in bytes, as int64, and all of them in UTF-8, one after another."""
    return listed("texts", Digested(digest_of(memoryview(lengths).cast("B"))), Digested(digest_of(memoryview(raw))))
