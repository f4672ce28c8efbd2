"""What usually doesn't count of code and does when something it runs with reads it: names, texts, signatures."""

from __future__ import annotations

import inspect
import re
from types import FunctionType

from cas_engine.fingerprint.annotations import annotations_of
from cas_engine.fingerprint.classes import documentation_of_fields
from cas_engine.fingerprint.constants import dumped
from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.handed import handed_facets
from cas_engine.fingerprint.named import texts_in
from cas_store.digest import digest_of

_TOLD = frozenset({"code", "class"})
_OF_HANDED = frozenset({"labels", "parameters"})  # of functions that others are given
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_FOLLOWED = frozenset(
    {"wrapped", "namespaces", "subclasses", "programs", "variables", "entry points", "pickles", "pickles elsewhere"}
)  # what these lead to is reached


def facets_of(nodes: list[Node]) -> list[bytes]:
    """The facets that are read by one of these nodes, of all of them; empty when none is."""
    # A set: the same code may be met as two objects, one live and one loaded from a capsule.
    found: set[bytes] = set()
    read: frozenset[str] = frozenset().union(*[node.reflects for node in nodes]) - _FOLLOWED
    if read - _OF_HANDED:
        found = {digest_of(node.digest, dumped(_facets(node, read))) for node in nodes if node.kind in _TOLD}
    if read & _OF_HANDED:
        found |= handed_facets(nodes, read)
    hidden = {name for node in nodes if node.hidden for name in node.hidden}
    if hidden:
        keywords: frozenset[str] = frozenset().union(*(node.keywords for node in nodes))
        passed = hidden & keywords.union(*(texts_in(node.obj) for node in nodes if node.kind == "value"))
        found |= {digest_of(node.local, dumped(node.hidden)) for node in nodes if passed & {*node.hidden}}
    return sorted(found)


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
        if isinstance(thing, type):
            found += documentation_of_fields(thing)
    if "signatures" in read and isinstance(thing, FunctionType):
        code = thing.__code__
        count = code.co_argcount + code.co_kwonlyargcount
        found += [code.co_varnames[:count], len(thing.__defaults__ or ()), tuple(sorted(thing.__kwdefaults__ or ()))]
    if read & {"signatures", "annotations"}:
        told = [f"{name}: {inspect.formatannotation(each)}" for name, each in annotations_of(thing).items()]
        found += [_ADDRESS.sub("", text) for text in told]
    if "generics" in read:
        if isinstance(thing, type):
            found += [inspect.formatannotation(each) for each in vars(thing).get("__orig_bases__", ())]
        for each in getattr(thing, "__type_params__", ()) or getattr(thing, "__parameters__", ()):
            parts = [getattr(each, name, None) for name in ("__name__", "__bound__", "__constraints__", "__default__")]
            found.append(_ADDRESS.sub("", " ".join(map(inspect.formatannotation, parts))))
    if "sources" in read:
        try:
            found.append(inspect.getsource(thing))
        except (OSError, TypeError):
            found.append("")
    return tuple(found)
