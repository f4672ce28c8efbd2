"""What the user declares with `depends_on`: modules, code, files, texts."""

from __future__ import annotations

import os
from pathlib import PurePath

from cas_engine.fingerprint.environment import FILE, version_of
from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.reach import Reach, says
from cas_engine.values import File


class Dependency:
    """One entry of `depends_on`."""

    __slots__ = ("thing",)

    def __init__(self, thing: object) -> None:
        self.thing = thing


def describe_file(node: Node, _reach: Reach) -> None:
    """A file that code holds, in a global or a default: by content, now and as found where a node runs."""
    file = FILE + str(node.obj.path)
    node.packages |= {file}
    says(node, "file", version_of(file))


def describe_dependency(node: Node, reach: Reach) -> None:
    """A file by content, a text as it is, code as code; anything else by value."""
    thing = node.obj.thing
    if isinstance(thing, (PurePath, File)):
        path = str(thing if isinstance(thing, PurePath) else thing.path)
        node.packages |= {FILE + os.path.abspath(path)}  # noqa: PTH100 - links stay
        says(node, "file")
        return
    if isinstance(thing, str):
        node.kind, node.name, node.detail = "value", "depends_on", repr(thing)
        says(node, "text", thing)
        return
    node.children = [reach.node(thing, ("depends_on", id(thing)), "depends_on")]
    says(node, "depends on")
