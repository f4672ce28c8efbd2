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

_PATCHES = "the script has put something into a package that it uses"


def runners_of(store: Store, prepared: Prepared, executor: ExecutorChoice) -> Callable[[Row], executors.Runner]:
    """The runner of an electron, in one dispatch."""
    made: dict[Any, executors.Runner] = {}
    staying: dict[Digest, executors.Runner | None] = {}
    default = setting("executor")
    lattice_choice = prepared.manifest.lattice.executor

    def named(name: str | None) -> str | Executor | None:
        # A live executor recorded by another process is not here: the default stands in.
        return prepared.executors.get(name) if name is not None and name.startswith("live:") else name

    def runner_for(row: Row) -> executors.Runner:
        choice = named(row.executor) or executor or named(lattice_choice) or default
        if row.timeout is not None and choice in (None, "inline"):
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
            fault = "" if live is None else _PATCHES if live.needs_program else _fault_of(store, row.capsule)
            staying[row.capsule] = executors.Staying(fault) if fault else None
        return staying[row.capsule]

    return runner_for


def _fault_of(store: Store, code: Digest) -> str:
    try:
        return capsule.header(store.get_blob(code)).fault
    except StoreError:
        return ""  # whoever needs it finds out
