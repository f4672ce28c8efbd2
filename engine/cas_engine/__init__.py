"""What to compute, and what need not be."""

from cas_engine.dispatch import cancel, dispatch, dispatch_sync, get_result, redispatch
from cas_engine.electron import Electron, electron
from cas_engine.history import Diff, diff, list_dispatches, remove, resolve_id
from cas_engine.lattice import Lattice, lattice
from cas_engine.ledger import Status
from cas_engine.location import open_store
from cas_engine.planning import Plan, PlannedNode, plan
from cas_engine.result import NodeResult, Result
from cas_engine.tracing import wait

__all__ = [
    "Diff",
    "Electron",
    "Lattice",
    "NodeResult",
    "Plan",
    "PlannedNode",
    "Result",
    "Status",
    "cancel",
    "diff",
    "dispatch",
    "dispatch_sync",
    "electron",
    "get_result",
    "lattice",
    "list_dispatches",
    "open_store",
    "plan",
    "redispatch",
    "remove",
    "resolve_id",
    "wait",
]
