"""The verbs that commands use, over whatever holds the dispatches; all there are, over a store on this machine."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from cas_engine.bookkeeping.collection import Collected
    from cas_engine.bookkeeping.usage import Usage
    from cas_engine.bundles.bundling import Exported, Told
    from cas_engine.bundles.unbundling import Bundle
    from cas_engine.calling.printed import Printed
    from cas_engine.evaluating.events import Observer
    from cas_engine.evaluating.result import Result
    from cas_engine.evaluating.running import Noting
    from cas_engine.evaluating.verification import Check, Verification
    from cas_engine.graphs.lattice import Lattice
    from cas_engine.inspecting.acceptance import Acceptance
    from cas_engine.inspecting.statistics import Statistics
    from cas_engine.plans.compared import Diff
    from cas_engine.plans.explained import Explanation
    from cas_engine.plans.planned import Plan
    from cas_run.arguments import Input
    from cas_run.shapes import Dispatch
    from cas_store.bundle import Writable
    from cas_store.store import Store


class Edits(NamedTuple):
    """How a redispatch differs from its parent, apart from the inputs."""

    replace: Mapping[str, Any] = MappingProxyType({})  # functions; over a server also names of what it knows
    reuse: bool = True
    recompute: str | list[str] | None = None


class Call(NamedTuple):
    """The inputs, bound."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})


class How(NamedTuple):
    """Where electrons run that do not say so themselves, and the share of the hits that is checked."""

    executor: str | None = None
    audit: str | None = None
    reuse: bool = True  # of a lattice that is dispatched; of a redispatch its edits say so


class Collection(NamedTuple):
    """What `gc` is to bring about."""

    max_size: str | None = None
    older_than: str | None = None
    keep_last: int = 1
    dry_run: bool = False


class Backend(Protocol):
    """What a store here and a server elsewhere both do for the commands. Ids are full, except in `resolve`."""

    def resolve(self, text: str) -> str: ...
    def dispatches(self, limit: int | None, lattice: str | None, status: str | None) -> Sequence[Dispatch]: ...
    def result(self, dispatch_id: str) -> Dispatch: ...
    def finished(self, dispatch_id: str) -> Dispatch: ...
    def inputs(self, dispatch_id: str) -> tuple[str, tuple[Input, ...]]: ...
    def replacement(self, target: str) -> Callable[..., object] | str: ...
    def redispatch(self, dispatch_id: str, edits: Edits, call: Call, how: How, observer: Observer | None) -> str: ...
    def plan(self, dispatch_id: str, edits: Edits, call: Call) -> Plan: ...
    def cancel(self, dispatch_id: str) -> bool: ...
    def logs(self, dispatch_id: str, node: str | None, *, follow: bool) -> Iterator[Printed]: ...
    def explain(self, dispatch_id: str, node: str | None) -> Explanation: ...
    def diff(self, one: str, other: str) -> Diff: ...


