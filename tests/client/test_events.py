"""Events come once each and in order, over as many connections as that takes."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import aclosing
from typing import Any

import pytest
from tests.client.conftest import DROPPED, Request, Said, Script

from cas_run.client import AsyncClient, Client, NotFound, Unreachable, parsed_events

ID = "9f3a" * 8
Told = list[tuple[str, dict[str, Any]]]
PLANNED: tuple[str, dict[str, Any]] = ("planned", {"total": 2, "hits": 1})
NODES: Told = [("node", {"index": i, "label": f"leaf#{i}", "status": "ran"}) for i in range(3)]
FINISHED: tuple[str, dict[str, Any]] = ("finished", {"dispatch_id": ID, "status": "COMPLETED"})
ALL: Told = [PLANNED, *NODES, FINISHED]


def stream(events: Told, first: int = 0, epoch: str = "a") -> Said:
    text = "".join(
        f"id: {epoch}.{i}\nevent: {kind}\ndata: {json.dumps(data)}\n\n" for i, (kind, data) in enumerate(events, first)
    )
    return Said(200, f": hello\n\n{text}".encode(), {"Content-Type": "text/event-stream"})


def told(events: Any) -> Told:
    return [(event.kind, event.data) for event in events]


def test_lines_become_events_as_the_standard_has_it() -> None:
    text = (
        b': comment\n\nevent: a\r\ndata: {\r\ndata: "x": 1}\r\nid: 7\r\n\r\n'
        b'data:{}\n\ndata: no json\n\nevent: only\n\ndata: {}\nevent: b\nretry: 5\nunknown\n\ndata: {"cut": true}\n'
    )
    found = list(parsed_events(iter(text.splitlines(keepends=True))))
    assert [(event.kind, event.data, event.id) for event in found] == [
        ("a", {"x": 1}, "7"),
        ("message", {}, "7"),
        ("b", {}, "7"),
    ]


def test_a_stream_that_breaks_goes_on_where_it_was(script: Script) -> None:
    whole = stream(ALL).raw
    middle = whole.index(b"leaf#1")  # in the middle of an event, which counts as not told
    server = script(DROPPED, Said(200, whole, cut=middle), Said(503, b""), stream(ALL[2:], 2))
    events = Client(server.url).events(ID)
    assert told(events) == ALL
    assert [request.headers.get("Last-Event-ID") for request in server.requests] == [None, None, "a.1", "a.1"]
    assert events.last_id == "a.4"


def test_a_server_that_was_started_again_tells_nothing_twice(script: Script) -> None:
    server = script(stream(ALL[:3]), stream(ALL, epoch="b"))
    assert told(Client(server.url).events(ID)) == ALL
    assert server.requests[1].headers["Last-Event-ID"] == "a.2"


def test_one_may_go_on_after_an_event_that_one_has_seen(script: Script) -> None:
    server = script(stream(ALL[3:], 3))
    assert told(Client(server.url).events(ID, last_event_id="a.2")) == ALL[3:]
    assert server.requests[0].headers["Last-Event-ID"] == "a.2"


def test_a_stream_that_never_ends_well_is_given_up(script: Script) -> None:
    server = script(stream(ALL[:1]), stream([]))
    with pytest.raises(Unreachable, match="ended the stream"):
        list(Client(server.url, retries=3, patience=0).events(ID))
    assert len(server.requests) == 4
    with pytest.raises(NotFound):
        list(Client(script(Said(404)).url).events(ID))


def test_another_thread_may_close_a_stream(script: Script) -> None:
    held = threading.Event()

    def answer(_: Request) -> Said:
        held.wait(20)
        return stream(ALL)

    server = script(answer)
    events = Client(server.url).events(ID)
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.extend(events))
    reader.start()
    while not server.requests:
        held.wait(0.01)
    events.close()
    reader.join(10)
    held.set()
    assert not reader.is_alive()
    assert found == []


# --- the same with await ---


def test_it_all_can_be_awaited(script: Script) -> None:
    def answer(request: Request) -> Said:
        if request.path.endswith("/events"):
            return stream(ALL)
        if request.path.endswith("/result"):
            return Said(200, {"value": 7})
        if request.path.endswith("/cancel"):
            return Said(200, {"dispatch_id": ID, "cancelled": False})
        if request.path.endswith("/lattices"):
            return Said(200, {"lattices": [{"name": "svm"}]})
        if request.path.startswith("/api/v1/dispatches?"):
            return Said(200, {"dispatches": [{"dispatch_id": ID}], "next_cursor": None})
        asked = sum(path.startswith("GET") for path in server.paths())
        return Said(200, {"dispatch_id": ID, "status": "COMPLETED" if asked > 3 else "RUNNING", "nodes": []})

    async def story() -> None:
        async with AsyncClient(server.url, "secret") as client:
            started = await client.redispatch(ID, inputs={"C": 1.5})
            assert started.status == "RUNNING"
            assert await (await started.wait()).result() == 7
            assert [(event.kind, event.data) async for event in started.events()] == ALL
            assert [one["dispatch_id"] async for one in client.list()] == [ID]
            assert await client.lattices() == [{"name": "svm"}]
            assert await started.cancel() is False

    server = script(answer)
    asyncio.run(story())
    assert server.requests[0].headers["Authorization"] == "Bearer secret"


def test_many_wait_at_once_while_streams_are_open(script: Script) -> None:
    over, held = threading.Event(), threading.Event()

    def answer(request: Request) -> Said:
        if request.path.endswith("/events"):
            held.wait(30)
            return stream(ALL)
        return Said(200, {"dispatch_id": ID, "status": "COMPLETED" if over.is_set() else "RUNNING"})

    async def first_of(client: AsyncClient) -> str:
        async with aclosing(client.events(ID)) as events:  # type: ignore[type-var]
            return (await anext(events)).kind

    async def story() -> None:
        async with AsyncClient(server.url) as client:
            streams = [asyncio.create_task(first_of(client)) for _ in range(30)]  # more than it has threads
            waits = [asyncio.create_task((await client.dispatch(ID)).wait(60)) for _ in range(30)]
            assert (await client.dispatch(ID)).status == "RUNNING"
            over.set()
            assert {each.status for each in await asyncio.gather(*waits)} == {"COMPLETED"}
            held.set()
            assert await asyncio.gather(*streams) == ["planned"] * 30

    server = script(answer)
    asyncio.run(story())
