"""The calls that a store here or a server elsewhere may answer: the engine's own, and the same over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, overload

from cas_engine.errors import BadOption, NotFound
from cas_run.destination import server_of
from cas_run.ids import is_full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cas_engine.bookkeeping.location import StoreChoice
    from cas_engine.calling.printed import Printed
    from cas_engine.evaluating.events import Observer
    from cas_engine.evaluating.result import Result
    from cas_engine.graphs.lattice import Lattice
    from cas_engine.graphs.options import ExecutorChoice
    from cas_engine.plans.compared import Diff
    from cas_engine.plans.explained import Explanation
    from cas_engine.plans.planned import Plan
    from cas_run.elsewhere import RemoteResult
    from cas_run.remote import Remote

    Replacements = Mapping[str, Callable[..., Any] | str]


def redispatch(
    dispatch_id: str,
    replace_electrons: Replacements | None = None,
    reuse_previous_results: bool = True,
    recompute: str | list[str] | None = None,
    *,
    store: StoreChoice = None,
    server: str | None = None,
    token: str | None = None,
    executor: ExecutorChoice = None,
    observer: Observer | None = None,
    audit: float | str | None = None,
) -> Callable[..., str]:
    """A function that evaluates a recorded dispatch again, with new inputs if it is given any, and returns a new id.

    Needs only the store, or a server, and the id: the code that runs is the code that was recorded. What is unchanged
    is a hit.

    dispatch_id             an id, any unique beginning of one, `@last` or `@last~1`
    replace_electrons       names to the callables that stand in, bound to the recorded calls before anything runs;
                            they stay in force in what is redispatched from this. Over a server: to the name or
                            fingerprint of an electron that it knows, or to a function, where it takes code
    reuse_previous_results  False: every electron runs
    recompute               "all"; "stochastic": the stochastic ones, then what hangs on their new samples;
                            or a list of names: those, and what then changed
    store, server           where the dispatch is: a store or its path, or the URL of a `cas-run serve`; default:
                            CAS_RUN_SERVER, else CAS_RUN_STORE, else the config file, else the user's data folder
    token                   for the server; default: CAS_RUN_TOKEN, else, on this machine, the one that it wrote
    executor, observer, audit   as of `dispatch`; of a store only

    Inputs left out keep the values of the dispatch. Before anything runs, raises UnknownDispatch, UnknownElectron,
    AmbiguousElectron, BindError, BadOption; of a server a NotFound, UsageError or StoreError that says the same.
    """
    url = _server(server, store, dispatch_id, token)
    if url is None:
        from cas_engine import dispatch

        return dispatch.redispatch(
            dispatch_id,
            cast("Any", replace_electrons),  # a text in it is refused, with what to give
            reuse_previous_results,
            recompute,
            store=store,
            executor=executor,
            observer=observer,
            audit=audit,
        )
    if executor is not None or observer is not None or audit is not None:
        raise BadOption("executor, observer and audit are of a store\n  -> over a server leave them out")
    from cas_run.backend import Call, Edits, How

    remote = _remote(url, token)
    edits = Edits(dict(replace_electrons or {}), reuse_previous_results, recompute)
    return lambda *args, **kwargs: remote.redispatch(dispatch_id, edits, Call(args, kwargs), How(), None)


def plan(
    what: str | Lattice[..., Any],
    replace_electrons: Replacements | None = None,
    reuse_previous_results: bool = True,
    recompute: str | list[str] | None = None,
    *,
    store: StoreChoice = None,
    server: str | None = None,
    token: str | None = None,
) -> Callable[..., Plan]:
    """A function that takes inputs as `redispatch(...)` or `dispatch(...)` would, and returns the Plan; runs nothing.

    `what` is a dispatch's id or, over a store, a lattice. Raises what `redispatch` raises.
    """
    if server and not isinstance(what, str):
        raise BadOption("a server plans what it has recorded, and this is a lattice\n  -> give the id of a dispatch")
    url = _server(server, store, what, token) if isinstance(what, str) else None
    if url is None:
        from cas_engine import planning

        return planning.plan(
            what,
            cast("Any", replace_electrons),
            reuse_previous_results,
            recompute,
            store=store,
        )
    from cas_run.backend import Call, Edits

    remote, text = _remote(url, token), str(what)
    edits = Edits(dict(replace_electrons or {}), reuse_previous_results, recompute)
    return lambda *args, **kwargs: remote.plan(text, edits, Call(args, kwargs))


@overload
def get_result(
    dispatch_id: str, wait: bool = False, *, store: StoreChoice = None, timeout: float | None = None
) -> Result: ...
@overload
def get_result(
    dispatch_id: str, wait: bool = False, *, server: str, token: str | None = None, timeout: float | None = None
) -> RemoteResult: ...
def get_result(
    dispatch_id: str,
    wait: bool = False,
    *,
    store: StoreChoice = None,
    server: str | None = None,
    token: str | None = None,
    timeout: float | None = None,
) -> Result | RemoteResult:
    """The result object of a dispatch, whichever process runs it; with `wait`, once it is over.

    timeout               seconds to wait at most
    store, server, token  as of `redispatch`. Over a server values are those that JSON holds

    Raises UnknownDispatch; TimeoutError; StoreError where the store could not take what came out. Interrupted by Ctrl-C
    while it waits, it cancels the dispatch if that runs in this process.
    """
    url = _server(server, store, dispatch_id, token)
    if url is None:
        from cas_engine import dispatch

        return dispatch.get_result(dispatch_id, wait, store=store, timeout=timeout)
    from cas_run.refusals import told_as_ours

    remote = _remote(url, token)
    if wait:
        with told_as_ours():
            dispatch_id = remote.client.dispatch(dispatch_id).wait(timeout).id
    return remote.result(dispatch_id)


def cancel(dispatch_id: str, *, store: StoreChoice = None, server: str | None = None, token: str | None = None) -> bool:
    """Ask a dispatch to stop, whichever process runs it; False if it was over already.

    What had finished stays, and a redispatch takes up from there. A call under way in a thread cannot be stopped; its
    result is not waited for.
    """
    url = _server(server, store, dispatch_id, token)
    if url is None:
        from cas_engine import dispatch

        return dispatch.cancel(dispatch_id, store=store)
    return _remote(url, token).cancel(dispatch_id)


@overload
def list_dispatches(store: StoreChoice = None, limit: int | None = None) -> list[Result]: ...
@overload
def list_dispatches(*, limit: int | None = None, server: str, token: str | None = None) -> list[RemoteResult]: ...
def list_dispatches(
    store: StoreChoice = None, limit: int | None = None, *, server: str | None = None, token: str | None = None
) -> list[Result] | list[RemoteResult]:
    """The dispatches, the newest first; those of sublattices are found through their nodes."""
    url = server_of(server, store)
    if url is None:
        from cas_engine.inspecting import history

        return history.list_dispatches(store, limit)
    return _remote(url, token).dispatches(limit)


def explain(
    dispatch_id: str,
    node: str | None = None,
    *,
    store: StoreChoice = None,
    server: str | None = None,
    token: str | None = None,
) -> Explanation:
    """Why the nodes of a dispatch ran, or why one did: against its parent, or the nearest earlier one of the lattice.

    Raises UnknownDispatch, UnknownNode; of a server a NotFound that says the same.
    """
    url = _server(server, store, dispatch_id, token)
    if url is None:
        from cas_engine.inspecting import explanation

        return explanation.explain(dispatch_id, node, store=store)
    return _remote(url, token).explain(dispatch_id, node)


def diff(a: str, b: str, store: StoreChoice = None, *, server: str | None = None, token: str | None = None) -> Diff:
    """Two dispatches side by side: inputs, packages, and node by node code, results, durations.

    Raises UnknownDispatch; of a server a NotFound that says the same.
    """
    url = _server(server, store, a, token)
    if url is None:
        from cas_engine.inspecting import difference

        return difference.diff(a, b, store)
    return _remote(url, token).diff(a, b)


def logs(
    dispatch_id: str,
    node: str | None = None,
    *,
    follow: bool = False,
    store: StoreChoice = None,
    server: str | None = None,
    token: str | None = None,
) -> Iterator[Printed]:
    """What the electrons of a dispatch have printed and logged, in the order in which it came; of `node` alone if that
    is given: a label, or an electron for all of its nodes.

    With `follow`, goes on until the dispatch is over, whichever process runs it. Of what is a hit nothing is here: it
    is with the dispatch that ran it. Raises UnknownDispatch, UnknownNode.
    """
    url = _server(server, store, dispatch_id, token)
    if url is None:
        from cas_engine.calling import printed

        return printed.logs(dispatch_id, node, follow=follow, store=store)
    return _remote(url, token).logs(dispatch_id, node, follow=follow)


def _remote(url: str, token: str | None) -> Remote:
    from cas_run.remote import Remote

    return Remote.at(url, token)


def _server(server: str | None, store: StoreChoice, dispatch_id: str, token: str | None = None) -> str | None:
    """As `server_of`. But an id that a server named for all calls does not know, and the store here does, is here:
    `dispatch` needs code, so what it starts always is.
    """
    url = server_of(server, store)
    if url is None or server or not is_full(dispatch_id):
        return url
    from cas_engine.bookkeeping import ledger
    from cas_engine.bookkeeping.location import open_store
    from cas_store.errors import StoreError

    try:
        ledger.get(open_store(create=False), dispatch_id)
    except (NotFound, StoreError):
        return url
    try:
        _remote(url, token).result(dispatch_id)
    except NotFound:
        return None
    return url
