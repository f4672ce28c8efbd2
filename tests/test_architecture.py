"""The architecture is in the imports: a package and a module import only what stands before them."""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = {
    "cas_store": ROOT / "store" / "cas_store",
    "cas_engine": ROOT / "engine" / "cas_engine",
    "cas_run": ROOT / "cli" / "cas_run",
}

# What a package may import besides itself and the standard library: ours, then others'.
ALLOWED = {
    "cas_store": {"compression", "lmdb", "xxhash", "zstandard"},
    "cas_engine": {"cas_store", "cloudpickle"},
    "cas_run": {"cas_engine", "cas_store", "click", "rich"}
    # The server's, and what it reads arrays and frames with: see the imports of the others.
    | {"h11", "numpy", "pandas", "polars", "pyarrow", "starlette", "uvicorn"},
}

# In reading order, which is import order: a module may import those before it, and none after. A subpackage
# stands for all of its modules, and may have an order of its own. A new module is entered here.
READING_ORDER = {
    package: names.split()
    for package, names in {
        "cas_store": """
            errors digest tables layout rows
            pages faults forks ground datafile tenancy turns views database owners
            opening quarantine scratch stamps compression snapshot logs
            largefiles threads blobs writes changes
            transit backup committer sweeping outpost store bundle
            salvage checkup mending
        """,
        "cas_engine": """
            errors modules values files graphs fingerprint capsules plans bookkeeping preparing calling
            executors evaluating dispatch planning inspecting bundles
        """,
        "cas_engine.modules": """
            freshness moved importing program
        """,
        "cas_engine.graphs": """
            contexts signatures omission options bindings alike columns index templates graph picks
            handles arguments tracing electron lattice substitution
        """,
        "cas_engine.capsules": """
            reading glimpse changeable live installed reached classes facades presence image arrays expressions oddities
            by_value streams frames unstorable deep definitions codec restoring faithful capsule
            lending unchanged
        """,
        "cas_engine.plans": """
            plain records keys policy decisions plan planned explained compared outcome outcomes written
            manifest settling board status
        """,
        "cas_engine.bookkeeping": """
            settings location ledger accepted previews journal kept explain answers known references limits
            pins survey collection usage budget
        """,
        "cas_engine.preparing": """
            changing recorder inputs replacement preparation
        """,
        "cas_engine.calling": """
            seeding ownership picking worker printed
        """,
        "cas_engine.evaluating": """
            runnable events setting excerpt telling calls claiming failing cutoff regaining recording
            evaluation sublattice result verification owed underway runners ending running
        """,
        "cas_engine.inspecting": """
            amounts history difference comparison explanation acceptance statistics doctor
        """,
        "cas_engine.bundles": """
            bundling bundled unbundling
        """,
        "cas_run": """
            client phrases ids table exits terminal conversion tracebacks
            refusals elsewhere shapes destination
            arguments loading backend remote anywhere session
            tally preview server report findings imported share progress live foreground completing conclusion
            command choices commands main start __main__
        """,
    }.items()
}

# Where a function imports what stands after its module, and why that is the lesser evil.
LATE = {
    ("cas_engine.graphs.tracing", "electron"): "an operator on a handle is an electron, made while a lattice is traced",
}

# A module that says "Pure." in its docstring decides, and does nothing: no clock, file, process or store.
IMPURE = frozenset({"io", "lmdb", "multiprocessing", "os", "pathlib", "random", "socket", "subprocess", "time"})
STORE_ITSELF = ("cas_store.store", "cas_store.snapshot", "cas_store.blobs")  # not its digests, errors and tables
NAMED_ONLY = {
    ("cas_run.conversion", "os"): "os.PathLike is an annotation that users write",
    ("cas_run.conversion", "pathlib"): "so is Path",
}
# And these say so: what the design asks to be values that can be printed.
MUST_BE_PURE = {
    "cas_store": {"digest", "rows", "tables"},
    "cas_engine": {"bindings", "graph", "keys", "plain", "plan", "policy", "records", "signatures"},
    "cas_run": {"conversion", "ids", "findings", "phrases", "report", "table"},
}


