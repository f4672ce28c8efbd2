"""Whatever is dispatched, removed, pinned, collected and killed in whatever order: what has to be there is there.

The model knows of each dispatch what it was given, of each lattice which dispatch is its last, what is pinned, and what
was neither when something was evicted: that may be gone, also if it is the last one once a later one is removed. After
each step what those need is read; any dispatch can be dispatched again, and comes to what it came to before.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

import cas_run as ct
from cas_engine.bookkeeping.collection import decide
from cas_engine.bookkeeping.limits import Limits
from cas_engine.bookkeeping.survey import survey_of
from cas_engine.errors import ResultEvicted
from cas_store import Store, Victim

LARGE = 70_000


@ct.electron
def make(n: int) -> bytes:
    return bytes([n]) * LARGE


@ct.electron
def shorten(data: bytes, k: int) -> bytes:
    return data[: 10 + k]


@ct.lattice
def short(n: int, k: int) -> Any:
    return shorten(make(n), k)


@ct.lattice
def whole(n: int, k: int) -> Any:
    data = make(n)
    return data, shorten(data, k)


LATTICES = {"short": short, "whole": whole}


def expected(lattice: str, n: int, k: int) -> Any:
    part = bytes([n]) * (10 + k)
    return part if lattice == "short" else (bytes([n]) * LARGE, part)


class Collecting(RuleBasedStateMachine):
    """One store."""

    dispatches = Bundle("dispatches")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = Store.open(self.folder / "store")
        self.given: dict[str, tuple[str, int, int]] = {}
        self.pinned: set[str] = set()
        self.at_risk: set[str] = set()
        self.made_before: set[int] = set()  # what a later dispatch reuses without computing it again

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    @rule(target=dispatches, lattice=st.sampled_from(sorted(LATTICES)), n=st.integers(0, 3), k=st.integers(0, 2))
    def dispatch(self, lattice: str, n: int, k: int) -> str:
        done = ct.dispatch_sync(LATTICES[lattice], store=self.store, executor="inline")(n, k)
        return self.enter(done, (lattice, n, k))

    @rule(target=dispatches, parent=dispatches, k=st.none() | st.integers(0, 2))
    def redispatch(self, parent: str, k: int | None) -> str:
        if parent not in self.given:
            return parent
        lattice, n, before = self.given[parent]
        start = ct.redispatch(parent, store=self.store, executor="inline")
        done = ct.get_result(start() if k is None else start(k=k), wait=True, store=self.store)
        return self.enter(done, (lattice, n, before if k is None else k))

    def enter(self, done: ct.Result, given: tuple[str, int, int]) -> str:
        assert done.result == expected(*given)
        self.given[done.dispatch_id] = given
        return done.dispatch_id

    @rule(one=dispatches)
    def pin(self, one: str) -> None:
        if one in self.given and not ct.pin(one, store=self.store):
            self.pinned.add(one)
            self.at_risk.discard(one)  # all of it was there

    @rule(one=dispatches)
    def unpin(self, one: str) -> None:
        if one in self.given:
            ct.unpin(one, store=self.store)
            self.pinned.discard(one)

    @rule(one=consumes(dispatches))
    def remove(self, one: str) -> None:
        if one in self.given and one not in self.pinned:
            ct.unpin(one, store=self.store)
            ct.remove(one, store=self.store)
            del self.given[one]

    @rule(size=st.sampled_from([None, 0, 100_000, 200_000]))
    def collect(self, size: int | None) -> None:
        if size is not None:
            self.evict()
        would = ct.gc(max_size=size, store=self.store, dry_run=True)
        done = ct.gc(max_size=size, store=self.store)
        assert done.to_json() | {"dry_run": True, "rows": 0} == would.to_json()
        assert size is None or done.bytes_after <= size or done.over == done.bytes_after - size
        again = ct.gc(max_size=size, store=self.store)
        assert (again.evicted, again.unnamed, again.rows) == (0, 0, 0)

    @rule(size=st.sampled_from([0, 100_000]), survive=st.integers(0, 4))
    def be_killed(self, size: int, survive: int) -> None:
        """A collection that takes some of what it has decided on, and nothing more."""
        self.evict()
        with self.store.barrier() as barrier:
            survey = survey_of(self.store, 1)
            sweep = decide(survey, Limits(size, None, 1), 0.0)
            digests = list(survey.place)
            chosen = [*sweep.unnamed, *sweep.evicted][:survive]
            list(self.store.take(barrier, (Victim(digests[at], survey.is_remembered(at)) for at in chosen)))

    def evict(self) -> None:
        others = self.given.keys() - self.kept()
        self.at_risk |= others
        self.made_before |= {self.given[one][1] for one in others}

    def kept(self) -> set[str]:
        """Those whose results are never evicted: the last one of each lattice, and what is pinned."""
        last = {lattice: one for one, (lattice, _, _) in self.given.items()}
        return {*last.values(), *self.pinned}

    @rule()
    def open_again(self) -> None:
        self.store.close()

    @invariant()
    def what_has_to_be_there_is_there(self) -> None:
        for one in self.kept() - self.at_risk:
            found = ct.get_result(one, store=self.store)
            assert found.result == expected(*self.given[one])
            if self.given[one][1] not in self.made_before:
                assert found.node("make").result == bytes([self.given[one][1]]) * LARGE
        for one, given in self.given.items():
            with contextlib.suppress(ResultEvicted):
                assert ct.get_result(one, store=self.store).result == expected(*given)


settings.register_profile("collecting", deadline=None, suppress_health_check=list(HealthCheck))
TestCollecting = Collecting.TestCase
TestCollecting.settings = settings(
    settings.get_profile("collecting"),
    max_examples=int(os.environ.get("CAS_RUN_GC_EXAMPLES", "6")),
    stateful_step_count=20,
)
