"""`import cas_run as ct` has every name that users need, at once cheap and known to type checkers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cas_run as ct


def test_every_name_is_there_and_no_name_is_a_module() -> None:
    for name in ct.__all__:
        found = getattr(ct, name)
        assert callable(found) or isinstance(found, str), name


def test_type_checkers_see_the_names_that_run() -> None:
    assert ct.__file__ is not None
    tree = ast.parse(Path(ct.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (node.module, alias.name) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == {(home, name) for name, home in ct._HOME_OF.items()}
    assert {name for _, name in seen} | {"__version__"} == set(ct.__all__) == set(dir(ct))


def test_all_of_them_can_be_imported_by_star_in_any_order() -> None:
    # Importing the engine's modules first must not put a module in the place of a function.
    code = (
        "import cas_engine.plans.plan, cas_engine.graphs.electron, cas_engine.evaluating.result\n"
        "from cas_run import *\n"
        "print(type(plan).__name__, type(electron).__name__, type(lattice).__name__, type(dispatch).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["function"] * 4


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'elektron'"):
        _ = ct.elektron


def test_importing_costs_nothing_before_use() -> None:
    code = "import sys, cas_run; print(*(name for name in sys.modules if name.startswith('cas_')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Before modules of the user's.
    early = {"cas_engine", "cas_engine.modules", "cas_engine.modules.freshness", "cas_store", "cas_store.errors"}
    assert set(done.stdout.split()) - early == {"cas_run"}