class Local:
    """A store on this machine; what runs, runs in this process. Each verb loads as much of the engine as it needs."""

    def __init__(self, path: str | None, *, create: bool) -> None:
        from cas_engine.bookkeeping.location import open_store
        from cas_engine.bookkeeping.settings import preset, setting

        # Workflows that are run by a command are worth processes that can be stopped, and use all processors.
        preset("executor", "process")
        # A mistyped path must not come back as an empty store: only work makes a new one there.
        named = path or setting("store")
        self.store: Store = open_store(path, create=create or not named)

    def resolve(self, text: str) -> str:
        from cas_engine.bookkeeping.ledger import resolve

        return resolve(self.store, text)

    def dispatches(self, limit: int | None, lattice: str | None = None, status: str | None = None) -> Sequence[Result]:
        from cas_engine.inspecting.history import list_dispatches

        found = list_dispatches(self.store, None if lattice or status else limit)
        if lattice:
            found = [result for result in found if result.lattice == lattice]
        if status:
            found = [result for result in found if result.status.value.lower() == status]
        return found[:limit]

    def result(self, dispatch_id: str) -> Result:
        from cas_engine.evaluating.result import result_of

        return result_of(self.store, dispatch_id)

    def finished(self, dispatch_id: str) -> Result:
        from cas_engine.dispatch import get_result

        return get_result(dispatch_id, wait=True, store=self.store)

    def inputs(self, dispatch_id: str) -> tuple[str, tuple[Input, ...]]:
        from cas_engine.capsules import capsule
        from cas_engine.preparing.preparation import as_lattice
        from cas_run.arguments import inputs_of

        # The recorded function, not its recorded signature: annotations may be the user's own classes.
        recorded = self.result(dispatch_id).manifest.lattice
        lattice = as_lattice(capsule.load(self.store.get_blob(recorded.capsule)))
        return lattice.name, inputs_of(lattice.fn)

    def replacement(self, target: str) -> Callable[..., object]:
        from cas_run.loading import load_callable

        return load_callable(target)

    def dispatch(self, lattice: Lattice[..., Any], call: Call, how: How, observer: Observer | None) -> str:
        from cas_engine.dispatch import dispatch

        start = dispatch(
            lattice,
            store=self.store,
            executor=how.executor,
            observer=observer,
            audit=how.audit,
            reuse_previous_results=how.reuse,
        )
        return start(*call.args, **call.kwargs)

    def redispatch(
        self,
        dispatch_id: str,
        edits: Edits,
        call: Call,
        how: How,
        observer: Observer | None,
        noting: Noting | None = None,
    ) -> str:
        from cas_engine.dispatch import redispatch

        start = redispatch(
            dispatch_id,
            replace_electrons=dict(edits.replace) or None,
            reuse_previous_results=edits.reuse,
            recompute=edits.recompute,
            store=self.store,
            executor=how.executor,
            observer=observer,
            audit=how.audit,
            noting=noting,
        )
        return start(*call.args, **call.kwargs)

    def plan(self, what: str | Lattice[..., Any], edits: Edits, call: Call) -> Plan:
        from cas_engine.planning import plan

        make = plan(
            what,
            replace_electrons=dict(edits.replace) or None,
            reuse_previous_results=edits.reuse,
            recompute=edits.recompute,
            store=self.store,
        )
        return make(*call.args, **call.kwargs)

    def diff(self, one: str, other: str) -> Diff:
        from cas_engine.inspecting.difference import diff

        return diff(one, other, store=self.store)

    def cancel(self, dispatch_id: str) -> bool:
        from cas_engine.dispatch import cancel

        return cancel(dispatch_id, store=self.store)

    def remove(self, dispatch_id: str) -> None:
        from cas_engine.inspecting.history import remove

        remove(dispatch_id, store=self.store)

    def explain(self, dispatch_id: str, node: str | None) -> Explanation:
        from cas_engine.inspecting.explanation import explain

        return explain(dispatch_id, node, store=self.store)

    def logs(self, dispatch_id: str, node: str | None, *, follow: bool) -> Iterator[Printed]:
        from cas_engine.calling.printed import logs

        return logs(dispatch_id, node, follow=follow, store=self.store)

    def accept(self, dispatch_id: str, node: str) -> Acceptance:
        from cas_engine.inspecting.acceptance import accept

        return accept(dispatch_id, node, store=self.store)

    def acceptances(self) -> Sequence[Acceptance]:
        from cas_engine.inspecting.acceptance import acceptances

        return acceptances(store=self.store)

    def revoke(self, fingerprint: str) -> Acceptance:
        from cas_engine.inspecting.acceptance import withdraw

        return withdraw(fingerprint, store=self.store)

    def verify(self, dispatch_id: str, sample: int | None, told: Callable[[Check], None]) -> Verification:
        from cas_engine.evaluating.verification import verify

        return verify(dispatch_id, sample, store=self.store, on_check=told)

    def stats(self) -> Statistics:
        from cas_engine.inspecting.statistics import statistics

        return statistics(store=self.store)

    def export(self, dispatch_ids: Sequence[str], file: str | Writable, told: Told) -> Exported:
        from cas_engine.bundles.bundling import export_dispatches

        return export_dispatches(dispatch_ids, file, store=self.store, told=told)

    def backup(self, folder: str, told: Told) -> dict[str, Any]:
        from dataclasses import asdict
        from pathlib import Path

        return asdict(self.store.back_up(Path(folder), told))

    def compact(self) -> tuple[int, int]:
        return self.store.compact()

    def gc(self, how: Collection) -> Collected:
        from cas_engine.bookkeeping.collection import gc

        return gc(how.max_size, how.older_than, how.keep_last, how.dry_run, store=self.store)

    def usage(self, keep_last: int) -> Usage:
        from cas_engine.bookkeeping.usage import usage

        return usage(keep_last, store=self.store)

    def pin(self, dispatch_id: str) -> int:
        from cas_engine.bookkeeping.pins import pin

        return pin(dispatch_id, store=self.store)

    def unpin(self, dispatch_id: str) -> bool:
        from cas_engine.bookkeeping.pins import unpin

        return unpin(dispatch_id, store=self.store)

    def pinned(self) -> Sequence[str]:
        from cas_engine.bookkeeping.pins import pinned

        return pinned(store=self.store)


def import_into(path: str | None, file: str | BinaryIO, *, trust: bool, told: Told) -> Bundle:
    """Not a verb of a backend: a store is made for a bundle only once that is known to be one, and trusted."""
    from cas_engine.bundles.unbundling import import_bundle

    return import_bundle(file, trust=trust, store=path, told=told)
