"""Values that contain themselves, or are very deep, have digests, and those say what the values look like."""

from __future__ import annotations

import copy
import itertools
import pickle
import time
from typing import Any

import pytest

from cas_engine.values import Digester
from cas_store.digest import digest_of


def code(thing, where):
    return digest_of(f"{thing.__module__}:{thing.__qualname__}".encode())


digest = Digester(code).digest


class Node:
    def __init__(self, mark=0):
        self.mark = mark
        self.next = None
        self.previous = None


class Hashed(Node):
    """Nodes that can be in sets of each other."""

    friends: object = None


def ring(*marks):
    nodes = [Node(mark) for mark in marks]
    for i, node in enumerate(nodes):
        node.next = nodes[(i + 1) % len(nodes)]
        node.previous = nodes[i - 1]
    return nodes


def line(count, mark_at=None):
    nodes = [Node() for _ in range(count)]
    for one, other in itertools.pairwise(nodes):
        one.next, other.previous = other, one
    if mark_at is not None:
        nodes[mark_at].mark = 1
    return nodes[0]


def nested(levels, leaf=None):
    value = [leaf]
    for _ in range(levels):
        value = [value]
    return value


def test_a_list_that_contains_itself_has_a_digest():
    one: list[Any] = [1]
    other: list[Any] = [1]
    one.append(one)
    other.append(other)
    assert digest(one) == digest(other)
    other[0] = 2
    assert digest(one) != digest(other)


def test_a_copy_of_a_cycle_has_its_digest():
    nodes = ring(1, 2, 3)
    assert digest(copy.deepcopy(nodes[0])) == digest(nodes[0])
    assert digest(pickle.loads(pickle.dumps(nodes[0]))) == digest(nodes[0])


def test_a_shallow_copy_of_what_is_in_a_cycle_has_its_digest():
    one: list[Any] = [1]
    one.append(one)
    assert digest(copy.copy(one)) == digest(one)
    assert digest([1, [1, one]]) == digest(one)
    assert digest([2, one]) != digest(one)
    first = ring(1, 2, 3)[0]
    assert digest(copy.copy(first)) == digest(first)
    assert digest([copy.copy(first), first]) == digest([first, first])


def test_where_a_cycle_is_entered_counts_just_as_far_as_it_shows():
    alike = ring(1, 1, 1)
    assert len({digest(node) for node in alike}) == 1
    different = ring(1, 1, 2)
    assert len({digest(node) for node in different}) == 3


def test_a_walk_cannot_tell_how_often_a_ring_repeats_itself():
    assert digest(ring(1, 2)[0]) == digest(ring(1, 2, 1, 2)[0])
    assert digest(ring(1, 2)[0]) != digest(ring(1, 2, 1, 1)[0])


def test_the_members_of_a_cycle_can_be_in_sets():
    def friends(*marks):
        people = [Hashed(mark) for mark in marks]
        for one in people:
            one.friends = {other for other in people if other is not one}
        return people

    assert {digest(one) for one in friends(1, 2, 3)} == {digest(one) for one in friends(3, 1, 2)}
    assert digest(friends(1, 2, 3)[0]) != digest(friends(1, 2, 4)[0])


def test_a_shared_member_of_a_cycle_and_two_equal_ones_are_the_same():
    def family(*, twins):
        parent = Node("parent")
        child, other = Node("child"), Node("child")
        child.previous = other.previous = parent
        parent.next = [child, other if twins else child]
        return parent

    assert digest(family(twins=True)) == digest(family(twins=False))


def test_two_cycles_that_touch_are_told_apart_from_one():
    a: list[Any] = []
    b: list[Any] = []
    a += [a, b]
    b += [a]
    c: list[Any] = []
    c += [c, c]
    assert digest(a) != digest(b)
    assert digest(a) != digest(c)


def test_an_object_that_holds_its_own_method_is_a_cycle_like_others():
    def bound(mark):
        node: Any = Node(mark)
        node.callback = node.__repr__
        node.append = [].append
        return node

    assert digest(bound(1)) == digest(bound(1))
    assert digest(bound(1)) != digest(bound(2))


def test_ten_thousand_levels_are_no_trouble():
    assert digest(nested(20_000)) == digest(nested(20_000))
    assert digest(nested(20_000)) != digest(nested(19_999))
    assert digest(nested(20_000, 1)) != digest(nested(20_000, 2))


def test_the_depth_at_which_the_pass_changes_does_not_show():
    for levels in range(55, 70):
        assert digest([nested(levels)]) == digest(nested(levels + 1))


def test_every_place_in_a_long_chain_counts():
    count = 1_000
    plain, marked = digest(line(count)), digest(line(count, mark_at=700))
    assert len({plain, marked, digest(line(count, mark_at=701)), digest(line(count - 1))}) == 4
    assert marked == digest(line(count, mark_at=700))


def mesh(side, mark_at=None):
    top, cells = Node("mesh"), [[Node() for _ in range(side)] for _ in range(side)]
    for i, j in itertools.product(range(side), repeat=2):
        beside = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
        cells[i][j].next = [cells[a][b] for a, b in beside if 0 <= a < side and 0 <= b < side]
        cells[i][j].previous = top
    if mark_at is not None:
        cells[mark_at[0]][mark_at[1]].mark = 1
    top.next = [cell for row in cells for cell in row]
    return top


def test_every_cell_of_a_mesh_counts():
    side = 12
    found = [digest(mesh(side)), digest(mesh(side + 1)), *(digest(mesh(side, (i, 3))) for i in range(side))]
    assert len(set(found)) == len(found)
    assert digest(mesh(side, (2, 3))) == found[4]


@pytest.mark.parametrize("made", [line, lambda n: ring(1, *[0] * n)[0], lambda n: mesh(int(n**0.5), (5, 5))])
def test_what_is_linked_in_all_directions_takes_time_in_proportion(made):
    def seconds(count):
        value = made(count)
        started = time.process_time()
        digest(value)
        return time.process_time() - started

    assert seconds(10_000) < 40 * seconds(1_000)  # in proportion to the square it would be 100 times
