"""What was put into packages is there while recorded code runs, and only then."""

from __future__ import annotations

import threading
from typing import Any

import click
import pytest

from cas_engine.capsules.restoring import restored
from cas_engine.errors import CapsuleError
from cas_engine.fingerprint.patches import Extension, Patch, put_back


class Options:
    """As packages have them: what is set is checked, and kept in another form."""

    limit = 10

    def __setattr__(self, name: str, value: Any) -> None:
        if value is None:
            message = "no limit"
            raise ValueError(message)
        object.__setattr__(self, name, int(value))


def patch(path: tuple[str, ...], name: str, value: object, *, is_item: bool = False) -> Patch:
    return Patch("click", path, ".".join(path), name, is_item=is_item, value=value, shown=f"workflow.{name}")


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Options:
    made = Options()
    monkeypatch.setattr(click, "options", made, raising=False)
    monkeypatch.setattr(click, "params", {"a": 1}, raising=False)
    return made


def test_attributes_items_and_what_was_not_there_come_and_go(options: Options) -> None:
    params = click.params
    brought = [
        patch(("click", "options"), "limit", "7"),
        patch(("click", "params"), "a", 2, is_item=True),
        patch(("click", "params"), "b", 3, is_item=True),
        patch(("click",), "absent", len),
        Extension("click", ("click", "Command"), "", "shout", is_item=False, value=max, shown=""),
    ]
    with restored(brought):
        assert (options.limit, params, click.absent) == (7, {"a": 2, "b": 3}, len)
        assert vars(click.Command)["shout"] is max
        assert put_back == brought[:4]
        assert put_back[0].value == 7  # as the package keeps it
    assert (options.limit, params, hasattr(click, "absent")) == (10, {"a": 1}, False)
    assert "shout" not in vars(click.Command)
    assert not put_back


def test_what_the_package_refuses_leaves_all_as_it_was(options: Options) -> None:
    brought = [patch(("click", "params"), "a", 2, is_item=True), patch(("click", "options"), "limit", None)]
    with (
        pytest.raises(CapsuleError, match=r"`workflow.limit` cannot be set .*: ValueError: no limit"),
        restored(brought),
    ):
        pytest.fail("it began")
    assert (options.limit, click.params, put_back) == (10, {"a": 1}, [])


def test_a_way_that_is_not_there_any_more_is_told(options: Options) -> None:
    refused = pytest.raises(CapsuleError, match=r"AttributeError.*\n  -> compare the installed packages")
    with refused, restored([patch(("click", "gone"), "limit", 1)]):
        pytest.fail("it began")


def test_one_call_at_a_time_meets_its_own(options: Options) -> None:
    met: list[bool] = []

    def call(limit: int) -> None:
        with restored([patch(("click", "options"), "limit", limit)]):
            met.extend(options.limit == limit for _ in range(200))

    threads = [threading.Thread(target=call, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(met) == 1600
    assert all(met)
    assert options.limit == 10
