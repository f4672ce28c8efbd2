"""Every way in: `import cas_run as ct`, and the command.

The names are looked up when first used (PEP 562): the command starts without loading the engine, and type checkers see
them all the same.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cas_engine.modules.freshness import distrust_young

if TYPE_CHECKING:
    from cas_engine.bookkeeping.collection import Collected, gc
    from cas_engine.bookkeeping.location import open_store
    from cas_engine.bookkeeping.pins import pin, pinned, unpin
    from cas_engine.bookkeeping.usage import Usage, usage
    from cas_engine.bundles.bundling import Exported, export_dispatches
    from cas_engine.bundles.unbundling import Bundle, TrustNeeded, import_bundle
    from cas_engine.calling.printed import Printed
    from cas_engine.calling.seeding import seed
    from cas_engine.dispatch import dispatch, dispatch_sync
    from cas_engine.errors import DispatchFailed, NotFound, UsageError
    from cas_engine.evaluating.result import NodeResult, Result
    from cas_engine.evaluating.verification import Trust, Verification, trust, verify
    from cas_engine.graphs.electron import Electron, electron
    from cas_engine.graphs.lattice import Lattice, lattice
    from cas_engine.graphs.tracing import wait
    from cas_engine.inspecting.acceptance import Acceptance, accept, acceptances, withdraw
    from cas_engine.inspecting.history import remove, resolve_id
    from cas_engine.inspecting.statistics import Statistics, statistics
    from cas_engine.plans.compared import Diff
    from cas_engine.plans.explained import Explanation
    from cas_engine.plans.planned import Plan, PlannedNode
    from cas_engine.plans.status import Status
    from cas_engine.values import File, register_digest
    from cas_run.anywhere import cancel, diff, explain, get_result, list_dispatches, logs, plan, redispatch
    from cas_store.errors import CasRunError, StoreError

    __version__: str

# Where each name is at home. Not asked of `cas_engine` itself: there `plan` and `electron` are modules as well.
_HOMES = {
    "cas_engine.inspecting.acceptance": ("Acceptance", "accept", "acceptances", "withdraw"),
    "cas_engine.bundles.bundling": ("Exported", "export_dispatches"),
    "cas_engine.bookkeeping.collection": ("Collected", "gc"),
    "cas_engine.plans.compared": ("Diff",),
    "cas_engine.dispatch": ("dispatch", "dispatch_sync"),
    "cas_engine.graphs.electron": ("Electron", "electron"),
    "cas_engine.errors": ("DispatchFailed", "NotFound", "UsageError"),
    "cas_engine.plans.explained": ("Explanation",),
    "cas_engine.inspecting.history": ("remove", "resolve_id"),
    "cas_engine.graphs.lattice": ("Lattice", "lattice"),
    "cas_engine.bookkeeping.location": ("open_store",),
    "cas_engine.bookkeeping.pins": ("pin", "pinned", "unpin"),
    "cas_engine.plans.planned": ("Plan", "PlannedNode"),
    "cas_engine.calling.printed": ("Printed",),
    "cas_engine.evaluating.result": ("NodeResult", "Result"),
    "cas_engine.calling.seeding": ("seed",),
    "cas_engine.plans.status": ("Status",),
    "cas_engine.inspecting.statistics": ("Statistics", "statistics"),
    "cas_engine.graphs.tracing": ("wait",),
    "cas_engine.bundles.unbundling": ("Bundle", "TrustNeeded", "import_bundle"),
    "cas_engine.bookkeeping.usage": ("Usage", "usage"),
    "cas_engine.values": ("File", "register_digest"),
    "cas_engine.evaluating.verification": ("Trust", "Verification", "trust", "verify"),
    "cas_run.anywhere": ("cancel", "diff", "explain", "get_result", "list_dispatches", "logs", "plan", "redispatch"),
    "cas_store.errors": ("CasRunError", "StoreError"),
}
# Whoever asks for these is going to trace and run: what that takes comes along, so that the first dispatch need not
# wait for it.
_WORK = {"Electron", "Lattice", "dispatch", "dispatch_sync", "electron", "lattice"}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Acceptance",
    "Bundle",
    "CasRunError",
    "Collected",
    "Diff",
    "DispatchFailed",
    "Electron",
    "Explanation",
    "Exported",
    "File",
    "Lattice",
    "NodeResult",
    "NotFound",
    "Plan",
    "PlannedNode",
    "Printed",
    "Result",
    "Statistics",
    "Status",
    "StoreError",
    "Trust",
    "TrustNeeded",
    "Usage",
    "UsageError",
    "Verification",
    "__version__",
    "accept",
    "acceptances",
    "cancel",
    "diff",
    "dispatch",
    "dispatch_sync",
    "electron",
    "explain",
    "export_dispatches",
    "gc",
    "get_result",
    "import_bundle",
    "lattice",
    "list_dispatches",
    "logs",
    "open_store",
    "pin",
    "pinned",
    "plan",
    "redispatch",
    "register_digest",
    "remove",
    "resolve_id",
    "seed",
    "statistics",
    "trust",
    "unpin",
    "usage",
    "verify",
    "wait",
    "withdraw",
]

distrust_young()  # now: what the user's program imports next may be what its electrons call


def __getattr__(name: str) -> object:
    if name == "__version__":
        found = import_module("cas_engine.fingerprint.versions").installed_version("cas-run") or "unknown"
        value: object = found.partition("+")[0]  # without the digest of what was installed from a folder
    elif name in _HOME_OF:
        if name in _WORK:
            import_module("cas_engine.dispatch")
            import_module("cas_engine.evaluating.evaluation")
            import_module("cas_engine.evaluating.sublattice")
        value = getattr(import_module(_HOME_OF[name]), name)
    else:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
