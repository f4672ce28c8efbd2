"""Entry points of distributions, the project's own among them: what a group that code asks for leads to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.reach import Reach, belongs, says
from cas_engine.fingerprint.references import LITERAL, Ref
from cas_engine.fingerprint.resolve import Foreign, Found, resolve_import


class Entries:
    """Those of one group, as modules with these globals import them."""

    __slots__ = ("group", "namespace")

    def __init__(self, group: str, namespace: dict[str, object]) -> None:
        self.group = group
        self.namespace = namespace


def groups_named(texts: Iterable[str]) -> list[str]:
    """The groups of entry points that texts name."""
    from importlib.metadata import entry_points  # takes a while to import, and hardly any code asks

    known: Any = entry_points()
    groups = set(known.groups if hasattr(known, "groups") else known)
    return sorted(groups.intersection(texts))


def describe_entries(node: Node, reach: Reach) -> None:
    """By name, with the user's code that they stand for, or the package that they come with."""
    from importlib.metadata import entry_points

    entries: Entries = node.obj
    node.name = f"entry points {entries.group}"
    found = sorted({(each.name, each.value) for each in entry_points(group=entries.group)})
    for name, value in found:
        module, _, attrs = value.partition("[")[0].partition(":")
        path = tuple(part for part in attrs.strip().split(".") if part)
        resolution = resolve_import(Ref(LITERAL, module.strip(), path), entries.namespace)
        if isinstance(resolution, Found):
            node.children.append(reach.node(resolution.obj, resolution.place, f"{node.name}: {name}"))
        elif isinstance(resolution, Foreign):
            belongs(node, resolution.owner)
    says(node, "entry points", entries.group, tuple(found))
