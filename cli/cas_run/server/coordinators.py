"""The coordinator processes, as the server has them: started on demand, given requests, replaced when they die."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from cas_run.server.jsonwork import trusted
from cas_run.server.limits import PENDING, PREPARE_S
from cas_run.server.pipes import LENGTH, packed
from cas_run.server.problems import Field, Problem

OnEvent = Callable[[str, str, dict[str, Any]], None]
OnLoss = Callable[[Sequence[str]], None]

# Not `-m`: that would put the folder in which the server was started before all that can be imported.
_CODE = "import sys; sys.path[:] = [p for p in sys.path if p]; from cas_run.server.coordinator import main; main()"
_BUSY = 4  # requests under way in each, before another is started
_SOON_S = 1.0  # one that lives no longer than this did not come up
_PAUSE_S = 5.0  # after some that did not come up


class Lost(Exception):
    """The process ended before it answered."""


class Coordinator:
    """One process and the requests that it has under way."""

    def __init__(self, process: subprocess.Popen[bytes], on_event: OnEvent, on_loss: OnLoss) -> None:
        # Not asyncio's own: those are killed with the loop, and what runs is to outlive it.
        self._process = process
        self._on_event, self._on_loss = on_event, on_loss
        self._requests: asyncio.StreamWriter | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self.born = time.monotonic()
        self.ready = asyncio.Event()
        self.running: set[str] = set()  # dispatches
        self.stuck = False  # a request took too long: it is given no other
        self.alive = True
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls, arguments: Sequence[str], environment: Mapping[str, str], on_event: OnEvent, on_loss: OnLoss
    ) -> Coordinator:
        """A new process. It is in a session of its own: Ctrl-C in a terminal is for the server alone."""
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - in some milliseconds; ourselves, over our store
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
        made = cls(process, on_event, on_loss)
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, process.stdin)
        made._requests = asyncio.StreamWriter(transport, protocol, None, loop)
        return made

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def pending(self) -> int:
        return len(self._answers)

    async def ask(self, op: str, arguments: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """What came of a request. Raises Lost, TimeoutError, Problem."""
        self._number += 1
        number, answer = self._number, asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            assert self._requests is not None  # noqa: S101 - see `start`
            with suppress(ConnectionError):  # then reading comes to its end, and tells
                self._requests.write(packed({"n": number, "op": op, "with": arguments}))
                await self._requests.drain()
            found: dict[str, Any] = await asyncio.wait_for(answer, seconds)
        except asyncio.TimeoutError:
            self.stuck = True
            self.retire()
            raise
        finally:
            self._answers.pop(number, None)
        return found

    def retire(self) -> None:
        """End one that hangs, once nothing that runs is lost with it."""
        if self.stuck and not self.running and self.alive:
            self.kill()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    def close(self) -> None:
        """No more requests: it ends when what runs is done."""
        if self._requests is not None:
            self._requests.close()

    async def ended(self) -> None:
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        stream = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(stream)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, self._process.stdout)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (size,) = LENGTH.unpack(await stream.readexactly(LENGTH.size))
                self._take(trusted(await stream.readexactly(size)))
        self.alive = False
        self.close()
        status = await asyncio.to_thread(self._process.wait)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Lost(f"it ended with status {status}"))
        lost, self.running = sorted(self.running), set()
        self._on_loss(lost)

    def _take(self, message: Mapping[str, Any]) -> None:
        if "event" in message:
            if message["event"] == "Finished":
                self.running.discard(message["of"])
                self.retire()
            elif message["event"] == "Planned":
                self.running.add(message["of"])
            self._on_event(message["of"], message["event"], message["data"])
        elif "ready" in message:
            self.ready.set()
        elif (answer := self._answers.get(message["n"])) is not None and not answer.done():
            if "ok" in message:
                answer.set_result(message["ok"])
            else:
                answer.set_exception(_problem(message["error"]))


class Coordinators:
    """At most so many of them; requests go to the one with least to do."""

    def __init__(
        self,
        store: str,
        executor: str,
        most: int,
        environment: Mapping[str, str],
        on_event: OnEvent,
        prepare_s: float = PREPARE_S,
    ) -> None:
        self._arguments = (sys.executable, "-c", _CODE, store, executor)
        self._most = most
        self._environment = {**os.environ, **environment}
        self._on_event = on_event
        self._prepare_s = prepare_s
        self._all: list[Coordinator] = []
        self._starting = asyncio.Lock()
        self._early_deaths = 0
        self._not_before = 0.0
        self.started = 0
        self.on_loss: OnLoss = lambda _: None

    async def warm_up(self) -> None:
        """Have one ready before the first request."""
        await (await self._chosen()).ready.wait()

    async def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """What came of a request. Raises Problem."""
        one = await self._chosen()
        try:
            return await one.ask(op, arguments, self._prepare_s)
        except Lost as lost:
            message = f"the process that did this died: {lost}\n  -> try again; its log may tell why"
            raise Problem(502, "CoordinatorLost", message, headers={"Retry-After": "1"}) from None
        except asyncio.TimeoutError:
            advice = "see whether the lattice itself waits for something"
            message = f"it was not prepared within {self._prepare_s:g} s\n  -> {advice}"
            raise Problem(504, "TooSlow", message) from None

    @property
    def alive(self) -> list[Coordinator]:
        return [one for one in self._all if one.alive]

    async def _chosen(self) -> Coordinator:
        best, is_needed = self._best()
        if best is None or is_needed:
            async with self._starting:
                best, is_needed = self._best()  # somebody may have started one meanwhile
                if best is None or is_needed:
                    best = await self._start()
        if best.pending >= PENDING:
            message = f"{best.pending} requests wait already\n  -> try again in a moment"
            raise Problem(429, "TooMany", message, headers={"Retry-After": "1"})
        return best

    def _best(self) -> tuple[Coordinator | None, bool]:
        """The one with least to do, and whether another is called for."""
        able = [one for one in self._all if one.alive and not one.stuck]
        best = min(able, key=lambda one: one.pending, default=None)
        return best, best is not None and best.pending >= _BUSY and len(able) < self._most

    async def _start(self) -> Coordinator:
        if time.monotonic() < self._not_before:
            message = "the processes that do this do not come up\n  -> see what the server says on stderr"
            raise Problem(502, "CoordinatorLost", message, headers={"Retry-After": str(int(_PAUSE_S))})
        made = await Coordinator.start(
            self._arguments, self._environment, self._on_event, lambda dispatches: self._lost(made, dispatches)
        )
        self._all.append(made)
        self.started += 1
        return made

    def _lost(self, one: Coordinator, dispatches: Sequence[str]) -> None:
        self._all.remove(one)
        if one.ready.is_set() or time.monotonic() - one.born > _SOON_S:
            self._early_deaths = 0
        else:
            self._early_deaths += 1
            if self._early_deaths >= 3:
                self._early_deaths, self._not_before = 0, time.monotonic() + _PAUSE_S
        one.ready.set()  # nobody is to wait for it
        self.on_loss(dispatches)

    async def drain(self, grace_s: float) -> list[int]:
        """Let them finish; the pids of those that still have something to do after the grace, and go on."""
        for one in self._all:
            one.close()
        waiting = [asyncio.create_task(one.ended()) for one in self._all]
        if waiting:
            await asyncio.wait(waiting, timeout=grace_s)
        return [one.pid for one in self._all if one.alive]


def _problem(error: Mapping[str, Any]) -> Problem:
    fields = [Field(one["name"], one["message"]) for one in error.get("fields", ())]
    more = {name: value for name, value in error.items() if name not in ("status", "kind", "message", "fields")}
    return Problem(error["status"], error["kind"], error["message"], fields, **more)
