"""Where our own modules lie now that lay elsewhere when something was recorded: stores keep the names of then. Pure.

A module that is moved, and any name in it that a stream of recorded code or values may have, gets an entry here.
"""

from __future__ import annotations

# Modules that lay in cas_engine itself, by the folder they are in.
_INTO_FOLDERS = {
    "inspecting": "acceptance amounts comparison difference doctor explanation history statistics",
    "bookkeeping": (
        "accepted answers budget collection explain journal kept known ledger limits location pins previews "
        "references settings survey usage"
    ),
    "capsules": (
        "arrays by_value capsule changeable classes codec deep definitions frames image installed lending "
        "live oddities reached reading streams unchanged unstorable"
    ),
    "graphs": (
        "bindings columns contexts electron graph handles index lattice omission options signatures "
        "substitution templates tracing"
    ),
    "plans": "board keys manifest outcome plain plan planned policy records settling status",
    "bundles": "bundled bundling unbundling",
    "evaluating": "calls evaluation events excerpt result runnable running setting sublattice telling verification",
    "modules": "freshness importing program",
    "preparing": "inputs preparation recorder replacement",
    "calling": "ownership printed seeding worker",
}
_NOW = {
    f"cas_engine.{name}": f"cas_engine.{folder}.{name}"
    for folder, names in _INTO_FOLDERS.items()
    for name in names.split()
}


def now(module: str) -> str:
    """The name of a module today."""
    return _NOW.get(module, module)
