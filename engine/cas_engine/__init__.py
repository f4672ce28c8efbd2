"""What to compute, and what need not be."""

from cas_engine.acceptance import Acceptance, accept, acceptances, withdraw
from cas_engine.dispatch import cancel, dispatch, dispatch_sync, get_result, redispatch
from cas_engine.electron import Electron, electron
from cas_engine.explanation import Explanation, explain
from cas_engine.history import Diff, diff, list_dispatches, remove, resolve_id
from cas_engine.lattice import Lattice, lattice
from cas_engine.ledger import Status
from cas_engine.location import open_store
from cas_engine.planning import Plan, PlannedNode, plan
from cas_engine.result import NodeResult, Result
from cas_engine.seeding import seed
from cas_engine.tracing import wait
from cas_engine.values import File, register_digest
from cas_engine.verification import Trust, Verification, trust, verify

__all__ = [
    "Acceptance",
    "Diff",
    "Electron",
    "Explanation",
    "File",
    "Lattice",
    "NodeResult",
    "Plan",
    "PlannedNode",
    "Result",
    "Status",
    "Trust",
    "Verification",
    "accept",
    "acceptances",
    "cancel",
    "diff",
    "dispatch",
    "dispatch_sync",
    "electron",
    "explain",
    "get_result",
    "lattice",
    "list_dispatches",
    "open_store",
    "plan",
    "redispatch",
    "register_digest",
    "remove",
    "resolve_id",
    "seed",
    "trust",
    "verify",
    "wait",
    "withdraw",
]
