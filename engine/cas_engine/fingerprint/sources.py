"""The source text of code, where it is at hand and is really that of the code. Slow: for diffs only."""

from __future__ import annotations

import functools
import inspect
import linecache
from types import CodeType, FunctionType

from cas_engine.fingerprint.bytecode import canonical
from cas_engine.fingerprint.graph import Node


def sources_of(nodes: list[Node], names: frozenset[str]) -> dict[str, str]:
    """Name -> text, for the functions and classes among the nodes."""
    linecache.checkcache()
    compiled: dict[str, dict[tuple[str, int], CodeType]] = {}
    found: dict[str, str] = {}
    for node in nodes:
        if node.kind not in {"code", "class"} or node.name not in names or node.name in found:
            continue
        text = _source(node.obj, compiled)
        if text is not None:
            found[node.name] = text
    return found


def _source(thing: object, compiled: dict[str, dict[tuple[str, int], CodeType]]) -> str | None:
    functions = [thing] if isinstance(thing, FunctionType) else _methods(thing)
    if not all(_is_current(fn.__code__, compiled) for fn in functions):
        return None
    try:
        return inspect.getsource(thing)  # type: ignore[arg-type]
    except (OSError, TypeError, SyntaxError, IndexError):
        return None


def _methods(thing: object) -> list[FunctionType]:
    own = vars(thing).values() if isinstance(thing, type) else ()
    name = getattr(thing, "__module__", "")
    return [each for each in own if isinstance(each, FunctionType) and each.__module__ == name and _has_file(each)]


def _has_file(fn: FunctionType) -> bool:
    return not fn.__code__.co_filename.startswith("<")


def _is_current(code: CodeType, compiled: dict[str, dict[tuple[str, int], CodeType]]) -> bool:
    """Whether the text that would be found today still compiles to this code."""
    file = code.co_filename
    if file not in compiled:
        compiled[file] = _codes_in(file, "".join(linecache.getlines(file)))
    today = compiled[file].get((code.co_name, code.co_firstlineno))
    return today is not None and canonical(today).digest == canonical(code).digest


@functools.lru_cache(maxsize=64)
def _codes_in(file: str, text: str) -> dict[tuple[str, int], CodeType]:
    try:
        row = [compile(text, file, "exec", dont_inherit=True)]
    except (SyntaxError, ValueError):
        return {}
    found = {}
    for code in row:
        found[code.co_name, code.co_firstlineno] = code
        row += [const for const in code.co_consts if isinstance(const, CodeType)]
    return found
