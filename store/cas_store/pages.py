"""LMDB's data file read as plain bytes, trusting nothing in it: its headers, its trees, its rows.

LMDB believes what it reads: a flipped bit in a page makes it loop, abort, or write over what is in use. So
whatever may be damaged is looked at here first. The format is that of LMDB 0.9 on a 64-bit machine.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from cas_store.tables import KEY_LIMIT

_ORDER = "="
_PAGE = struct.Struct(f"{_ORDER}QHHHH")  # number, padding, flags, end of the pointers, start of the nodes
_NODE = struct.Struct(f"{_ORDER}HHHH")  # size or page: low, high; flags, or page: highest; size of the key
_TREE = struct.Struct(f"{_ORDER}IHHQQQQQ")
_META = struct.Struct(f"{_ORDER}QHHIIIQQ")  # page header; magic, version, address, size of the map
_LAST = struct.Struct(f"{_ORDER}QQ")  # last page, transaction
_HEAD = _PAGE.size
META_SIZE = _META.size + 2 * _TREE.size + _LAST.size
_POINTER = struct.Struct(f"{_ORDER}Q")
_MAGIC = 0xBEEFC0DE
_BRANCH, _LEAF, _OVERFLOW, _META_PAGE = 0x01, 0x02, 0x04, 0x08
_BIG, _SUBTREE = 0x01, 0x02
_NO_PAGE = (1 << 64) - 1
_PAGE_SIZES = {1 << n for n in range(9, 17)}
_NUMBERS = 0x08  # the keys of the list of free pages
_DEEPEST = 32  # what LMDB's own stack holds

Row = tuple[bytes, bytes]


class PageFault(Exception):
    """A page does not hold what it has to."""


class Tree(NamedTuple):
    """The root of one tree, and what is said to be in it."""

    page_size: int  # only in the first of a meta page's two
    flags: int
    depth: int
    branches: int
    leaves: int
    overflows: int
    entries: int
    root: int

    @property
    def is_empty(self) -> bool:
        """Whether it has no page at all."""
        return self.root == _NO_PAGE


class Meta(NamedTuple):
    """One of the two headers: the roots of the trees as of one transaction."""

    slot: int
    free: Tree
    main: Tree
    last_page: int
    transaction: int


class Fault(NamedTuple):
    """What is wrong with the structure, and on which page."""

    page: int
    why: str

    def __str__(self) -> str:
        return f"page {self.page}: {self.why}"


class DataFile:
    """The pages behind a descriptor. Reading by offset, not by mapping: a file cut off is then no signal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self.page_size = self._found_page_size()

    def metas(self) -> list[Meta]:
        """The headers that can be read, the newest first. Raises PageFault when there is none."""
        found = [meta for meta in (self._meta(0), self._meta(1)) if meta is not None]
        if not found:
            raise PageFault("neither of its two headers is LMDB's")
        return sorted(found, key=lambda meta: -meta.transaction)

    def likely_metas(self) -> list[Meta]:
        """What may be headers, for who tries what their trees are like: one whose own page was hit among them."""
        found = []
        for slot in (0, 1):
            head = os.pread(self._descriptor, META_SIZE, slot * self.page_size)
            if len(head) == META_SIZE:
                found.append(_parsed(slot, head))
        return found

    def page(self, number: int) -> bytes:
        """The bytes of one page. Raises PageFault, OSError."""
        return self.extent(number, self.page_size)

    def extent(self, number: int, size: int) -> bytes:
        """So many bytes from the beginning of a page. Raises PageFault."""
        if number * self.page_size + size > self.size:
            raise PageFault("it goes on beyond the end of the file")
        return os.pread(self._descriptor, size, number * self.page_size)

    def _found_page_size(self) -> int:
        for offset in (0, *sorted(_PAGE_SIZES)):
            head = os.pread(self._descriptor, META_SIZE, offset)
            if len(head) == META_SIZE and _META.unpack_from(head)[4] == _MAGIC:
                size: int = _TREE.unpack_from(head, _META.size)[0]
                if size in _PAGE_SIZES and offset in (0, size):
                    return size
        raise PageFault("it has no header of LMDB's")

    def _meta(self, slot: int) -> Meta | None:
        head = os.pread(self._descriptor, META_SIZE, slot * self.page_size)
        if len(head) < META_SIZE:
            return None
        number, _, flags, _, magic, version, _, _ = _META.unpack_from(head)
        meta = _parsed(slot, head)
        if (number, flags, magic, version, meta.free.page_size) != (slot, _META_PAGE, _MAGIC, 1, self.page_size):
            return None
        if meta.transaction & 1 != slot and meta.transaction:
            return None
        return meta


