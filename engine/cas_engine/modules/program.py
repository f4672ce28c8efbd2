"""Recorded modules: what the user's modules are to code that was loaded by value. Knows nothing of streams.

Such code finds them through the `__builtins__` of its globals, which also hold the `__import__` that it calls.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Mapping
from typing import Any

# In the builtins of recorded functions: the recorded modules by name.
MODULES = "__cas_modules__"
# The names of all that were loaded in this process: mostly there are none.
RECORDED: set[str] = set()


class RecordedModule(types.ModuleType):
    """A module of the user's as it was recorded, as far as it was reached. In no `sys.modules`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"module `{self.__name__}` was recorded without `{name}`, which the code was not seen to reach\n"
            "  -> name it in the code, or say electron(depends_on=[...]) for what only getattr or eval finds"
        )


class Facade(types.ModuleType):
    """A module of Python as recorded code sees it: some of its functions find recorded modules first."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


# On a function that takes the place of another in recorded code: that other.
STANDS_FOR = "__cas_stands_for__"


def stood_for(thing: Any) -> Any:
    """The thing itself, or what it takes the place of."""
    return thing.__dict__.get(STANDS_FOR, thing) if type(thing) is types.FunctionType else thing


def program_of(namespace: Mapping[str, Any]) -> Mapping[str, types.ModuleType]:
    """The recorded modules, by name, that code with these globals imports; none for code of the live program."""
    found = namespace.get("__builtins__")
    modules = found.get(MODULES) if type(found) is dict else None
    return modules if modules is not None else {}


# On a class made again whose annotations are texts: the globals that these texts name.
HOME = "__cas_globals__"


def home_of(cls: type) -> dict[str, Any]:
    """The globals of the module that a class was defined in: for one made again the recorded ones, never those of a
    module that happens to have that name here.
    """
    recorded: dict[str, Any] | None = vars(cls).get(HOME)
    if recorded is not None:
        return recorded
    module = sys.modules.get(str(cls.__module__))
    return vars(module) if module is not None else {}


def absolute_name(name: str, namespace: Mapping[str, Any], level: int) -> str:
    """The full name of the module that an import statement in `namespace` asks for."""
    if level == 0:
        return name
    package = namespace.get("__package__")
    if package is None:
        package = namespace.get("__name__", "")
        if "__path__" not in namespace:
            package = package.rpartition(".")[0]
    parents = package.split(".")
    base = ".".join(parents[: len(parents) - level + 1])
    return f"{base}.{name}" if name else base
