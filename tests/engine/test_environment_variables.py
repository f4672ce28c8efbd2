"""A variable of the environment that code reads by its name counts as it is where the code runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

import cas_run as ct

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


def setting(name: str) -> str:
    return os.environ.get(name, "none")


@pytest.fixture
def flow(mark: Mark, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FIT_MODE", "exact")

    @ct.electron
    def fit() -> str:
        mark("fit")
        return setting("FIT_MODE")

    @ct.electron
    def count(text: str) -> int:
        mark("count")
        return len(text)

    @ct.lattice
    def flow() -> Any:
        return count(fit())

    return flow


def test_another_setting_is_another_result_and_the_first_one_is_still_known(
    flow: Any, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ct.dispatch_sync(flow)()
    assert ran() == ["count", "fit"]
    monkeypatch.setenv("FIT_MODE", "rough!")
    assert ct.dispatch_sync(flow)().result == 6
    monkeypatch.delenv("FIT_MODE")
    assert ct.get_result(ct.redispatch(first.dispatch_id)(), wait=True).result == 4
    assert ran() == ["count", "count", "fit", "fit"]
    monkeypatch.setenv("FIT_MODE", "exact")
    assert ct.get_result(ct.redispatch(first.dispatch_id)(), wait=True).result == 5
    assert ran() == []


def test_a_plan_names_the_variable_and_keeps_what_it_is_set_to(flow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ct.dispatch_sync(flow)()
    monkeypatch.setenv("FIT_MODE", "s3cret-setting")
    plan = ct.plan(first.dispatch_id)()
    told = {node.electron: node.reason for node in plan.nodes}
    assert told["fit"] == "the environment variable FIT_MODE changed"
    second = ct.get_result(ct.redispatch(first.dispatch_id)(), wait=True)
    explained = ct.explain(second.dispatch_id, "fit")
    assert "FIT_MODE" in str(explained)
    assert "s3cret" not in str(explained)


def test_a_worker_process_reads_what_the_key_says(flow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in ("exact", "rough", "none at all"):
        monkeypatch.setenv("FIT_MODE", mode)
        assert ct.dispatch_sync(flow, executor="process")().result == len(mode)


def test_texts_that_no_variable_can_be_called_by_are_none(mark: Mark) -> None:
    @ct.electron
    def clean(name: str, text: str) -> str:
        return setting(name) + "".join("?" if "\ud800" <= letter <= "\udfff" else letter for letter in text)

    @ct.lattice
    def flow() -> Any:
        return clean("NOT_SET_ANYWHERE", "a\udc80b")

    assert ct.dispatch_sync(flow)().result == "nonea?b"


def test_texts_that_are_no_unicode_count_as_any_others(mark: Mark, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable, a path or a key of a dict may be any bytes, which Python has as halves of surrogates."""

    @ct.electron(version="\udcfe")
    def fit() -> dict[str, str]:
        mark("fit")
        return {"\udcff": setting("FIT_MODE")}

    @ct.electron(name="count \ud800")
    def count(text: str) -> int:
        return len(text)

    @ct.lattice(name="flow \ud801")
    def flow() -> Any:
        return count(fit()["\udcff"])

    for mode, length in ((b"caf\xe9", 4), (b"\xff", 1)):
        monkeypatch.setenv("FIT_MODE", os.fsdecode(mode))
        for executor in ("inline", "process"):
            done = ct.dispatch_sync(flow, executor=executor)()
            assert (done.status, done.result) == ("COMPLETED", length), done.error
        assert ran() == ["fit"]
        assert ct.get_result(ct.redispatch(done.dispatch_id)(), wait=True).result == length
