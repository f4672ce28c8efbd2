"""Modules and files that are named by texts: what an import by a computed name may mean."""

# ruff: noqa: PTH118, PTH113, PTH100 - as texts

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType

from cas_engine.fingerprint.references import LITERAL, Ref
from cas_engine.fingerprint.resolve import Found, resolve_import

_MOST = 200  # texts
_HOLD_NOTHING = frozenset({int, float, bool, bytes, complex, type(None), FunctionType, ModuleType, CodeType})
_SCRIPTS = (".py", ".sh", ".bash", ".R", ".r", ".jl", ".pl", ".rb", ".js", ".lua", ".m", ".awk", ".sed", ".sql")


def texts_in(value: object) -> Iterator[str]:
    """The texts in a value: a text itself, those in containers, and in the attributes of objects."""
    row: list[object] = [value]
    met: set[int] = set()
    for each in row:
        if type(each) is str:
            yield each
            continue
        if type(each) in _HOLD_NOTHING or id(each) in met or len(row) > _MOST:
            continue
        met.add(id(each))
        if isinstance(each, dict):
            inside = [*each.keys(), *each.values()]
        elif isinstance(each, (list, tuple, set, frozenset)):
            inside = list(each)
        else:
            inside = _attributes_of(each)
        row += inside[:_MOST]


def _attributes_of(value: object) -> list[object]:
    kind = type(value)
    if issubclass(kind, type) or kind.__module__ == "builtins" or not kind.__dictoffset__:
        return []  # code: its texts are its own
    return list(object.__getattribute__(value, "__dict__").values())


def modules_named(texts: Iterable[str], namespace: dict[str, object]) -> list[ModuleType]:
    """The user's modules that the texts name: "helpers", "plugins.", "helpers:scale", "helpers.scale"."""
    found: dict[str, ModuleType] = {}
    for text in sorted(texts)[:_MOST]:
        name = text.partition(":")[0].rstrip(".")
        while name and all(part.isidentifier() for part in name.lstrip(".").split(".")):
            resolution = resolve_import(Ref(LITERAL, name), namespace)
            module = resolution.obj if isinstance(resolution, Found) else None
            # Of a package above recorded modules nothing may have been recorded, not even its name.
            if isinstance(module, ModuleType) and "__name__" in vars(module):
                found[module.__name__] = module
                break
            name = name.rpartition(".")[0]
    return [module for _, module in sorted(found.items())]


def files_named(texts: Iterable[str], folder: str, endings: tuple[str, ...] = (".py",)) -> list[str]:
    """The files with code that the texts name, in the folder of the project or where the process is."""
    files = set()
    for text in texts:
        if text.endswith(endings) and "\0" not in text:
            for base in (folder, "."):
                path = os.path.abspath(os.path.join(base, text))
                if os.path.isfile(path):
                    files.add(path)
                    break
    return sorted(files)


def programs_named(texts: Iterable[str], folder: str) -> list[str]:
    """The scripts that command lines name: `python tools/clean.py -v`, or a word of one."""
    return files_named({word for text in texts for word in text.split()}, folder, _SCRIPTS)
