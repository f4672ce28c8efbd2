"""The verbs that commands use, over whatever holds the dispatches: a store on this machine, for now."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import cas_engine as engine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cas_engine import Diff, Lattice, Plan, Result
    from cas_engine.events import Observer
    from cas_run.arguments import Input
    from cas_store.store import Store


@dataclass(frozen=True, slots=True)
class Edits:
    """How a redispatch differs from its parent, apart from the inputs."""

    replace: Mapping[str, Callable[..., object]] = field(default_factory=dict)
    reuse: bool = True
    recompute: str | list[str] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """The inputs, bound."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class Backend(Protocol):
    """What a store here, or a server elsewhere, does for the commands. Ids are full, except in `resolve`."""

    def resolve(self, text: str) -> str: ...
    def dispatches(self, limit: int | None) -> Sequence[Result]: ...
    def result(self, dispatch_id: str) -> Result: ...
    def finished(self, dispatch_id: str) -> Result: ...
    def inputs(self, dispatch_id: str) -> tuple[str, tuple[Input, ...]]: ...
    def dispatch(
        self, lattice: Lattice[..., Any], call: Call, executor: str | None, observer: Observer | None
    ) -> str: ...
    def redispatch(
        self, dispatch_id: str, edits: Edits, call: Call, executor: str | None, observer: Observer | None
    ) -> str: ...
    def plan(self, what: str | Lattice[..., Any], edits: Edits, call: Call) -> Plan: ...
    def diff(self, one: str, other: str) -> Diff: ...
    def cancel(self, dispatch_id: str) -> bool: ...
    def remove(self, dispatch_id: str) -> None: ...


class Local:
    """A store on this machine; what runs, runs in this process."""

    def __init__(self, path: str | None, *, create: bool) -> None:
        # A mistyped path must not come back as an empty store: only work makes a new one there.
        named = path or os.environ.get("CAS_RUN_STORE")
        self.store: Store = engine.open_store(path, create=create or not named)

    def resolve(self, text: str) -> str:
        return engine.resolve_id(text, store=self.store)

    def dispatches(self, limit: int | None) -> Sequence[Result]:
        return engine.list_dispatches(store=self.store, limit=limit)

    def result(self, dispatch_id: str) -> Result:
        return engine.get_result(dispatch_id, store=self.store)

    def finished(self, dispatch_id: str) -> Result:
        return engine.get_result(dispatch_id, wait=True, store=self.store)

    def inputs(self, dispatch_id: str) -> tuple[str, tuple[Input, ...]]:
        from cas_engine import capsule
        from cas_engine.preparation import as_lattice
        from cas_run.arguments import inputs_of

        # The recorded function, not its recorded signature: annotations may be the user's own classes.
        recorded = self.result(dispatch_id).manifest.lattice
        lattice = as_lattice(capsule.load(self.store.get_blob(recorded.capsule)))
        return lattice.name, inputs_of(lattice.fn)

    def dispatch(self, lattice: Lattice[..., Any], call: Call, executor: str | None, observer: Observer | None) -> str:
        start = engine.dispatch(lattice, store=self.store, executor=executor, observer=observer)
        return start(*call.args, **call.kwargs)

    def redispatch(
        self, dispatch_id: str, edits: Edits, call: Call, executor: str | None, observer: Observer | None
    ) -> str:
        start = engine.redispatch(
            dispatch_id,
            replace_electrons=dict(edits.replace) or None,
            reuse_previous_results=edits.reuse,
            recompute=edits.recompute,
            store=self.store,
            executor=executor,
            observer=observer,
        )
        return start(*call.args, **call.kwargs)

    def plan(self, what: str | Lattice[..., Any], edits: Edits, call: Call) -> Plan:
        make = engine.plan(
            what,
            replace_electrons=dict(edits.replace) or None,
            reuse_previous_results=edits.reuse,
            recompute=edits.recompute,
            store=self.store,
        )
        return make(*call.args, **call.kwargs)

    def diff(self, one: str, other: str) -> Diff:
        return engine.diff(one, other, store=self.store)

    def cancel(self, dispatch_id: str) -> bool:
        return engine.cancel(dispatch_id, store=self.store)

    def remove(self, dispatch_id: str) -> None:
        engine.remove(dispatch_id, store=self.store)
