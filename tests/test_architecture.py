"""The architecture is in the imports: a package and a module import only what stands before them."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = {
    "cas_store": ROOT / "store" / "cas_store",
    "cas_engine": ROOT / "engine" / "cas_engine",
    "cas_run": ROOT / "cli" / "cas_run",
}

# What a package may import besides itself: ours, then others'.
ALLOWED = {
    "cas_store": {"lmdb", "xxhash"},
    "cas_engine": {"cas_store", "cloudpickle"},
    "cas_run": {"cas_engine", "cas_store", "click", "rich"},
}

# In reading order, which is import order: a module may import those before it, and none after. A subpackage
# stands for all of its modules. A new module is entered here.
READING_ORDER = {
    "cas_store": ["errors", "digest"],
    "cas_engine": [],
    "cas_run": [],
}

# Decisions are values: nothing in these sees a clock, a file, a process or the store.
PURE = {
    "cas_store": ["digest"],
    "cas_engine": [],
    "cas_run": [],
}
IMPURE_IMPORTS = frozenset(
    "os io pathlib time random socket multiprocessing lmdb subprocess threading".split()  # noqa: SIM905 (legible)
)

# The only modules of the engine that are given the store.
STORE_USERS = {"dispatch", "redispatch", "worker", "result"}


@dataclass(frozen=True)
class Import:
    """One import statement's target, seen from the module that makes it."""

    importer: str  # dotted: cas_engine.plan
    target: str  # dotted: cas_store.digest, or cas_store.digest.Digest: a name may be a module or in one
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


def module_name(package: str, file: Path) -> str:
    parts = file.relative_to(FOLDER[package]).with_suffix("").parts
    return ".".join((package, *(part for part in parts if part != "__init__")))


def imports_of(package: str) -> list[Import]:
    """Every import anywhere in the package's files, inside functions and type-checking blocks too."""
    found = []
    for file in sorted(FOLDER[package].rglob("*.py")):
        importer = module_name(package, file)
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                found += [Import(importer, alias.name, node.lineno) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{importer}:{node.lineno} is a relative import"
                found += [
                    Import(importer, f"{node.module}.{alias.name}", node.lineno) for alias in node.names
                ]
    return found


def room(dotted: str) -> str:
    """The module or subpackage of READING_ORDER: cas_engine.values.arrays -> values."""
    return dotted.split(".")[1] if "." in dotted else ""


@pytest.mark.parametrize("package", FOLDER)
def test_a_package_imports_only_the_packages_below_it(package: str) -> None:
    allowed = ALLOWED[package] | {package, "__future__"} | sys.stdlib_module_names
    strangers = [str(each) for each in imports_of(package) if each.target.split(".")[0] not in allowed]
    assert strangers == []


@pytest.mark.parametrize("package", FOLDER)
def test_every_module_has_its_place_in_the_reading_order(package: str) -> None:
    rooms = {room(module_name(package, file)) for file in FOLDER[package].rglob("*.py")} - {""}
    assert rooms == set(READING_ORDER[package])


@pytest.mark.parametrize("package", FOLDER)
def test_a_module_imports_only_what_stands_before_it(package: str) -> None:
    place = {name: index for index, name in enumerate(READING_ORDER[package])}
    backwards = [
        str(each)
        for each in imports_of(package)
        if each.target.startswith(package + ".")
        and room(each.importer) in place  # the package's own __init__ is its face, and imports what it shows
        and room(each.target) != room(each.importer)
        and place.get(room(each.target), -1) >= place[room(each.importer)]
    ]
    assert backwards == []


@pytest.mark.parametrize("package", FOLDER)
def test_pure_modules_do_no_io(package: str) -> None:
    impure = [
        str(each)
        for each in imports_of(package)
        if room(each.importer) in PURE[package] and each.target.split(".")[0] in IMPURE_IMPORTS
    ]
    assert impure == []


def test_only_the_edges_of_the_engine_touch_the_store() -> None:
    touching = {
        room(each.importer) for each in imports_of("cas_engine") if each.target.startswith("cas_store.store")
    }
    assert touching <= STORE_USERS


@pytest.mark.parametrize("package", FOLDER)
def test_every_module_opens_with_its_job(package: str) -> None:
    silent = [
        str(file.relative_to(ROOT))
        for file in FOLDER[package].rglob("*.py")
        if not ast.get_docstring(ast.parse(file.read_bytes()))
    ]
    assert silent == []
