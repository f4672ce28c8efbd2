"""Who computes a key: misses are claimed many at a time, and ahead where calls take less than a claim."""

from __future__ import annotations

import math
import time
from collections.abc import Container, Sequence

from cas_engine.bookkeeping.journal import Journal
from cas_engine.plans.board import OPEN, Board
from cas_engine.plans.decisions import MISS, Decisions
from cas_engine.plans.records import Record
from cas_store.digest import Digest

_FEWEST, _MOST = 64, 256  # keys claimed at once, where some are claimed ahead
_HELD_S = 0.064  # what their calls may take in all: whoever else wants one of them waits for so long


class Claiming:
    """Claims for one evaluation. With sublattices, which claim for themselves, nothing is claimed ahead: what waits for
    one would keep it waiting.
    """

    def __init__(self, board: Board, journal: Journal, *, has_sublattices: bool) -> None:
        self._board = board
        self._journal = journal
        self._has_sublattices = has_sublattices
        self._next = 0  # the node up to which claims were made ahead
        self._last = -math.inf, 0  # when, and of how many keys

    def claim(
        self, new: set[Digest], wanted: Sequence[Digest], decisions: Decisions, but: Container[int]
    ) -> dict[Digest, Record]:
        """Ask for keys that are not claimed yet, and perhaps for more, but not ahead for some nodes; what others have
        found since the look-up. Those that are not wanted now and that others have are given back.
        """
        journal = self._journal
        new = new | self._ahead(len(new), decisions, but)
        journal.claim(sorted(new))
        self._last = time.monotonic(), len(new)
        known = journal.lookup_now([key for key in new if journal.has_claimed(key)])
        for key in known.keys() - set(wanted):
            journal.unclaim(key)
        return known

    def _ahead(self, asked: int, decisions: Decisions, but: Container[int]) -> set[Digest]:
        """Keys that are going to be computed: of a chain of quick calls as many as the last time allows for."""
        when, how_many = self._last
        allowed = how_many * _HELD_S / (time.monotonic() - when + 1e-6)
        if self._has_sublattices or allowed < _FEWEST:
            return set()
        count = min(int(allowed), _MOST) - asked
        found: set[Digest] = set()
        kinds, keys, state = decisions.kinds, decisions.keys, self._board.state
        while len(found) < count:
            node = self._next = kinds.find(MISS, self._next)
            if node < 0:
                self._next = len(kinds)
                break
            self._next += 1
            key = keys[node]
            if key is not None and state[node] == OPEN and not decisions.is_forced(node) and node not in but:
                found.add(key)
        return self._journal.not_claimed(found)
