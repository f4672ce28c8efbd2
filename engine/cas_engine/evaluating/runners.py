"""Who makes the calls of each electron: what it says itself, else the dispatch, else the lattice, else what is set."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from cas_engine import executors
from cas_engine.bookkeeping.settings import setting
from cas_engine.capsules import capsule
from cas_engine.graphs.graph import Row
from cas_engine.graphs.options import ExecutorChoice
from cas_engine.preparing.preparation import Prepared
from cas_store.digest import Digest
from cas_store.errors import StoreError
from cas_store.store import Store

_IN_THIS_PROCESS = (None, "thread", "inline")


def runners_of(store: Store, prepared: Prepared, executor: ExecutorChoice) -> Callable[[Row], executors.Runner]:
    """The runner of an electron, in one dispatch."""
    made: dict[Any, executors.Runner] = {}
    staying: dict[Digest, executors.Runner | None] = {}
    leaving: dict[Digest, bool] = {}
    default = setting("executor")
    lattice_choice = prepared.manifest.lattice.executor

    def named(name: str | None) -> str | Executor | None:
        # A live executor recorded by another process is not here: the default stands in.
        return prepared.executors.get(name) if name is not None and name.startswith("live:") else name

    def runner_for(row: Row) -> executors.Runner:
        choice = named(row.executor) or executor or named(lattice_choice) or default
        if choice in _IN_THIS_PROCESS and must_leave(row):
            choice = "process"
        elif row.timeout is not None and choice in (None, "inline"):
            # A call in this very thread could not be watched, and one in any thread not be stopped.
            choice = "thread" if choice == "inline" else "process"
        if choice == "process" and (stays := must_stay(row)) is not None:
            return stays
        if choice not in made:
            made[choice] = executors.runner_for(choice)
        return made[choice]

    def must_stay(row: Row) -> executors.Runner | None:
        """What runs a function that is here, and needs what cannot be recorded."""
        if row.capsule not in staying:
            live = prepared.recorder.live.get(row.capsule)
            head = None if live is None else _header_of(store, row.capsule)
            fault = "" if head is None else head.fault
            staying[row.capsule] = executors.Staying(fault) if fault else None
        return staying[row.capsule]

    def must_leave(row: Row) -> bool:
        """Whether a function needs what other modules put into packages, and have not put there in this process.

        It is put back around the call, which nothing else in this process is to meet.
        """
        if row.capsule not in leaving:
            live = prepared.recorder.live.get(row.capsule)
            head = _header_of(store, row.capsule) if live is None else None
            leaving[row.capsule] = not live.meets_what_it_met if live is not None else bool(head and head.brought)
        return leaving[row.capsule]

    return runner_for


def _header_of(store: Store, code: Digest) -> capsule.CapsuleHeader | None:
    try:
        return capsule.header(store.get_blob(code))
    except StoreError:
        return None  # whoever needs it finds out
