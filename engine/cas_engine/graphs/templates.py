"""The calls of a graph as they were recorded, each decoded when somebody looks at it. Pure.

A graph may have a hundred thousand, and a change touches few. Each is a line of JSON; of those of a large graph a row
of fixed size tells where the line begins, and what keys need to know of it.
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, chain
from typing import Any

from cas_engine.graphs import bindings
from cas_engine.graphs.alike import Alike, Small
from cas_engine.graphs.bindings import Template, refs_in, template_dumps, template_from_json
from cas_store.digest import Digest

KeyPart = tuple[Digest, int, int]  # the digest of a template, its slots, and how many of these count in a key
ROW = struct.Struct("<Q16sII")  # where its line begins, and its KeyPart
_KEYS = struct.Struct("<8x16sII")
KEY_PART = _KEYS.unpack_from  # of a row, given the rows and where it begins
DIGEST_AT = 8  # of a row
Rows = bytes | bytearray | memoryview
_BLOCK = 1 << 14  # bytes of lines
_JOINED = 1 << 10  # lines that are copied together
_DECODED = 1 << 12  # templates that are kept decoded
OBJECTS = 1 << 16  # templates of a graph that is being traced that are not kept as lines


class Recorded(Sequence[Template]):
    """Templates as lines. Raises ValueError when there are others than it says."""

    def __init__(self, text: memoryview, count: int) -> None:
        self.text = text
        self._count = count
        self._decoded: dict[int, Template] = {}

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        found = self._decoded.get(index)
        if found is None:
            if len(self._decoded) >= _DECODED:
                self._decoded.clear()
            found = self._decoded[index] = template_from_json(json.loads(self.line(index)))
        return found

    @cached_property
    def _raw(self) -> bytes:
        return bytes(self.text)

    @cached_property
    def lines(self) -> list[bytes]:
        """All of them, taken apart."""
        lines = self._raw.split(b"\n") if self._count else []
        if len(lines) != self._count:
            raise ValueError("a manifest has other templates than it says")
        return lines

    @cached_property
    def _newlines(self) -> list[int]:
        """How many there are before each block of the text, and in all: found at the speed of memory, and kept."""
        raw = self._raw
        each = (raw.count(b"\n", at, at + _BLOCK) for at in range(0, len(raw), _BLOCK))
        before = list(accumulate(each, initial=0))
        if before[-1] + 1 != self._count:
            raise ValueError("a manifest has other templates than it says")
        return before

    def line(self, index: int) -> bytes:
        """One line, without taking all of them apart."""
        if not 0 <= index < self._count:
            raise IndexError(f"template {index} of {self._count}")
        raw, before, start = self._raw, self._newlines, 0
        if index:
            block = bisect_left(before, index) - 1
            start = block * _BLOCK
            for _ in range(index - before[block]):
                start = raw.find(b"\n", start) + 1
        end = raw.find(b"\n", start)
        return raw[start:] if end < 0 else raw[start:end]

    def key_part(self, index: int) -> KeyPart:
        """What keys need to know of one."""
        return _key_part_in(self.line(index))

    def key_parts(self) -> list[KeyPart]:
        """What keys need to know of each."""
        return self.key_parts_in_lines()

    def key_parts_in_lines(self) -> list[KeyPart]:
        """The same, as the lines have it."""
        return [_key_part_in(line) for line in self.lines]

    def naming_blobs(self) -> Iterator[Template]:
        """Those that have a constant which is a blob, and perhaps some others."""
        return (self[index] for index, line in enumerate(self.lines) if bindings.BLOB_IN_JSON in line)

    def maybe_taking_parts(self) -> Iterator[int]:
        """Those that take parts of results, and perhaps some others; of a graph without any, no line is looked at."""
        if any(each in self._raw for each in bindings.PATH_IN_JSON):
            yield from _with_paths(self.lines)


class Indexed(Recorded):
    """Templates as lines, with a row for each: any is found without looking at the others."""

    def __init__(self, text: memoryview, rows: memoryview) -> None:
        super().__init__(text, len(rows) // ROW.size)
        self.rows = rows

    def line(self, index: int) -> bytes:
        if not 0 <= index < self._count:
            raise IndexError(f"template {index} of {self._count}")
        (start,) = struct.unpack_from("<Q", self.rows, ROW.size * index)
        end = len(self.text)
        if index + 1 < self._count:
            end = struct.unpack_from("<Q", self.rows, ROW.size * (index + 1))[0] - 1
        return bytes(self.text[start:end])

    def key_part(self, index: int) -> KeyPart:
        return _KEYS.unpack_from(self.rows, ROW.size * index)

    def key_parts(self) -> list[KeyPart]:
        return list(_KEYS.iter_unpack(self.rows))


class Growing(Sequence[Template]):
    """Templates as they are made: what calls that are alike have in common, and their constants, as columns.

    There is no object for each that Python would look through again and again, as it does with lists and tuples. Those
    that are like no others are objects; after so many of them all are kept as lines, which take a third of the memory.
    """

    def __init__(self) -> None:
        self._rows = bytearray()
        self._alike: list[Alike | None] = []
        self._first_constant = array("I")
        self._constants: list[Small] = []
        self._lines: list[bytes] = []
        self._made: dict[int, Template] = {}  # those that are like no others
        self._decoded: dict[int, Template] = {}
        self.take_parts = False  # whether some may take parts of results

    def append(self, template: Template) -> None:
        """Add one."""
        self._rows += ROW.pack(0, template.digest, template.slots, template.key_slots)
        if len(self._made) < OBJECTS and not self._lines:
            self._made[len(self._alike)] = template
            self._alike.append(None)
            self._first_constant.append(0)
        else:
            self._lines.append(template_dumps(template))

    def add(self, alike: Alike, digest: Digest, constants: Sequence[Small]) -> int:
        """Add one by what it has in common with others, and its constants; its number."""
        number, slots = len(self._rows) // ROW.size, alike.slots
        self._rows += ROW.pack(0, digest, slots, slots)
        if not self._lines:
            self._alike.append(alike)
            self._first_constant.append(len(self._constants))
            self._constants += constants
        else:
            self._lines.append(alike.line(digest, constants))
        return number

    def lines(self) -> list[bytes]:
        """All of them as lines."""
        columns = zip(self._alike, self._first_constant, _KEYS.iter_unpack(self._rows), strict=False)
        lines: list[bytes] = []
        for alike, first, (digest, _, _) in columns:
            if alike is None:
                lines.append(template_dumps(self._made[len(lines)]))
            else:
                lines.append(alike.line(digest, self._constants[first : first + len(alike.constants)]))
        return lines + self._lines

    def rows(self) -> bytearray:
        """As `key_rows_of`."""
        return self._rows

    def key_part(self, index: int) -> KeyPart:
        """What keys need to know of one."""
        return KEY_PART(self._rows, index * ROW.size)

    def naming_blobs(self) -> Iterator[Template]:
        """As those that were recorded do."""
        yield from self._made.values()
        for at, line in enumerate(self._lines):
            if bindings.BLOB_IN_JSON in line:
                yield self[len(self._alike) + at]

    def maybe_taking_parts(self) -> Iterator[int]:
        """As those that were recorded do. Those that are alike take none."""
        if self.take_parts:
            yield from self._made
            yield from (len(self._alike) + at for at in _with_paths(self._lines))

    def __len__(self) -> int:
        return len(self._rows) // ROW.size

    def __getitem__(self, index: Any) -> Any:
        if type(index) is int and (known := self._decoded.get(index)) is not None:
            return known
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        found = self._made.get(at)
        if found is None:
            if len(self._decoded) >= _DECODED:
                self._decoded.clear()
            found = self._decoded[at] = self._decode(at)
        return found

    def _decode(self, at: int) -> Template:
        if at >= len(self._alike):
            return template_from_json(json.loads(self._lines[at - len(self._alike)]))
        alike, first = self._alike[at], self._first_constant[at]
        assert alike is not None  # noqa: S101 - it was made
        (digest, _, _) = KEY_PART(self._rows, at * ROW.size)
        return alike.template(digest, self._constants[first : first + len(alike.constants)])


class MoreTemplates(Sequence[Template]):
    """The templates of a recorded graph as they are, decoded or not, and behind them those that were made since."""

    def __init__(self, recorded: Sequence[Template], added: Sequence[Template] = ()) -> None:
        self.recorded = recorded
        self.added: Sequence[Template] = added or []

    def __len__(self) -> int:
        return len(self.recorded) + len(self.added)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        count = len(self.recorded)
        return self.recorded[at] if at < count else self.added[at - count]


def key_parts_of(templates: Sequence[Template]) -> list[KeyPart]:
    """What keys need to know of each template."""
    return list(_KEYS.iter_unpack(key_rows_of(templates)))


def key_rows_of(templates: Sequence[Template]) -> Rows:
    """The same as rows, where any is found by its number: of a million, no objects are made."""
    if isinstance(templates, MoreTemplates):
        return b"".join([key_rows_of(templates.recorded), key_rows_of(templates.added)])
    if isinstance(templates, Indexed):
        return templates.rows
    if isinstance(templates, Growing):
        return templates.rows()
    if isinstance(templates, Recorded):
        return rows_of(templates.lines, templates.key_parts())
    return _rows_of(templates)


def all_slots_count(rows: Rows) -> bool:
    """Whether the slots of all templates count in keys: most have no parameter that is ignored."""
    numbers, each = memoryview(rows).cast("I"), ROW.size // 4
    return numbers[each - 2 :: each] == numbers[each - 1 :: each]


def _rows_of(templates: Iterable[Template]) -> bytearray:
    rows, pack = bytearray(), ROW.pack
    for template in templates:
        rows += pack(0, template.digest, template.slots, template.key_slots)
    return rows


def at_bottom(templates: Sequence[Template]) -> Sequence[Template]:
    """Those that were recorded first, without what was made since."""
    while isinstance(templates, MoreTemplates):
        templates = templates.recorded
    return templates


def digests_of(templates: Sequence[Template]) -> Callable[[int], Digest]:
    """What gives the digest of each; those that were recorded are not decoded for it."""
    if isinstance(templates, MoreTemplates):
        recorded, added, count = digests_of(templates.recorded), digests_of(templates.added), len(templates.recorded)
        return lambda at: recorded(at) if at < count else added(at - count)
    if isinstance(templates, (Recorded, Growing)):
        key_part = templates.key_part
        return lambda at: key_part(at)[0]
    return lambda at: templates[at].digest


def some(templates: Sequence[Template], wanted: Iterable[int]) -> tuple[list[bytes], list[KeyPart]]:
    """The lines of some, and what keys need to know of them; those that were recorded are not decoded."""
    lines, parts = [], []
    for index in wanted:
        among, at = templates, index
        while isinstance(among, MoreTemplates):
            count = len(among.recorded)
            among, at = (among.recorded, at) if at < count else (among.added, at - count)
        if isinstance(among, Recorded):
            lines.append(among.line(at))
            parts.append(among.key_part(at))
        else:
            one = among[at]
            lines.append(template_dumps(one))
            parts.append((one.digest, one.slots, one.key_slots))
    return lines, parts


def lines_of(templates: Sequence[Template]) -> list[bytes]:
    """The line of each."""
    if isinstance(templates, MoreTemplates):
        return [*lines_of(templates.recorded), *lines_of(templates.added)]
    if isinstance(templates, Recorded):
        return templates.lines
    if isinstance(templates, Growing):
        return templates.lines()
    return [template_dumps(template) for template in templates]


def text_of(templates: Sequence[Template]) -> list[bytes | memoryview]:
    """The pieces of all lines in one text; those that were recorded as they came."""
    if isinstance(templates, Recorded):
        return [templates.text]
    if isinstance(templates, MoreTemplates) and len(templates.recorded):
        added = [b"\n", *text_of(templates.added)] if templates.added else []
        return [*text_of(templates.recorded), *added]
    return [b"\n".join(lines_of(templates))]


def rows_of(lines: Sequence[bytes], parts: Iterable[KeyPart]) -> bytearray:
    """The rows of such lines, as they stand one after the other."""
    return _placed(lines, b"".join([ROW.pack(0, *part) for part in parts]))


def _placed(lines: Sequence[bytes], rows: Rows) -> bytearray:
    """Rows with where each line begins, set all at once: an eighth of the time that it takes to pack each."""
    written = bytearray(rows)
    begins = array("Q", accumulate((len(line) + 1 for line in lines), initial=0))
    if sys.byteorder == "big":
        begins.byteswap()
    memoryview(written).cast("Q")[:: ROW.size // 8] = memoryview(begins)[:-1]
    return written


def laid_out(lines: Sequence[bytes], rows: Rows) -> tuple[bytearray, int]:
    """The rows of such lines, and the lines behind them, in one; and how many bytes the lines are."""
    written = _placed(lines, rows)
    begin = len(written)
    for at in range(0, len(lines), _JOINED):
        written += b"\n" if at else b""
        written += b"\n".join(lines[at : at + _JOINED])
    return written, len(written) - begin


def naming_blobs(templates: Sequence[Template]) -> Iterable[Template]:
    """All that have a constant which is a blob, and some others; few of those that were recorded are decoded."""
    if isinstance(templates, MoreTemplates):
        return chain(naming_blobs(templates.recorded), naming_blobs(templates.added))
    return templates.naming_blobs() if isinstance(templates, (Recorded, Growing)) else templates


def taking_parts(templates: Sequence[Template]) -> Iterator[int]:
    """The numbers of those that take parts of results, not only results as a whole."""
    if isinstance(templates, MoreTemplates):
        yield from taking_parts(templates.recorded)
        yield from (len(templates.recorded) + at for at in taking_parts(templates.added))
        return
    maybe: Iterable[int] = range(len(templates))
    if isinstance(templates, (Recorded, Growing)):
        maybe = templates.maybe_taking_parts()
    for at in maybe:
        if any(ref.path for _, binding in templates[at].params for ref in refs_in(binding)):
            yield at


def _with_paths(lines: Sequence[bytes]) -> Iterator[int]:
    return (at for at, line in enumerate(lines) if any(each in line for each in bindings.PATH_IN_JSON))


def check(templates: Sequence[Template]) -> None:
    """Raise ValueError if the rows of those that were recorded tell another thing than their lines."""
    if isinstance(templates, MoreTemplates):
        check(templates.recorded)
        check(templates.added)
    elif isinstance(templates, Indexed) and rows_of(templates.lines, templates.key_parts_in_lines()) != templates.rows:
        raise ValueError("the rows of a manifest's templates are of others")


def _key_part_in(line: bytes) -> KeyPart:
    """Read at both ends of the line: all that is between costs ten times as much."""
    if line[:2] != b'["' or line[34:36] != b'",' or is_usual_in(line):
        digest, _, _, _, slots, key_slots, *_ = json.loads(line)
        return bytes.fromhex(digest), slots, key_slots
    _, slots, key_slots = line.rsplit(b",", 2)
    return bytes.fromhex(line[2:34].decode()), int(slots), int(key_slots[:-1])


def is_usual_in(line: bytes) -> bool:
    """Whether some parameters are given their own defaults: then a list of them is the last."""
    return line.endswith(b"]]")
