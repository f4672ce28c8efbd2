"""What usually doesn't count of code and does when something it runs with reads it: names, texts, signatures."""

from __future__ import annotations

import inspect
import marshal
from types import FunctionType

from cas_engine.fingerprint.annotations import annotations_of
from cas_engine.fingerprint.graph import Node
from cas_store.digest import digest_of


def facets_of(nodes: list[Node]) -> list[bytes]:
    """The facets that are read by one of these nodes, of all of them; empty when none is."""
    read = frozenset().union(*(node.reflects for node in nodes)) if nodes else frozenset()
    if not read:
        return []
    # A set: the same code may be met as two objects, one live and one loaded from a capsule.
    told = {digest_of(marshal.dumps(_facets(node, read), 2)) for node in nodes if node.kind in {"code", "class"}}
    return sorted(told)


_TOLD = frozenset({"code", "class"})


def _facets(node: Node, read: frozenset[str]) -> tuple[object, ...]:
    thing = node.obj
    found: list[object] = []
    if "names" in read:
        found.append(str(getattr(thing, "__name__", "")))
    if "qualnames" in read or ("class qualnames" in read and isinstance(thing, type)):
        found.append(str(getattr(thing, "__qualname__", "")))
    if "modules" in read:
        found.append(str(getattr(thing, "__module__", "")))
    if "docs" in read:
        found.append(str(getattr(thing, "__doc__", "")))
    if "signatures" in read and isinstance(thing, FunctionType):
        code = thing.__code__
        count = code.co_argcount + code.co_kwonlyargcount
        found += [code.co_varnames[:count], len(thing.__defaults__ or ()), tuple(sorted(thing.__kwdefaults__ or ()))]
    if read & {"signatures", "annotations"}:
        found += [f"{name}: {inspect.formatannotation(each)}" for name, each in annotations_of(thing).items()]
    if "sources" in read:
        try:
            found.append(inspect.getsource(thing))
        except (OSError, TypeError):
            found.append("")
    return tuple(found)
