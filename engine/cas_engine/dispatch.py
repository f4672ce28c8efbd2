"""What users call: dispatch, redispatch, get_result, cancel."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.budget import budget
from cas_engine.bookkeeping.ledger import Status
from cas_engine.bookkeeping.location import StoreChoice, open_store
from cas_engine.bookkeeping.settings import number, setting
from cas_engine.capsules.live import refuse_while_importing
from cas_engine.errors import BadOption
from cas_engine.evaluating import running, underway
from cas_engine.evaluating.result import Result, result_of
from cas_engine.graphs.options import ExecutorChoice, checked_executor, checked_share
from cas_engine.plans.policy import checked_policy
from cas_engine.preparing.preparation import Answered, Prepared, prepare, prepare_again
from cas_store.errors import BlobMissing, RowMissing
from cas_store.store import Store

if TYPE_CHECKING:
    from cas_engine.evaluating.events import Observer
    from cas_engine.graphs.lattice import Lattice

_POLL_S = (0.01, 0.25)  # how often another process's dispatch is looked at: at first, and at last


def dispatch(
    lattice: Lattice[..., Any] | Callable[..., Any],
    *,
    store: StoreChoice = None,
    executor: ExecutorChoice = None,
    observer: Observer | None = None,
    audit: float | str | None = None,
    reuse_previous_results: bool = True,
) -> Callable[..., str]:
    """A function that takes the lattice's inputs, starts its evaluation in the background and returns its id.

    store     a store or a path; default: CAS_RUN_STORE, else the user's data folder
    executor  "thread" (default), "process", "inline" or a `concurrent.futures.Executor`, where electrons do not say so
              themselves
    observer  called with each event, from the thread that coordinates
    audit     share of the hits (0 to 1, or "1%") that is run again and compared; default: CAS_RUN_AUDIT, else
              that of the config file, else none
    reuse_previous_results  False: every electron runs, and what comes out different is reported

    Inputs that do not bind, and values without a stable content, raise before anything runs; what the lattice function
    itself raises comes through.
    """
    made = checked_lattice(lattice)
    _check_executor(executor, "dispatch")
    share = _share(audit)
    policy = checked_policy(None, reuse_previous_results)

    def start(*args: Any, **kwargs: Any) -> str:
        refuse_while_importing()
        opened = open_store(store)
        return _started(opened, lambda: prepare(opened, made, args, kwargs, policy), executor, observer, share)

    return start


def dispatch_sync(
    lattice: Lattice[..., Any] | Callable[..., Any],
    *,
    store: StoreChoice = None,
    executor: ExecutorChoice = None,
    observer: Observer | None = None,
    audit: float | str | None = None,
    reuse_previous_results: bool = True,
) -> Callable[..., Result]:
    """As `dispatch`, but waits, and returns the Result."""
    start = dispatch(
        lattice,
        store=store,
        executor=executor,
        observer=observer,
        audit=audit,
        reuse_previous_results=reuse_previous_results,
    )

    def start_and_wait(*args: Any, **kwargs: Any) -> Result:
        return get_result(start(*args, **kwargs), wait=True, store=store)

    return start_and_wait


def redispatch(
    dispatch_id: str,
    replace_electrons: Mapping[str, Callable[..., Any]] | None = None,
    reuse_previous_results: bool = True,
    recompute: str | list[str] | None = None,
    *,
    store: StoreChoice = None,
    executor: ExecutorChoice = None,
    observer: Observer | None = None,
    audit: float | str | None = None,
    noting: running.Noting | None = None,
) -> Callable[..., str]:
    """A function that evaluates a recorded dispatch again, with new inputs if it is given any, and returns a new id.

    Needs only the store and the id: the code that runs is the code that was recorded. What is unchanged is a hit.

    dispatch_id             an id, any unique beginning of one, `@last` or `@last~1`
    replace_electrons       names to the callables that stand in, bound to the recorded calls before anything runs;
                            they stay in force in what is redispatched from this
    reuse_previous_results  False: every electron runs
    recompute               "all"; "stochastic": the stochastic ones, then what hangs on their new samples;
                            or a list of names: those, and what then changed
    noting                  rows that are written in one with the new dispatch, by its id

    Inputs left out keep the values of the dispatch. Before anything runs, raises UnknownDispatch, UnknownElectron,
    AmbiguousElectron, BindError, BadOption.
    """
    policy = checked_policy(recompute, reuse_previous_results)
    _check_executor(executor, "redispatch")
    share = _share(audit)
    opened = open_store(store)
    parent = ledger.resolve(opened, dispatch_id)

    def start(*args: Any, **kwargs: Any) -> str:
        refuse_while_importing()

        def prepared() -> Prepared | Answered:
            return prepare_again(opened, ledger.get(opened, parent), replace_electrons, policy, args, kwargs)

        return _started(opened, prepared, executor, observer, share, noting)

    return start


def get_result(
    dispatch_id: str, wait: bool = False, *, store: StoreChoice = None, timeout: float | None = None
) -> Result:
    """The result object of a dispatch, whichever process runs it; with `wait`, once it is over.

    timeout  seconds to wait at most

    Raises UnknownDispatch; TimeoutError; StoreError where the store could not take what came out. Interrupted by Ctrl-C
    while it waits, it cancels the dispatch if that runs in this process.
    """
    opened = open_store(store)
    full = ledger.resolve(opened, dispatch_id)
    if wait:
        deadline = None if timeout is None else time.monotonic() + timeout
        here = underway.here(full)
        if here is not None:
            _wait_here(here, deadline, timeout)
        else:
            _wait_elsewhere(opened, full, deadline, timeout)
    return result_of(opened, full)


def cancel(dispatch_id: str, *, store: StoreChoice = None) -> bool:
    """Ask a dispatch to stop, whichever process runs it; False if it was over already.

    What had finished stays, and a redispatch takes up from there. Calls in worker processes are stopped; one in a
    thread cannot be, and its result is not waited for.
    """
    opened = open_store(store)
    full = ledger.resolve(opened, dispatch_id)
    here = underway.here(full)
    if here is not None:
        here.cancel.set()
        return True
    if ledger.get(opened, full).status is not Status.RUNNING:
        return False
    opened.set_signal(underway.cancel_signal(full), b"1")
    return True


def checked_lattice(lattice: object) -> Lattice[..., Any]:
    """The lattice, or BadOption saying what to decorate."""
    from cas_engine.graphs.electron import Electron
    from cas_engine.graphs.lattice import Lattice

    if isinstance(lattice, Lattice):
        return lattice
    if isinstance(lattice, Electron):
        if isinstance(lattice.fn, Lattice):
            return lattice.fn
        raise BadOption(
            f"`{lattice.name}` is an electron, not a lattice\n  -> call it in a function decorated with @ct.lattice"
        )
    name = getattr(lattice, "__name__", repr(lattice))
    raise BadOption(f"`{name}` is not a lattice\n  -> decorate it with @ct.lattice")


def _started(
    store: Store,
    prepared: Callable[[], Prepared | Answered],
    executor: ExecutorChoice,
    observer: Observer | None,
    audit: float,
    noting: running.Noting | None = None,
) -> str:
    limit = budget()
    while True:
        ready = prepared()
        try:
            return running.start(store, ready, executor, observer, audit, limit, noting)
        except (BlobMissing, RowMissing):
            # What answers it was removed, or evicted, since it was looked at: then it does not answer it any more.
            if isinstance(ready, Prepared):
                raise


def _check_executor(executor: ExecutorChoice, who: str) -> None:
    checked_executor(executor, who)
    checked_executor(setting("executor"), "the setting `executor`")
    number("workers")


def _share(audit: float | str | None) -> float:
    if audit is not None:
        return checked_share(audit, "audit")
    return checked_share(setting("audit") or 0.0, "the setting audit")


def _wait_here(here: underway.Running, deadline: float | None, timeout: float | None) -> None:
    from cas_engine.executors import shared_threads

    try:
        with shared_threads().standing_aside():
            while not here.over.wait(0.2 if deadline is None else max(0.0, min(0.2, deadline - time.monotonic()))):
                if deadline is not None and time.monotonic() >= deadline:
                    raise _late(here.entry.id, timeout)
    except KeyboardInterrupt:
        here.cancel.set()
        here.over.wait(5)
        raise
    if here.problem is not None:
        raise here.problem


def _wait_elsewhere(store: Store, dispatch_id: str, deadline: float | None, timeout: float | None) -> None:
    pause, longest = _POLL_S
    while ledger.get(store, dispatch_id).status is Status.RUNNING:
        from cas_engine.evaluating import owed

        if (problem := owed.problem_of(dispatch_id)) is not None:
            raise problem
        if deadline is not None and time.monotonic() >= deadline:
            raise _late(dispatch_id, timeout)
        time.sleep(pause)
        pause = min(longest, pause * 1.5)


def _late(dispatch_id: str, timeout: float | None) -> TimeoutError:
    return TimeoutError(f"dispatch {dispatch_id[:12]} was not over after {timeout:g} s\n  -> it goes on; ask again")
