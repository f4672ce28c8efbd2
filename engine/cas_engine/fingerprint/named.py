"""Modules and files that are named by texts: what an import by a computed name may mean."""

# ruff: noqa: PTH118, PTH113, PTH100 - as texts

from __future__ import annotations

import os
import pkgutil
import re
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar

from cas_engine.fingerprint.references import LITERAL, Ref
from cas_engine.fingerprint.resolve import Found, folder_of, resolve_import
from cas_engine.modules.program import program_of

Leaf = TypeVar("Leaf", str, bytes)
_MOST = 200  # texts
_LONGEST = 20_000  # characters of a text
_HOLD_NOTHING = frozenset({int, float, bool, bytes, complex, type(None), FunctionType, ModuleType, CodeType})
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+(?::[^\W\d][\w.]*)?")  # in the text of a configuration
_QUOTED = re.compile(r"""["']([^\W\d][\w.]*(?::[^\W\d][\w.]*)?)["']""")
_PART = 3  # characters that the part of a name has at least


def texts_in(value: object) -> Iterator[str]:
    """The texts in a value: a text itself, those in containers, and in the attributes of objects."""
    return leaves_in(value, str)


def leaves_in(value: object, kind: type[Leaf]) -> Iterator[Leaf]:
    """The same of all texts, or all bytes."""
    row: list[Any] = [value]
    met: set[int] = set()
    each: Any
    for each in row:
        if type(each) is kind:
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
    """The user's modules that the texts name: "helpers", "plugins.", "helpers:scale", "helpers.scale", "plugin_"."""
    found: dict[str, ModuleType] = {}
    texts = set(texts)
    for text in sorted(texts | set(_words_of(texts)))[:_MOST]:
        name = text.partition(":")[0].rstrip(".")
        while name and all(part.isidentifier() for part in name.lstrip(".").split(".")):
            resolution = resolve_import(Ref(LITERAL, name), namespace)
            module = resolution.obj if isinstance(resolution, Found) else None
            # Of a package above recorded modules nothing may have been recorded, not even its name.
            if isinstance(module, ModuleType) and "__name__" in vars(module):
                found[module.__name__] = module
                break
            name = name.rpartition(".")[0]
    for name in _with_parts(texts, namespace):
        resolution = resolve_import(Ref(LITERAL, name), namespace)
        if isinstance(resolution, Found) and isinstance(resolution.obj, ModuleType):
            found[name] = resolution.obj
    return [module for _, module in sorted(found.items())]


def _words_of(texts: Iterable[str]) -> Iterator[str]:
    """Names with dots, and names in quotes, in longer texts: `{"target": "kernels.square"}`."""
    for text in texts:
        if len(text) <= _LONGEST and not text.isidentifier():
            yield from _DOTTED.findall(text)
            yield from _QUOTED.findall(text)


def _with_parts(texts: Iterable[str], namespace: dict[str, object]) -> list[str]:
    """Modules of the project whose names begin or end with a text: f"plugin_{kind}", "plugin_%s", kind + "_model"."""
    begins = {text.partition("{")[0].partition("%")[0] for text in texts}
    ends = {text.rpartition("}")[2].rpartition("%s")[2] for text in texts}
    first = tuple(text for text in begins if text.endswith("_") and _is_part(text))
    last = tuple(text for text in ends if text.startswith("_") and _is_part(text))
    if not (first or last):
        return []
    known = program_of(namespace) or {each.name for each in pkgutil.iter_modules([folder_of(namespace) or "."])}
    return sorted(name for name in known if name.startswith(first) or name.endswith(last))


def _is_part(text: str) -> bool:
    return len(text) >= _PART and text.isidentifier() and not text.startswith("__")


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