def _parsed(slot: int, head: bytes) -> Meta:
    free = Tree(*_TREE.unpack_from(head, _META.size))
    main = Tree(*_TREE.unpack_from(head, _META.size + _TREE.size))
    last_page, transaction = _LAST.unpack_from(head, _META.size + 2 * _TREE.size)
    return Meta(slot, free, main, last_page, transaction)


class Walk:
    """One way through the trees of one header. What is wrong is gathered in `faults`, and gone around."""

    def __init__(self, file: DataFile, meta: Meta, *, leaves: bool) -> None:
        """With `leaves` all pages are read, else only those that say where the others are."""
        self.meta = meta
        self.faults: list[Fault] = []
        self.tables: dict[bytes, Tree] = {}
        self._file = file
        self._leaves = leaves
        self._seen = bytearray(min(meta.last_page + 1, file.size // file.page_size + 1))
        self._seen[:2] = b"\x01" * len(self._seen[:2])
        self.free: set[int] = set()
        self.is_free_list_whole = False
        self.are_tables_whole = False
        self.newest_freed = 0  # the last transaction that has freed pages: nearly always the header's own

    def run(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Go through all of it: table, key and row, by order of key; rows only where leaves are read."""
        self._read_free_list()
        before = len(self.faults)
        for key, row, flags in self._entries(self.meta.main, "the table of tables", leaves=True):
            if flags != _SUBTREE or len(row) != _TREE.size:
                self._note(self.meta.main.root, "an entry in the table of tables is none")
                continue
            self.tables[key] = Tree(*_TREE.unpack(row))
        for name, tree in self.tables.items():
            for key, row, flags in self._entries(tree, f"table {name.decode(errors='replace')}", leaves=self._leaves):
                if flags:
                    self._note(tree.root, "a row has flags that none of ours has")
                yield name, key, row
        self.are_tables_whole = len(self.faults) == before
        shared = [number for number in self.free if number < len(self._seen) and self._seen[number]]
        if shared:
            self._note(min(shared), f"in use, and free to be written over ({len(shared)} such pages)")

    def lost_pages(self) -> Iterator[int]:
        """Pages that are neither in a tree nor free: those below a page that could not be read, for instance."""
        for number in range(2, len(self._seen)):
            if not self._seen[number] and number not in self.free:
                yield number

    def _read_free_list(self) -> None:
        for key, row, _ in self._entries(self.meta.free, "the list of free pages", leaves=True):
            words = len(row) // 8
            pages = struct.unpack_from(f"{_ORDER}{words}Q", row)
            count = pages[0] if words else -1
            listed = pages[1 : count + 1] if 0 <= count < words else ()
            self.newest_freed = max(self.newest_freed, int.from_bytes(_number(key), "big"))
            known = len(self.free)
            self.free.update(listed)
            if (
                len(key) != 8
                or count != len(listed)
                or len(self.free) != known + count
                or (listed and not 1 < min(listed) <= max(listed) <= self.meta.last_page)
            ):
                self._note(self.meta.free.root, "an entry in the list of free pages is damaged")
        self.is_free_list_whole = not self.faults

    def _note(self, page: int, why: str) -> None:
        self.faults.append(Fault(page, why))

    def _entries(self, tree: Tree, name: str, *, leaves: bool) -> Iterator[tuple[bytes, bytes, int]]:
        """Key, row and flags of the nodes in the leaves of a tree."""
        if tree.is_empty:
            if (tree.depth, tree.branches, tree.leaves, tree.overflows, tree.entries) != (0, 0, 0, 0, 0):
                self._note(0, f"{name} has lost its root")
            return
        faults = len(self.faults)
        numbers = tree is self.meta.free
        if (tree.flags, tree.page_size) != ((_NUMBERS, self._file.page_size) if numbers else (0, 0)):
            self._note(tree.root, f"{name} has flags that none of ours has")
        branches = leaf_pages = overflows = entries = 0
        stack: list[tuple[int, int, bytes | None, bytes | None]] = [(tree.root, 1, None, None)]
        if not 1 <= tree.depth <= _DEEPEST:
            self._note(tree.root, f"{name} is said to be {tree.depth} pages deep")
        while stack:
            number, level, low, high = stack.pop()
            if not self._take(number, 1):
                continue
            if not leaves and level == tree.depth and level > 1:
                leaf_pages += 1
                continue
            try:
                page = self._file.page(number)
                is_leaf, offsets = _pointers(page, number, self._file.page_size)
                if is_leaf != (level == tree.depth):
                    self._note(number, f"{name} is not as deep here as it is said to be")
                    if level >= _DEEPEST:
                        continue
            except PageFault as fault:
                self._note(number, str(fault))
                continue
            if not is_leaf:
                branches += 1
                below = self._children(page, number, offsets, (low, high), numbers=numbers)
                stack += [(child, level + 1, *bounds) for child, *bounds in reversed(below)]  # type: ignore[misc]
                continue
            leaf_pages += 1
            entries += len(offsets)
            last = None
            for key, row, flags, pages in self._nodes(page, number, offsets):
                order = _number(key) if numbers else key
                low_enough = high is None or order < high
                if not low_enough or (last is not None and order <= last) or (last is None and low and order < low):
                    self._note(number, "its keys are out of order")
                last = order
                overflows += pages
                yield key, row, flags
        found = (branches, leaf_pages, *((overflows, entries) if leaves else ()))
        said = (tree.branches, tree.leaves, *((tree.overflows, tree.entries) if leaves else ()))
        if found != said and len(self.faults) == faults:
            self._note(tree.root, f"{name} is said to have {said} branches, leaves, ..., and has {found}")

    def _take(self, number: int, count: int) -> bool:
        """Mark pages as in use: each but once."""
        if not 1 < number <= number + count - 1 < len(self._seen) or number + count - 1 > self.meta.last_page:
            self._note(number, "something points to it that should not: the file has no such page")
            return False
        if any(self._seen[number : number + count]):
            self._note(number, "two pages point to it")
            return False
        self._seen[number : number + count] = b"\x01" * count
        return True

    def _children(
        self,
        page: bytes,
        number: int,
        offsets: tuple[int, ...],
        bounds: tuple[bytes | None, bytes | None],
        *,
        numbers: bool,
    ) -> list[tuple[int, bytes | None, bytes | None]]:
        found: list[tuple[int, bytes]] = []
        used = _HEAD + 2 * len(offsets)
        size = len(page)
        for at in offsets:
            if at + _NODE.size > size:
                self._note(number, "an entry lies beyond its end")
                continue
            low, high, highest, length = _NODE.unpack_from(page, at)
            key = page[at + _NODE.size : at + _NODE.size + length]
            if len(key) != length:
                self._note(number, "a key goes on beyond its end")
            used += _NODE.size + length + (length & 1)
            found.append((low | high << 16 | highest << 32, _number(key) if numbers else key))
        if used != size - _room(page):
            self._note(number, "its entries are not as long as it says")
        keys: list[bytes | None] = [bounds[0], *(key for _, key in found[1:]), bounds[1]]
        for one, other in itertools.pairwise(keys):
            if one is not None and other is not None and not one < other:
                self._note(number, "its keys are out of order")
                break
        return [(child, keys[i], keys[i + 1]) for i, (child, _) in enumerate(found)]

    def _nodes(self, page: bytes, number: int, offsets: tuple[int, ...]) -> Iterator[tuple[bytes, bytes, int, int]]:
        """Key, row, flags and overflow pages of each node of a leaf."""
        used = _HEAD + 2 * len(offsets)
        page_size = len(page)
        unpack = _NODE.unpack_from
        for at in offsets:
            if at + 8 > page_size:
                self._note(number, "an entry lies beyond its end")
                continue
            low, high, flags, length = unpack(page, at)
            size = low | high << 16
            start = at + 8 + length
            key = page[at + 8 : start]
            if flags & _BIG:
                used += (8 + length + 8 + 1) & ~1
                row, pages = self._overflowing(page[start : start + 8], size)
                if row is not None:
                    yield key, row, flags & ~_BIG, pages
                continue
            used += (8 + length + size + 1) & ~1
            if start + size > page_size or not 0 < length <= KEY_LIMIT:
                self._note(number, "a row goes on beyond its end, or has no key")
                continue
            yield key, page[start : start + size], flags, 0
        if used != page_size - _room(page):
            self._note(number, "its entries are not as long as it says")

    def _overflowing(self, pointer: bytes, size: int) -> tuple[bytes | None, int]:
        """A row that has pages of its own."""
        if len(pointer) < _POINTER.size:
            self._note(0, "a long row has no page")
            return None, 0
        number: int = _POINTER.unpack(pointer)[0]
        try:
            content = self._file.extent(number, _HEAD + size)
            said, _, flags, low, high = _PAGE.unpack_from(content)
            count = low | high << 16
            # It may have more pages than it needs: a longer row was written over.
            if (said, flags) != (number, _OVERFLOW) or count * self._file.page_size < len(content):
                raise PageFault("it should be the first of a long row's, and is not")  # noqa: TRY301
        except (PageFault, OSError) as fault:
            self._note(number, str(fault))
            return None, 0
        return (content[_HEAD:], count) if self._take(number, count) else (None, 0)


def leaf_rows(file: DataFile, number: int) -> Iterator[Row]:
    """What can be read as rows on a page that no tree leads to, or that is damaged. Only a seal tells which are.

    All that lies behind the start of the nodes is in use, so what proves to be a row there is not an old one.
    """
    try:
        page = file.page(number)
    except (PageFault, OSError):
        return
    _, _, _, lower, upper = _PAGE.unpack_from(page)
    if not _HEAD <= lower <= upper <= len(page):
        return
    for at in struct.unpack_from(f"{_ORDER}{(lower - _HEAD) // 2}H", page, _HEAD):
        if not upper <= at <= len(page) - _NODE.size:
            continue
        low, high, flags, length = _NODE.unpack_from(page, at)
        start, size = at + _NODE.size + length, low | high << 16
        key = page[at + _NODE.size : start]
        if not flags & _BIG:
            yield key, page[start : start + size]
        elif start + _POINTER.size <= len(page):
            with suppress(PageFault, OSError):
                yield key, file.extent(_POINTER.unpack_from(page, start)[0], _HEAD + size)[_HEAD:]


def _pointers(page: bytes, number: int, page_size: int) -> tuple[bool, tuple[int, ...]]:
    """Whether a page is a leaf, and where its nodes are. Raises PageFault."""
    said, _, flags, lower, upper = _PAGE.unpack_from(page)
    if said != number:
        raise PageFault(f"it says that it is page {said}")
    if flags not in (_BRANCH, _LEAF):
        raise PageFault("it is neither branch nor leaf")
    count = (lower - _HEAD) // 2
    if lower < _HEAD or lower & 1 or not lower <= upper <= page_size:
        raise PageFault("the bounds in its head are wrong")
    if count < (2 if flags == _BRANCH else 1):
        raise PageFault("it is empty")
    offsets = struct.unpack_from(f"{_ORDER}{count}H", page, _HEAD)
    if min(offsets) < upper or len(set(offsets)) != count:
        raise PageFault("its pointers are wrong")
    return flags == _LEAF, offsets


def _room(page: bytes) -> int:
    """Free bytes between pointers and nodes."""
    _, _, _, lower, upper = _PAGE.unpack_from(page)
    room: int = upper - lower
    return room


def _number(key: bytes) -> bytes:
    """A key of the list of free pages, which LMDB writes in the machine's order, and compares as a number."""
    return key[::-1] if _LITTLE else key


_LITTLE = struct.pack("=H", 1) == b"\x01\x00"
