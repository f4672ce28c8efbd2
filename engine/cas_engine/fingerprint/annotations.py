"""Annotations, where something makes use of them: types as code, generics by their parts, texts as what they name."""

from __future__ import annotations

import builtins
import re
import sys
import typing
from typing import Any

from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.reach import Reach

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def describe_annotations(node: Node, reach: Reach, thing: Any, said: list[object]) -> None:
    """Note the annotations of a class or function among what its node says and reaches."""
    annotations = _annotations_of(thing)
    module = sys.modules.get(str(getattr(thing, "__module__", "")))
    names: dict[str, Any] = vars(module) if module is not None else {}
    names = getattr(thing, "__globals__", names)
    for name, annotation in annotations.items():
        said.append(str(name))
        _describe(node, reach, annotation, names, said)


def _annotations_of(thing: Any) -> dict[str, Any]:
    # A class's own, and not its base's; from 3.14 on they may be computed on demand, and may then raise anything.
    try:
        if isinstance(thing, type) and sys.version_info < (3, 14):
            found = vars(thing).get("__annotations__", {})
        else:
            found = thing.__annotations__
    except Exception:  # noqa: BLE001 - as said
        return {}
    return found if isinstance(found, dict) else {}


def _describe(node: Node, reach: Reach, annotation: Any, names: dict[str, Any], said: list[object]) -> None:
    if isinstance(annotation, str):
        annotation = _named(annotation, names)
    if isinstance(annotation, typing.ForwardRef):
        annotation = _named(annotation.__forward_arg__, names)
    if isinstance(annotation, str):
        said.append(annotation)
        return
    parts = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is not None:
        said.append(("generic", len(parts)))
        for part in (origin, *parts):
            _describe(node, reach, part, names, said)
    elif isinstance(annotation, (list, tuple)):
        said.append(("parts", len(annotation)))
        for part in annotation:
            _describe(node, reach, part, names, said)
    elif isinstance(annotation, type):
        said.append("type")
        node.children.append(reach.node(annotation))
    else:
        said.append(_ADDRESS.sub("", repr(annotation)))


def _named(text: str, names: dict[str, Any]) -> Any:
    """What a text names: so that `from __future__ import annotations` changes nothing. The text where that fails."""
    found: Any = None
    for at, part in enumerate(text.split(".")):
        try:
            found = (names[part] if part in names else getattr(builtins, part)) if at == 0 else vars(found)[part]
        except (AttributeError, KeyError, TypeError):
            return text
    return found if found is not None else "None"
