"""Two dispatches side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.explain import Baseline, Reasons
from cas_engine.bookkeeping.ledger import Status
from cas_engine.bookkeeping.location import StoreChoice, open_store
from cas_engine.evaluating.result import NodeResult, Result, result_of
from cas_engine.graphs.bindings import Const
from cas_engine.graphs.graph import counted
from cas_engine.inspecting.amounts import amount
from cas_engine.plans.compared import Diff, NodeDiff


def diff(a: str, b: str, store: StoreChoice = None) -> Diff:
    """Two dispatches side by side: inputs, packages, and node by node code, results, durations.

    Raises UnknownDispatch.
    """
    opened = open_store(store)
    first, second = (result_of(opened, ledger.resolve(opened, one)) for one in (a, b))
    reasons = Reasons(opened, second.manifest.graph, Baseline(first.manifest, ()), dict(second.manifest.environment))
    in_a = {counted(node.label): node for node in first.nodes}
    in_b = {counted(node.label): node for node in second.nodes}
    nodes = []
    for where in dict.fromkeys([*in_a, *in_b]):
        x, y = in_a.get(where), in_b.get(where)
        label = (y or x or first.nodes[0]).label
        if x is None or y is None:
            nodes.append(NodeDiff(label, "", "only in b" if x is None else "only in a", "", 0.0, 0.0))
            continue
        cause = reasons.why(y.index) if x.key != y.key else ""
        word = _compared(x.value_digest, y.value_digest)
        amount = _amount(x, y) if word == "changed" else ""
        took = [node.seconds or node.saved_s for node in (x, y)]
        nodes.append(NodeDiff(label, "" if cause == "never run" else cause, word, amount, took[0], took[1]))
    return Diff(
        a=first.dispatch_id,
        b=second.dispatch_id,
        lattice=(first.lattice, second.lattice),
        inputs=_changed(first.inputs, second.inputs) | _unseen(first, second),
        environment=_changed(dict(first.manifest.environment), dict(second.manifest.environment)),
        nodes=tuple(nodes),
        result=_results(first, second),
    )


def _changed(a: dict[str, str], b: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    return {name: (a.get(name), b.get(name)) for name in {**a, **b} if a.get(name) != b.get(name)}


def _unseen(first: Result, second: Result) -> dict[str, tuple[str | None, str | None]]:
    """Inputs that differ though they look alike in one line."""
    a, b = dict(first.manifest.inputs.params), dict(second.manifest.inputs.params)
    both = [(name, a[name], b[name]) for name in a if name in b]
    return {
        name: (first.inputs.get(name), f"{second.inputs.get(name)} (another value)")
        for name, x, y in both
        if isinstance(x, Const)
        and isinstance(y, Const)
        and x.digest != y.digest
        and first.inputs.get(name) == second.inputs.get(name)
    }


def _compared(a: str, b: str) -> str:
    if not a or not b:
        return "missing"
    return "equal" if a == b else "changed"


def _results(first: Result, second: Result) -> str:
    if first.status is not Status.COMPLETED or second.status is not Status.COMPLETED:
        return f"{first.status.value} against {second.status.value}"
    both, graphs = (first, second), (first.manifest.graph, second.manifest.graph)
    outputs = [
        [one.nodes[i].value_digest for i in graph.output_parents] for one, graph in zip(both, graphs, strict=True)
    ]
    if outputs[0] == outputs[1] and graphs[0].output == graphs[1].output:
        return "equal"
    largest = max(sum(one.nodes[i].size for i in g.output_parents) for one, g in zip(both, graphs, strict=True))
    found = "" if largest > _LOADED else _told(lambda: (first.result, second.result))
    return f"changed {found}".rstrip()


_LOADED = 20_000_000  # bytes of results that are loaded to say how much they differ


def _amount(a: NodeResult, b: NodeResult) -> str:
    return "" if max(a.size, b.size) > _LOADED else _told(lambda: (a.result, b.result))


def _told(load: Callable[[], tuple[Any, Any]]) -> str:
    try:
        return amount(*load())
    except Exception:  # noqa: BLE001 - a blob that is gone, or a user's class that does not come back or compare
        return ""