@dataclass(frozen=True)
class Import:
    """One import statement's target, seen from the module that makes it."""

    importer: str  # dotted: cas_engine.plans.plan
    target: str  # dotted: cas_store.digest, or cas_store.digest.Digest: a name may be a module or in one
    line: int
    for_types: bool  # under `if TYPE_CHECKING`: nothing is imported when it runs

    @property
    def root(self) -> str:
        return self.target.split(".")[0]

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


def folder_of(package: str) -> Path:
    top, _, below = package.partition(".")
    return FOLDER[top] / below


def module_name(package: str, file: Path) -> str:
    parts = file.relative_to(folder_of(package)).with_suffix("").parts
    return ".".join((package, *(part for part in parts if part != "__init__")))


@cache
def syntax_of(package: str) -> dict[str, ast.Module]:
    files = sorted(folder_of(package).rglob("*.py"))
    return {module_name(package, file): ast.parse(file.read_bytes()) for file in files}


@cache
def imports_of(package: str) -> list[Import]:
    """Every import anywhere in the package, inside functions too."""
    found = []
    for importer, tree in syntax_of(package).items():
        typing_blocks = [
            node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        ]
        for_types = {id(inner) for block in typing_blocks for inner in ast.walk(block)}
        for node in ast.walk(tree):
            targets: list[str] = []
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            else:
                assert node.level == 0, f"{importer}:{node.lineno} is a relative import"
                targets = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [Import(importer, target, node.lineno, id(node) in for_types) for target in targets]
    return found


def room(dotted: str, package: str) -> str:
    """The module or subpackage in the order of a package: cas_engine.values.arrays -> values in cas_engine."""
    return dotted[len(package) + 1 :].split(".", maxsplit=1)[0]


@pytest.mark.parametrize("package", FOLDER)
def test_a_package_imports_only_the_packages_below_it(package: str) -> None:
    allowed = ALLOWED[package] | {package, "__future__"} | sys.stdlib_module_names
    strangers = [
        str(each)
        for each in imports_of(package)
        if each.root not in allowed and not (each.for_types and each.root not in FOLDER)
    ]
    assert strangers == []


@pytest.mark.parametrize("package", READING_ORDER)
def test_every_module_has_its_place_in_the_reading_order(package: str) -> None:
    rooms = {room(module, package) for module in syntax_of(package)} - {""}
    assert rooms == set(READING_ORDER[package])


@pytest.mark.parametrize("package", READING_ORDER)
def test_a_module_imports_only_what_stands_before_it(package: str) -> None:
    place = {name: index for index, name in enumerate(READING_ORDER[package])}
    backwards = [
        str(each)
        for each in imports_of(package)
        if each.target.startswith(package + ".")
        and not each.for_types
        and room(each.importer, package) in place  # the package's own __init__ is its face, and imports what it shows
        and room(each.target, package) != room(each.importer, package)
        and place.get(room(each.target, package), len(place)) >= place[room(each.importer, package)]
        and (each.importer, room(each.target, package)) not in LATE
        and not room(each.target, package).startswith("__")  # __version__
    ]
    assert backwards == []


@pytest.mark.parametrize("package", FOLDER)
def test_modules_that_call_themselves_pure_do_no_io(package: str) -> None:
    pure = {module for module, tree in syntax_of(package).items() if "Pure." in (ast.get_docstring(tree) or "")}
    assert {module.rpartition(".")[2] for module in pure} >= MUST_BE_PURE[package]
    impure = [
        str(each)
        for each in imports_of(package)
        if each.importer in pure
        and not each.for_types
        and each.root in IMPURE
        and (each.importer, each.root) not in NAMED_ONLY
    ]
    assert impure == []


def test_what_code_and_values_are_is_known_without_a_store() -> None:
    rooms = READING_ORDER["cas_engine"]
    without = set(rooms[: rooms.index("bookkeeping")])
    touching = {
        room(each.importer, "cas_engine") for each in imports_of("cas_engine") if each.target.startswith(STORE_ITSELF)
    }
    assert touching & without == set()


@pytest.mark.parametrize("package", FOLDER)
def test_every_module_opens_with_its_job(package: str) -> None:
    silent = [module for module, tree in syntax_of(package).items() if not ast.get_docstring(tree)]
    assert silent == []


def test_architecture_md_names_every_room() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = {word for span in re.findall(r"`([^`\n]+)`", page) for word in re.findall(r"\w+", span)}
    assert {name for order in READING_ORDER.values() for name in order} - named - {"__main__"} == set()
