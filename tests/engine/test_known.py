"""An electron that a store knows stands in for another, as it was recorded, and its results are those it had there."""

from __future__ import annotations

from pathlib import Path

import pytest

import cas_run as ct
from cas_engine.bookkeeping.known import KnownElectrons, known_in
from cas_engine.errors import AmbiguousElectron, UnknownElectron
from cas_store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@ct.electron
def numbers(n: int) -> list[int]:
    return list(range(n))


@ct.electron(version="2", depends_on=[Path])
def biggest(xs: list[int], more: int = 0) -> int:
    return max(xs) + more


@ct.electron
def total(xs: list[int]) -> int:
    return sum(xs)


@ct.lattice
def summing(n: int) -> int:
    return total(numbers(n))


@ct.lattice
def finding(n: int) -> int:
    return biggest(numbers(n))


@ct.lattice
def nesting(n: int) -> int:
    return inner(n)


@ct.electron
@ct.lattice
def inner(n: int) -> int:
    return hidden(n)


@ct.electron
def hidden(n: int) -> int:
    return n + 1


def test_it_stands_in_with_the_key_it_has_where_it_was_recorded(store: Store) -> None:
    parent = ct.dispatch_sync(summing, store=store)(5)
    ct.dispatch_sync(finding, store=store)(5)
    known = KnownElectrons(store).named("biggest")
    child = ct.redispatch(parent.dispatch_id, replace_electrons={"total": known}, store=store)()  # type: ignore[dict-item]
    result = ct.get_result(child, wait=True, store=store)
    assert result.result == 4
    assert result.replaced == {"total": "biggest"}
    assert result.ran == 0  # the same code, version and inputs: computed there
    # By its fingerprint, and with new inputs, as well.
    again = KnownElectrons(store).named(known.fingerprint[:9])
    assert again.fingerprint == known.fingerprint
    child = ct.redispatch(parent.dispatch_id, replace_electrons={"total": again}, store=store)(n=7)  # type: ignore[dict-item]
    assert ct.get_result(child, wait=True, store=store).result == 6


def test_names_that_are_not_known_or_mean_several_are_told(store: Store) -> None:
    ct.dispatch_sync(summing, store=store)(5)
    known = KnownElectrons(store)
    with pytest.raises(UnknownElectron, match="numbers"):
        known.named("number")

    @ct.electron(name="total")
    def other(xs: list[int]) -> int:
        return 0

    @ct.lattice
    def another() -> int:
        return other([1])

    ct.dispatch_sync(another, store=store)()
    with pytest.raises(AmbiguousElectron, match="total") as caught:
        known.named("total")
    places = caught.value.places
    assert len(places) == 2
    assert {known.named(place[:32]).fingerprint for place in places} == {place[:32] for place in places}


def test_those_inside_sublattices_are_known_and_those_of_removed_dispatches_are_not(store: Store) -> None:
    outer = ct.dispatch_sync(nesting, store=store)(1)
    known = KnownElectrons(store)
    found = known.named("hidden")
    assert known_in(store, found.dispatch_id, "hidden", found.fingerprint) == found
    ct.remove(outer.dispatch_id, store=store)
    with pytest.raises(UnknownElectron):
        known.named("hidden")
    assert known.all() == []
