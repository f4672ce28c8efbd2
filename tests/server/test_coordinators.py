"""The processes that do the server's work: each request is answered, whatever becomes of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cas_run.server.coordinators import Coordinators
from cas_run.server.problems import Problem

pytestmark = pytest.mark.xdist_group("server")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_flow: Any) -> tuple[str, dict[str, str]]:
    folder = tmp_path_factory.mktemp("coordinators")
    return str(folder / "store"), make_flow(folder)


def run(store: str, do: Callable[[Coordinators], Awaitable[None]], most: int = 1, **options: Any) -> list[Any]:
    """What was told of dispatches, while this was done with some coordinators."""
    told: list[Any] = []

    async def main() -> None:
        made = Coordinators(store, "inline", most, {}, lambda *event: told.append(event), **options)
        try:
            await do(made)
        finally:
            assert await made.drain(30) == []

    asyncio.run(main())
    return told


def body(**inputs: Any) -> dict[str, Any]:
    return {"body": {"inputs": inputs}, "uploads": {}}


def test_a_request_that_takes_too_long_is_given_up_and_its_process_replaced(place: tuple[str, dict[str, str]]) -> None:
    store, ids = place

    async def do(made: Coordinators) -> None:
        await made.warm_up()
        (first,) = made.alive
        with pytest.raises(Problem) as caught:
            await made.ask("redispatch", parent=ids["thinking"], **body(seconds=60))
        assert caught.value.status == 504
        assert (await made.ask("redispatch", parent=ids["thinking"], **body(seconds=0.01)))["dispatch_id"]
        (second,) = made.alive
        assert second.pid != first.pid
        assert made.started == 2

    run(store, do, prepare_s=3.0)


def test_a_second_is_started_where_the_first_has_much_to_do(place: tuple[str, dict[str, str]]) -> None:
    store, ids = place

    async def do(made: Coordinators) -> None:
        asked = [made.ask("redispatch", parent=ids["thinking"], **body(seconds=0.5 + i / 100)) for i in range(8)]
        found = await asyncio.gather(*asked)
        assert len({one["dispatch_id"] for one in found}) == 8
        assert len(made.alive) == 2

    told = run(store, do, most=2)
    assert [event for _, event, _ in told].count("Finished") == 8


def test_processes_that_do_not_come_up_are_not_started_for_ever(tmp_path: Path) -> None:
    async def do(made: Coordinators) -> None:
        for _ in range(5):
            with pytest.raises(Problem) as caught:
                await made.ask("value", dispatch_id="0" * 32, node=None)
            assert caught.value.status == 502
        assert made.started <= 3

    run(str(tmp_path / "no store"), do)


def test_one_that_dies_under_its_requests_fails_them_and_those_alone(place: tuple[str, dict[str, str]]) -> None:
    store, ids = place

    async def do(made: Coordinators) -> None:
        await made.warm_up()
        asking = asyncio.create_task(made.ask("redispatch", parent=ids["thinking"], **body(seconds=30)))
        await asyncio.sleep(0.3)
        os.kill(made.alive[0].pid, 9)
        with pytest.raises(Problem) as caught:
            await asking
        assert (caught.value.status, caught.value.kind) == (502, "CoordinatorLost")
        assert (await made.ask("plan", parent=ids["flow"], **body(C=1.0)))["misses"] == 3

    run(store, do)
