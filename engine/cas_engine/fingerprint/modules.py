"""Whole modules: where code uses a module in a way that no analysis follows, all that it defines counts."""

from __future__ import annotations

import pkgutil
import re
import sys
from types import ModuleType

from cas_engine.fingerprint.functions import CompiledFile
from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.origin import owner_of_namespace
from cas_engine.fingerprint.reach import Reach, belongs, says
from cas_engine.fingerprint.resolve import has_own_class, import_module, shown_module
from cas_engine.modules.program import program_of

# Names that are there to tell people and type checkers something, and values of types that are.
_SKIPPED_NAMES = frozenset(
    {"__builtins__", "__annotations__", "__all__", "__author__", "__cached__", "__doc__", "__file__"}
    | {"__loader__", "__name__", "__package__", "__path__", "__spec__", "__warningregistry__"}
    | {"__conditional_annotations__", "__annotate__", "TYPE_CHECKING"}
)
# What an interactive session keeps of itself: inputs, outputs, the last results.
_SESSION = re.compile(r"(In|Out|exit|quit|get_ipython|open|_+|_i+|_i?\d+|_[iod]h)\Z")
_NOTHING = re.compile(r"(?!)")
_TELLING = frozenset({"typing", "typing_extensions", "__future__"})


def describe_module(node: Node, reach: Reach) -> None:
    """All names of a module of the user's with what they stand for; another's by its name."""
    module: ModuleType = node.obj
    namespace = vars(module)
    owner = owner_of_namespace(namespace)
    belongs(node, owner)
    node.name = shown_module(namespace)
    if not owner.is_user:
        says(node, owner.kind.value, str(module.__name__))
        return
    if owner.compiled:
        node.children = [reach.node(CompiledFile(owner.compiled), ("file", owner.compiled), node.name)]
        says(node, "compiled")
        return
    node.kind = "module"
    node.modules |= {str(module.__name__)}
    session = _SESSION if "get_ipython" in namespace else _NOTHING
    names = [name for name, value in sorted(namespace.items()) if _counts(name, value) and not session.match(name)]
    node.children = [reach.node(namespace[name], (id(namespace), name), f"{node.name}.{name}") for name in names]
    below = _submodules(node, module)
    node.children += [reach.node(child) for _, child in below]
    if has_own_class(module):
        node.children.append(reach.node(type(module)))
    says(node, "module", tuple(names), tuple(name for name, _ in below))


def _counts(name: str, value: object) -> bool:
    if name in _SKIPPED_NAMES or isinstance(value, ModuleType):
        return False
    return getattr(type(value), "__module__", None) not in _TELLING


def is_below(name: str, package: str) -> bool:
    """Whether `name` is that of a module right below the package."""
    return name.rpartition(".")[0] == package and not name.endswith(".__main__")


def _submodules(node: Node, module: ModuleType) -> list[tuple[str, ModuleType]]:
    """All modules below a package, imported if need be: what was imported so far must not matter."""
    found: list[tuple[str, ModuleType]] = []
    paths = getattr(module, "__path__", None)
    if paths is None:
        return found
    recorded = program_of(vars(module))
    if recorded:
        below = {name.rpartition(".")[2]: child for name, child in recorded.items() if is_below(name, module.__name__)}
        return sorted(below.items())
    for each in sorted(pkgutil.iter_modules(paths), key=lambda each: each.name):
        name = f"{module.__name__}.{each.name}"
        if each.name == "__main__":
            continue
        child = sys.modules.get(name) or import_module(name)
        if child is None:
            node.unresolved += (f"{name}: can't be imported",)
        else:
            found.append((each.name, child))
    return found
