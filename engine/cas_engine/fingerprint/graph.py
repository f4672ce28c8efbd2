"""A graph of pieces of code, each with a digest of all that it reaches, cycles included. Pure.

Outside of cycles a node's digest is that of its own description and its children's digests. The nodes of a cycle
are told apart by refinement: each is digested again and again with what its neighbours were in the round before,
until no round tells more of them apart. Equal digests then mean that the graphs below can't be told apart by any
walk, so that nothing depends on where the walk began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cas_engine.fingerprint.model import ComponentKind
from cas_store.digest import digest_of, digest_of_one

DigestOf = Callable[["Node"], bytes]
_NOTHING: frozenset[str] = frozenset()
_NONE: tuple[str, ...] = ()


class Node:
    """One piece: a function, a class, a value. Filled in by `describe`, then settled, then never changed."""

    # Slots, all filled at once: each is read for every node, and what lies with the class instead is slow to come by.
    __slots__ = (
        "asked",
        "base",
        "children",
        "computes",
        "depth",
        "derived",
        "detail",
        "digest",
        "draws",
        "electron",
        "evaluates",
        "hidden",
        "index",
        "keywords",
        "kind",
        "local",
        "low",
        "modules",
        "name",
        "obj",
        "packages",
        "recipe",
        "reflects",
        "unresolved",
        "warnings",
    )

    def __init__(self, obj: Any, name: str, kind: ComponentKind | None = None) -> None:
        self.obj = obj
        self.name = name
        self.kind = kind  # None: not worth telling, like a builtin
        self.local = b""  # the digest of this piece alone
        self.children: list[Node] = []
        self.digest = b""
        self.index = self.low = -1
        self.recipe: Callable[[DigestOf], bytes] | None = None  # for values, which mix themselves with what they hold
        self.detail = ""
        self.packages = self.modules = _NOTHING
        self.unresolved = self.warnings = _NONE
        self.electron = ""  # its name, if it is one
        self.draws = False  # whether that is a stochastic one
        self.reflects = _NOTHING  # what it reads of others that usually doesn't count
        self.keywords = _NOTHING  # names by which it may pass arguments
        self.hidden = _NONE  # names of parameters that only count if something passes arguments by them
        self.computes = False  # whether it imports what only running it would tell
        self.evaluates = False  # whether it evaluates texts
        self.asked = _NOTHING  # attributes that it reads of what isn't known
        self.derived: tuple[Node, ...] = ()  # classes below it, or below what it reads, that it looks up
        self.depth = 0  # of a piece in the value that it belongs to
        self.base = ""  # the folder of the module that it belongs to: a path in a value is told from there

    def __repr__(self) -> str:
        return f"<{self.kind or 'leaf'} {self.name} {self.digest.hex()[:8]}>"

    def mix(self, digest_of_child: DigestOf) -> bytes:
        """The digest of this piece with its children's."""
        if self.recipe is not None:
            return self.recipe(digest_of_child)
        return digest_of_one(self.local + b"".join([digest_of_child(child) for child in self.children]))

    def close(self) -> None:
        """Give it its digest: all its children have theirs."""
        if self.recipe is None:
            self.digest = digest_of_one(self.local + b"".join([child.digest for child in self.children]))
        else:
            self.digest = self.recipe(_settled)


def settle(root: Node, describe: Callable[[Node], None]) -> None:
    """Give a digest to `root` and all it reaches. Tarjan's components, without recursion: chains may be long."""
    if root.digest:
        return
    counter = 0
    stack: list[Node] = []
    work: list[tuple[Node, Iterator[Node]]] = []

    def enter(node: Node) -> None:
        nonlocal counter
        describe(node)
        node.index = node.low = counter
        counter += 1
        if node.children:
            stack.append(node)
            work.append((node, iter(node.children)))
        else:
            node.close()

    try:
        enter(root)
        _climb(work, stack, enter)
    except BaseException:
        for node in stack:  # an interrupt must not leave halves behind: the next one begins anew
            node.index = -1
            node.children.clear()
        raise


def _climb(work: list[tuple[Node, Iterator[Node]]], stack: list[Node], enter: Callable[[Node], None]) -> None:
    while work:
        node, children = work[-1]
        for child in children:
            if child.digest:
                continue
            if child.index < 0:
                enter(child)
                if child.digest:
                    continue
                break
            if child.index < node.low:  # noqa: PLR1730 - by far the quickest
                node.low = child.index
        else:
            work.pop()
            if work and node.low < work[-1][0].low:
                work[-1][0].low = node.low
            if node.low == node.index:
                _close(node, stack)


def _close(node: Node, stack: list[Node]) -> None:
    at = len(stack) - 1
    while stack[at] is not node:
        at -= 1
    members = stack[at:]
    del stack[at:]
    if len(members) == 1 and node not in node.children:
        node.close()
    else:
        _refine(members)


def _settled(node: Node) -> bytes:
    return node.digest


def _refine(members: list[Node]) -> None:
    known = {id(member): digest_of(b"cycle" + member.local) for member in members}
    classes = len(set(known.values()))

    def before(child: Node) -> bytes:
        return known.get(id(child)) or child.digest

    while True:
        now = {id(member): member.mix(before) for member in members}
        known, count = now, len(set(now.values()))
        if count == classes:
            break
        classes = count
    # All of the cycle's digests: without them two cycles that settle in equally many rounds could seem equal.
    whole = b"".join(sorted(set(known.values())))
    for member in members:
        member.digest = digest_of(known[id(member)] + whole)


def reachable(root: Node) -> Iterator[tuple[Node, Node | None]]:
    """(node, the first that reaches it), the nearest first."""
    seen = {id(root)}
    row: list[tuple[Node, Node | None]] = [(root, None)]
    for node, via in row:
        yield node, via
        for child in node.children:
            if id(child) not in seen:
                seen.add(id(child))
                row.append((child, node))
