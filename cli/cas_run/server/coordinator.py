"""The process that does what needs code or values: binds inputs, traces recorded lattices, coordinates dispatches.

It takes requests from the server through a pipe and answers through another. When the pipe ends, the server being gone
or having no more work for it, what runs is finished first.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import lru_cache
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO

from cas_run.backend import Call, Edits, How, Local
from cas_run.server.pipes import packed, received
from cas_run.server.problems import Problem, problem_of

if TYPE_CHECKING:
    from cas_engine.evaluating.events import Event
    from cas_run.arguments import Input

_THREADS = 16  # requests at a time: most of them wait for the disk
_AT_ONCE = 1 << 20  # bytes of messages in one write


class Outbox:
    """Sends messages in their order, those of all threads."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._queue: SimpleQueue[bytes] = SimpleQueue()
        threading.Thread(target=self._send, name="cas-run-outbox", daemon=True).start()

    def put(self, message: object) -> None:
        self._queue.put(packed(message))

    def _send(self) -> None:
        try:
            while True:
                some = self._queue.get()
                while not self._queue.empty() and len(some) < _AT_ONCE:
                    some += self._queue.get()
                self._stream.write(some)
                self._stream.flush()
        except (BrokenPipeError, ValueError):
            return  # the server is gone: what runs goes on, and nobody is told


class Coordinator:
    """Answers requests over one store."""

    def __init__(self, backend: Local, executor: str | None, outbox: Outbox) -> None:
        self._backend, self._store = backend, backend.store
        self._how = How(executor=executor)
        self._outbox = outbox
        self._ops: Mapping[str, Callable[..., dict[str, Any]]] = {
            "redispatch": self._redispatch,
            "plan": self._plan,
            "value": self._value,
            "explain": self._explain,
            "diff": self._diff,
        }

    def answer(self, request: Mapping[str, Any]) -> None:
        """Do what is asked and send what came of it."""
        number = request["n"]
        try:
            self._outbox.put({"n": number, "ok": self._ops[request["op"]](**request["with"])})
        except BaseException as error:  # noqa: BLE001 - a user's lattice may raise anything, and the server waits
            self._outbox.put({"n": number, "error": _told(error)})

    def _redispatch(
        self, parent: str, body: Mapping[str, Any], uploads: Mapping[str, Any], note: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        from cas_engine.evaluating import underway
        from cas_run.server.remembered import Note
        from cas_store.errors import RowChanged

        edits, call = self._edits(body, uploads), self._call(parent, body, uploads)
        noting = None if note is None else Note(**note).writes
        try:
            made = self._backend.redispatch(parent, edits, call, self._how, self._observe, noting)
        except RowChanged:
            return {"dispatch_id": None, "over": True}
        return {"dispatch_id": made, "over": underway.here(made) is None}

    def _plan(self, parent: str, body: Mapping[str, Any], uploads: Mapping[str, Any]) -> dict[str, Any]:
        return self._backend.plan(parent, self._edits(body, uploads), self._call(parent, body, uploads)).to_json()

    def _value(self, dispatch_id: str, node: str | None) -> dict[str, Any]:
        from cas_run.server.values import shown

        found = self._backend.result(dispatch_id)
        return shown(lambda: found.result if node is None else found.node(node).result)

    def _explain(self, dispatch_id: str, node: str | None) -> dict[str, Any]:
        return self._backend.explain(dispatch_id, node).to_json()

    def _diff(self, one: str, other: str) -> dict[str, Any]:
        return self._backend.diff(one, other).to_json()

    # What a request means ---------------------------------------------------------------------------------

    def _edits(self, body: Mapping[str, Any], uploads: Mapping[str, Any]) -> Edits:
        from cas_run.server.values import Upload, code_of

        replace: dict[str, Any] = {}
        for name, what in body.get("replace_electrons", {}).items():
            # The server has found out by now which code is meant, and whether the caller may bring its own.
            if "upload" in what:
                replace[name] = code_of(Upload(**uploads[what["upload"]]))
            else:
                from cas_engine.bookkeeping.known import known_in

                replace[name] = known_in(self._store, what["dispatch_id"], what["name"], what["fingerprint"])
        return Edits(replace, body.get("reuse_previous_results", True), body.get("recompute"))

    def _call(self, parent: str, body: Mapping[str, Any], uploads: Mapping[str, Any]) -> Call:
        from cas_run.server.values import Upload, call_of

        if not body.get("inputs"):
            return Call()
        from cas_engine.bookkeeping import ledger
        from cas_engine.bookkeeping.answers import load_manifest

        row = load_manifest(self._store, ledger.get(self._store, parent)).lattice
        files = {name: Upload(**one) for name, one in uploads.items()}
        return Call(*call_of(self._inputs(row.capsule), body["inputs"], files, row.name))

    @lru_cache(maxsize=64)  # noqa: B019 - one of these lives as long as the process
    def _inputs(self, code: bytes) -> tuple[Input, ...]:
        from cas_engine.capsules import capsule
        from cas_engine.preparing.preparation import as_lattice
        from cas_run.arguments import inputs_of

        return inputs_of(as_lattice(capsule.load(self._store.get_blob(code))).fn)

    def _observe(self, event: Event) -> None:
        told = asdict(event)
        self._outbox.put({"event": type(event).__name__, "of": told.pop("dispatch_id"), "data": told})


def _told(error: BaseException) -> dict[str, Any]:
    """An error for the server: as the answer that it is to give."""
    from cas_store.errors import CasRunError

    if isinstance(error, CasRunError):
        error = problem_of(error)
    if not isinstance(error, Problem):
        from cas_run.tracebacks import is_users, users_traceback

        if isinstance(error, Exception) and not is_users(error):
            traceback.print_exception(error)
            return {"status": 500, "kind": "InternalError", "message": f"{type(error).__name__}: {error}", "fields": []}
        said = users_traceback(error) if isinstance(error, Exception) else repr(error)
        error = Problem(422, "LatticeFailed", f"the recorded lattice fails with these inputs\n{said}")
    return {
        "status": error.status,
        "kind": error.kind,
        "message": error.message,
        "fields": [field.to_json() for field in error.fields],
        "exit_status": error.exit_status,
        **error.more,
    }


def main() -> None:
    """Serve the pipes that this process was started with; its arguments are the store and the executor."""
    path, executor = sys.argv[1:3]
    # Ctrl-C and a service manager's SIGTERM reach the whole group: the server decides what becomes of the work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    requests, answers = _own_pipes()
    outbox = Outbox(answers)
    coordinator = Coordinator(Local(path, create=False), executor or None, outbox)
    # What a first request would otherwise wait for.
    from cas_engine import dispatch, planning  # noqa: F401
    from cas_engine.evaluating import evaluation, sublattice  # noqa: F401
    from cas_run.server import values  # noqa: F401

    outbox.put({"ready": os.getpid()})
    waiting: SimpleQueue[Mapping[str, Any]] = SimpleQueue()

    def serve() -> None:
        while True:
            coordinator.answer(waiting.get())

    for number in range(_THREADS):
        threading.Thread(target=serve, name=f"cas-run-request-{number}", daemon=True).start()
    while (request := received(requests)) is not None:
        waiting.put(request)
    # The interpreter waits for the dispatches that run, and only then ends; not for requests that nobody waits for.


def _own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The two pipes, out of reach of the user's code: what that prints goes to stderr."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers
