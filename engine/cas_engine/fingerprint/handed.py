"""Which functions are handed to others, not only called: those may be told apart by their names and parameters."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from types import CodeType, FunctionType

from cas_engine.fingerprint import opcodes as O  # noqa: N812
from cas_engine.fingerprint.bytecode import canonical
from cas_engine.fingerprint.constants import dumped
from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.instructions import decode
from cas_engine.fingerprint.references import GLOBAL
from cas_engine.fingerprint.resolve import Found, resolve
from cas_store.digest import digest_of


def handed_facets(nodes: list[Node], read: frozenset[str]) -> set[bytes]:
    """Names and parameters, as far as they are read, of functions that a package may be given."""
    handed: set[int] = set()
    for node in nodes:
        functions = [child.obj for child in node.children if type(child.obj) is FunctionType and child.kind == "code"]
        if not functions:
            continue
        only_called = _objects_only_called(node.obj) if type(node.obj) is FunctionType else set()
        handed |= {id(fn) for fn in functions} - only_called
    found: set[bytes] = set()
    for node in nodes:
        if type(node.obj) is not FunctionType or node.kind != "code":
            continue
        if id(node.obj) in handed:
            found.add(digest_of(node.digest, dumped(tuple(_told(node.obj, read)))))
        inner = tuple(_inner_names(node.obj.__code__)) if "labels" in read else ()
        if inner:
            found.add(digest_of(node.digest, dumped(inner)))
    return found


def _told(fn: FunctionType, read: frozenset[str]) -> Iterable[object]:
    code = fn.__code__
    if "labels" in read:
        yield str(fn.__name__)
    if "parameters" in read:
        yield code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        yield len(fn.__defaults__ or ())
        yield tuple(sorted(fn.__kwdefaults__ or ()))


def _objects_only_called(fn: FunctionType) -> set[int]:
    """What the function names only to call it at once, by id."""
    called = _only_called(fn.__code__)
    found = set()
    for ref in canonical(fn.__code__).refs if called else ():
        if ref.source == GLOBAL and (ref.name, *ref.attrs) in called:
            resolution = resolve(ref, fn)
            if isinstance(resolution, Found):
                found.add(id(resolution.obj))
    return found


@functools.lru_cache(4096)
def _only_called(code: CodeType) -> frozenset[tuple[str, ...]]:
    """Names, with the attributes read from them, that are only there to be called. Not known before CPython 3.11."""
    called: set[tuple[str, ...]] = set()
    others: set[tuple[str, ...]] = set()
    row = [code]
    for each in row:
        row += [const for const in each.co_consts if isinstance(const, CodeType)]
        found = decode(each)
        for at, kind in enumerate(found.kinds):
            if kind != O.GLOBAL:
                continue
            end = at + 1
            while end < len(found.kinds) and found.kinds[end] == O.ATTR:
                end += 1
            chain = tuple(map(str, found.args[at:end]))
            last = found.ops[end - 1]
            (called if last >> 8 or last & 255 == O.LOAD_METHOD else others).add(chain)
    return frozenset(called - others)


def _inner_names(code: CodeType) -> Iterable[str]:
    """The names of functions that are made in the body."""
    for const in code.co_consts:
        if isinstance(const, CodeType):
            if not const.co_name.startswith("<"):
                yield const.co_name
            yield from _inner_names(const)
