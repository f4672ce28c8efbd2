"""Every way in: `import cas_run as ct`, and the command.

The names are looked up when first used (PEP 562): the command starts without loading the engine, and type
checkers see them all the same.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cas_engine import (
        CasRunError,
        Diff,
        Electron,
        File,
        Lattice,
        NodeResult,
        Plan,
        PlannedNode,
        Result,
        Status,
        cancel,
        diff,
        dispatch,
        dispatch_sync,
        electron,
        get_result,
        lattice,
        list_dispatches,
        open_store,
        plan,
        redispatch,
        register_digest,
        remove,
        resolve_id,
        wait,
    )

    __version__: str

__all__ = [
    "CasRunError",
    "Diff",
    "Electron",
    "File",
    "Lattice",
    "NodeResult",
    "Plan",
    "PlannedNode",
    "Result",
    "Status",
    "__version__",
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
    "register_digest",
    "remove",
    "resolve_id",
    "wait",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        value: object = import_module("importlib.metadata").version("cas-run")
    elif name in __all__:
        value = getattr(import_module("cas_engine"), name)
    else:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
