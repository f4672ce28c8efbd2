"""What was put into packages is there while recorded code runs, and only then."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import click
import pytest

from cas_engine.capsules.restoring import restored
from cas_engine.errors import CapsuleError
from cas_engine.fingerprint.patches import Extension, Patch, put_back

if TYPE_CHECKING:
    from tests.conftest import Space


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


SCRIPT = """
import os
import click
import cas_run as ct

click.tuned = 7

@ct.electron
def read(n):
    return [n * click.tuned, os.getpid()]

@ct.lattice
def flow(n):
    return read(n)

if __name__ == "__main__":
    done = ct.dispatch_sync(flow)(1)
    print(done.result[0], done.result[1] == os.getpid())
"""


def test_the_program_meets_none_of_it_where_recorded_code_runs(user: Space) -> None:
    script = user.root / "tuning.py"
    script.write_text(SCRIPT)
    assert user.run(script).out.split() == ["7", "True"]  # what is there need not be put back
    script.unlink()
    told = user.do(
        """
        import os, sys, threading, click
        met, is_over = set(), threading.Event()

        def watch():
            while not is_over.is_set():
                met.add(hasattr(click, "tuned"))

        first = ct.list_dispatches()[0].dispatch_id
        for options in ({}, {"recompute": "all"}):
            start = ct.redispatch(first, executor="thread", **options)
            id = start(2) if not options else start()
            if options:
                watcher = threading.Thread(target=watch)
                watcher.start()
            result = ct.get_result(id, wait=True).result
            print(result[0], result[1] == os.getpid())
        is_over.set()
        watcher.join()
        print(met)
        """
    )
    assert told.out.split("\n")[:3] == ["14 False", "7 False", "{False}"]
