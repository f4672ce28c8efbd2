"""Columns of texts, as data frames have them: by value, however a library keeps them. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from cas_engine.values.pieces import Branch, Digested, listed
from cas_store.digest import digest_of

_MISSING = -1


def texts(values: Iterable[str | None]) -> Branch:
    """A column of texts in one go; None is a missing one."""
    lengths, raw = array("q"), []
    for value in values:
        if value is None:
            lengths.append(_MISSING)
        else:
            raw.append(value.encode("utf-8", "surrogatepass"))
            lengths.append(len(raw[-1]))
    # The lengths tell where one ends and the next begins.
    return listed("texts", Digested(digest_of(lengths.tobytes())), Digested(digest_of(b"".join(raw))))
