"""Digests of values that are cyclic, very deep, or refused: thorough, iterative, aware of paths.

A value in a cycle is digested as what it looks like to somebody who walks through it: two structures in which
no walk can tell a difference have one digest, however often they share objects. For that, the members of each
cycle are named by what they are made of, then by what the parts of those are named, and so on until no two
members with one name differ: colour refinement (https://en.wikipedia.org/wiki/Colour_refinement_algorithm),
with digests as names so that the names are the same in every process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cas_engine.errors import Undigestible
from cas_engine.values.pieces import Branch, CodeOf, Digested, Order, Refusal, combined
from cas_engine.values.plain import LEAVES
from cas_engine.values.rules import rule_of
from cas_store.digest import Digest, digest_of
from cas_store.errors import CasRunError

_UNNAMED = bytes(16)


@dataclass(slots=True)
class _Node:
    """A branch, with its parts as digests or, where they are branches too, as the numbers of their nodes."""

    value: object  # kept alive: nodes are found by id
    branch: Branch
    order: Order
    came_from: tuple[int, int]  # the node and the part by which it was first reached; (-1, 0) for the root
    parts: list[Digest | int] = field(default_factory=list)


class Tangle:
    """One thorough pass over one value."""

    def __init__(self, code: Callable[[object, str], Digest], dict_order: Order) -> None:
        self._code = code
        self._dict_order = dict_order
        self._nodes: list[_Node] = []
        self._known: dict[int, tuple[Digest | int, object]] = {}
        self._root = ""
        # What a member of a knot looks like from outside: a shallow copy of one, which leads into the knot, is like it.
        self._around: dict[Digest, Digest] = {}

    def digest(self, value: object, where: str) -> Digest:
        """The digest. Raises Undigestible with the path to what has no stable content."""
        self._root = where
        top = self._enter(value, (-1, 0))
        if isinstance(top, bytes):
            return top
        # Grows while it is walked over: the nodes that the parts of earlier nodes became.
        for number, node in enumerate(self._nodes):
            node.parts = [self._enter(part, (number, i)) for i, part in enumerate(node.branch.parts)]
        digests: list[Digest] = [_UNNAMED] * len(self._nodes)
        for members in _knots([[p for p in node.parts if isinstance(p, int)] for node in self._nodes]):
            self._digest_knot(members, digests)
        return digests[top]

    def _enter(self, value: object, came_from: tuple[int, int]) -> Digest | int:
        leaf = LEAVES.get(type(value))
        if leaf is not None:
            return leaf(value)
        if type(value) is CodeOf:
            return self._digest_code(value.thing, came_from)
        seen = self._known.get(id(value))
        if seen is not None:
            return seen[0]
        try:
            made = rule_of(type(value))(value)
        except Refusal as refusal:
            called = refusal.called or type(value).__qualname__
            raise Undigestible(self._path(came_from), called, refusal.advice) from None
        except CasRunError:
            raise
        except Exception as error:
            what = f"taking it to pieces raised {type(error).__name__}: {error}"
            advice = f"{what}; pass what the result depends on instead, or give its class __cas_digest__"
            raise Undigestible(self._path(came_from), type(value).__qualname__, advice) from error
        found: Digest | int
        if isinstance(made, Digested):
            found = made.digest
        elif isinstance(made, CodeOf):
            found = self._digest_code(made.thing, came_from)
        else:
            found = len(self._nodes)
            order = self._dict_order if made.order is Order.DICT else made.order
            self._nodes.append(_Node(value, made, order, came_from))
        self._known[id(value)] = (found, value)
        return found

    def _digest_code(self, thing: object, came_from: tuple[int, int]) -> Digest:
        seen = self._known.get(id(thing))
        if seen is None or isinstance(seen[0], int):
            digest = self._code(thing, self._path(came_from))
            self._known[id(thing)] = (digest, thing)
            return digest
        return seen[0]

    def _path(self, came_from: tuple[int, int]) -> str:
        steps = []
        number, part = came_from
        while number >= 0:
            node = self._nodes[number]
            steps.append(node.branch.step(node.branch.parts, part))
            number, part = node.came_from
        return self._root + "".join(reversed(steps))

    def _digest_knot(self, members: Sequence[int], digests: list[Digest]) -> None:
        """Digests of nodes that all reach each other; those of what else they reach are known."""
        first = self._nodes[members[0]]
        if len(members) == 1 and members[0] not in first.parts:
            digest = self._combined(first, digests)
            digests[members[0]] = self._around.get(digest, digest)
            return
        found = self._refined(members, digests)
        standing = {name: n for n, name in found.items()}  # one node for all that no walk can tell apart
        if len(standing) == len(members):
            name_of = found
        else:
            # Once more, where each is there once: how often it was would show in the names.
            for n in standing.values():
                parts = self._nodes[n].parts
                parts[:] = [standing[found[part]] if part in found else part for part in parts]
            name_of = self._refined(list(standing.values()), digests)
        for n, name in name_of.items():
            digests[n] = name  # names stand where the digests will, so that one function serves both
        # The pairs describe the whole knot: what each name stands for in terms of the other names.
        described = sorted(name + self._combined(self._nodes[n], digests) for n, name in name_of.items())
        knot = digest_of(b"knot\0" + b"".join(described))
        for n in members:
            digests[n] = digest_of(b"in knot\0" + name_of[standing[found[n]]] + knot)
        for n in name_of:
            self._around[self._combined(self._nodes[n], digests)] = digests[n]

    def _combined(self, node: _Node, digests: Sequence[Digest]) -> Digest:
        parts = [digests[part] if isinstance(part, int) else part for part in node.parts]
        return combined(node.branch.tag, node.order, parts)

    def _refined(self, members: Sequence[int], digests: list[Digest]) -> dict[int, Digest]:
        """A name for each member, the same for two just if no walk can tell them apart.

        Where members of one name turn out to differ, the most keep it, and only what has a renamed part is looked
        at again: no member is renamed more often than its name's members can be halved (Hopcroft's "all but the
        largest"). Which are the most hangs on how often each is there; so names mean something only where no
        two members look alike.
        """
        users: dict[int, set[int]] = {n: set() for n in members}
        for n in members:
            for part in self._nodes[n].parts:
                if isinstance(part, int) and part in users:
                    users[part].add(n)
        for n in members:
            digests[n] = _UNNAMED
        name_of = {n: self._combined(self._nodes[n], digests) for n in members}
        signature_of: dict[int, Digest] = {}
        named: dict[Digest, set[int]] = defaultdict(set)
        for n, name in name_of.items():
            named[name].add(n)
            digests[n] = name
        pending = set(members)
        while pending:
            looked_at: dict[Digest, list[int]] = defaultdict(list)
            for n in pending:
                if len(named[name_of[n]]) > 1:  # who is alone stays what it is
                    signature_of[n] = self._combined(self._nodes[n], digests)
                    looked_at[name_of[n]].append(n)
            renamed: dict[int, Digest] = {}
            for name, some in looked_at.items():
                groups: dict[Digest, set[int]] = defaultdict(set)
                for n in some:
                    groups[signature_of[n]].add(n)
                # The others' parts kept their names, so they still have one signature, and no one else has it.
                others = len(named[name]) - len(some)
                most = max(groups, key=lambda signature: (len(groups[signature]), signature))
                if others and len(groups[most]) > others:
                    rest = named[name].difference(some)
                    groups[signature_of[next(iter(rest))]] = rest
                elif others:
                    most = b""
                groups.pop(most, None)
                for signature, group in groups.items():
                    renamed.update(dict.fromkeys(group, digest_of(b"name\0" + name + signature)))
            for n, name in renamed.items():
                named[name_of[n]].discard(n)
                named[name].add(n)
                name_of[n] = digests[n] = name
            pending = {user for n in renamed for user in users[n]}
        return name_of


def _knots(reached_from: Sequence[Sequence[int]]) -> list[list[int]]:
    """The strongly connected components of a graph, the reached before those that reach them (Tarjan)."""
    count = len(reached_from)
    index_of, low_of = [-1] * count, [0] * count
    on_stack = [False] * count
    stack: list[int] = []
    found: list[list[int]] = []
    seen = 0
    for root in range(count):
        if index_of[root] >= 0:
            continue
        walk = [(root, 0)]
        while walk:
            node, at = walk.pop()
            if at == 0:
                index_of[node] = low_of[node] = seen
                seen += 1
                stack.append(node)
                on_stack[node] = True
            targets = reached_from[node]
            while at < len(targets):
                target = targets[at]
                at += 1
                if index_of[target] < 0:
                    walk += [(node, at), (target, 0)]
                    break
                if on_stack[target]:
                    low_of[node] = min(low_of[node], index_of[target])
            else:
                if walk:
                    parent = walk[-1][0]
                    low_of[parent] = min(low_of[parent], low_of[node])
                if low_of[node] == index_of[node]:
                    members: list[int] = []
                    while on_stack[node]:
                        members.append(stack.pop())
                        on_stack[members[-1]] = False
                    found.append(members)
    return found
