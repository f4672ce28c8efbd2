"""A value that is stored comes back equal, of the same types, writable and without a copy where that can be."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import gc
import itertools
import math
import mmap
import pathlib
import random
import re
import socket
import struct
import threading
import typing
import uuid
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas_engine.capsules import codec
from cas_engine.capsules.frames import ALIGNMENT, FrameError
from cas_engine.errors import Unstorable
from cas_engine.fingerprint import Fingerprinter

SESSION = Fingerprinter()

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.binary()
    | st.text(st.characters())
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.datetimes()
    | st.uuids()
)
hashables = st.recursive(leaves, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=6)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.dictionaries(hashables, inner, max_size=4)
        | st.sets(hashables, max_size=4)
    ),
    max_leaves=20,
)


def in_parts(value: object) -> tuple[bytes, ...]:
    encoded = codec.encode(value, SESSION)
    blob = encoded.copied()
    assert sum(map(len, blob)) == encoded.size
    return blob


def stored(value: object) -> bytes:
    (blob,) = in_parts(value)
    return blob


def again(value: Any) -> Any:
    return codec.decode(in_parts(value), SESSION)


def same(a: object, b: object) -> bool:
    """Equal, with equal types, nan being nan."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and isinstance(b, float):
        return math.copysign(1, a) == math.copysign(1, b) and (a == b or (math.isnan(a) and math.isnan(b)))
    if isinstance(a, complex) and isinstance(b, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, decimal.Decimal) and isinstance(b, decimal.Decimal):
        return a.as_tuple() == b.as_tuple()
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    if isinstance(a, (set, frozenset)) and isinstance(b, (set, frozenset)):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    return a == b


@settings(max_examples=60, deadline=None)
@given(values)
def test_what_comes_back_is_what_went_in(value: object) -> None:
    assert same(again(value), value)


@settings(max_examples=60, deadline=None)
@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary())
def test_small_builtins_take_no_pickle(value: object) -> None:
    assert same(again(value), value)
    assert stored(value)[5] < 7


@pytest.mark.parametrize(
    "n", [0, 1, -1, 127, 128, -128, -129, 255, 256, 2**63, -(2**63), 2**64 - 1, 10**100, -(10**100)]
)
def test_integers_of_every_length(n: int) -> None:
    assert again(n) == n


def test_equal_builtins_have_equal_bytes() -> None:
    for one, other in [
        ("ab" * 2, "abab"),
        (float("1.5"), 1.5),
        (int("70000"), 70000),
        ((1, "a"), (1, str(b"a", "ascii"))),
    ]:
        assert stored(one) == stored(other)


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Pair(typing.NamedTuple):
    a: int
    b: str


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: int
    more: tuple[int, ...] = ()


class Slotted:
    __slots__ = ("__dict__", "x")

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slotted) and other.x == self.x

    __hash__ = None  # type: ignore[assignment]


class Only:
    def __reduce__(self) -> str:
        return "ONLY"


ONLY = Only()


@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        Level.LOW,
        Pair(1, "b"),
        Frozen(1, (2,)),
        Slotted(3),
        collections.OrderedDict(b=1, a=2),
        collections.defaultdict(list, {"a": [1]}),
        collections.Counter("aab"),
        collections.deque([1, 2], maxlen=3),
        range(1, 9, 2),
        slice(1, 2),
        bytearray(b"abc"),
        dt.datetime(2024, 1, 2, tzinfo=dt.timezone.utc),
        decimal.Decimal("1.10"),
        fractions.Fraction(1, 3),
        pathlib.PurePosixPath("/a/b"),
        re.compile("a+", re.IGNORECASE),
        uuid.UUID(int=5),
        ...,
        NotImplemented,
        type(None),
        int,
        Pair,
        len,
        math.sqrt,
        np.float32(1.5),
        np.datetime64("2024-01-01"),
        {1, "a", (2,)},
    ],
    ids=lambda value: type(value).__name__,
)
def test_types_are_kept_exactly(value: Any) -> None:
    back = again(value)
    assert type(back) is type(value)
    assert back == value
    if isinstance(value, (enum.Enum, type)):
        assert back is value


def test_a_global_that_says_it_is_one_object_stays_one_object() -> None:
    assert again({"only": ONLY})["only"] is ONLY


def test_a_class_of_a_function_comes_back_as_the_class_that_this_process_has() -> None:
    def make() -> type:
        class Local:
            def own(self) -> type:
                return __class__  # type: ignore[name-defined, no-any-return]

        return Local

    cls = make()
    back = again([cls(), cls])
    assert type(back[0]) is cls
    assert back[1] is cls


def test_memoryviews_come_back_as_such() -> None:
    view = memoryview(bytes(range(48))).cast("i", (3, 4))
    back = again(view)
    assert (back.format, back.shape, back.tobytes()) == (view.format, view.shape, view.tobytes())


def test_what_is_shared_in_a_value_is_stored_once_and_shared_again() -> None:
    array = np.arange(10_000.0)
    inner = [1]
    value = {"a": array, "b": (array, array), "c": [inner, inner]}
    assert sum(map(len, in_parts(value))) < array.nbytes * 1.1
    back = again(value)
    assert back["a"] is back["b"][0] is back["b"][1]
    assert back["c"][0] is back["c"][1]


def test_cycles_come_back_as_cycles() -> None:
    loop: list[Any] = [1]
    loop.append({"loop": loop})
    back = again(loop)
    assert back[1]["loop"] is back


# Arrays


def mapped(path: Path, value: object) -> memoryview:
    path.write_bytes(stored(value))
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


def test_arrays_are_views_on_the_memory_that_the_blob_lies_in(tmp_path: Path) -> None:
    value = {"a": np.arange(1000.0), "b": np.ones((30, 40), order="F"), "c": np.zeros(999, dtype="u1")}
    memory = mapped(tmp_path / "blob", value)
    back = codec.decode(memory, SESSION)
    raw = np.frombuffer(memory, dtype="u1")
    for name, one in value.items():
        assert np.array_equal(back[name], one)
        assert back[name].flags.f_contiguous == one.flags.f_contiguous
        assert np.shares_memory(back[name], raw)
        assert back[name].ctypes.data % ALIGNMENT == 0
        assert back[name].flags.writeable


def test_writing_to_a_result_does_not_reach_what_is_stored(tmp_path: Path) -> None:
    array = np.arange(1000.0)
    memory = mapped(tmp_path / "blob", array)
    back = codec.decode(memory, SESSION)
    back += 1
    assert np.array_equal(codec.decode((tmp_path / "blob").read_bytes(), SESSION), array)


@pytest.mark.parametrize("size", [3, 10_000])
def test_arrays_out_of_memory_that_is_read_only_are_writable_copies(size: int) -> None:
    blob = in_parts(np.arange(float(size)))
    back = codec.decode(tuple(map(memoryview, blob)), SESSION)
    back += 1
    assert np.array_equal(codec.decode(blob, SESSION), np.arange(float(size)))


def test_an_array_that_was_read_only_stays_so() -> None:
    array = np.arange(10_000.0)
    array.flags.writeable = False
    assert not again(array).flags.writeable


def test_encoding_a_large_array_copies_nothing() -> None:
    array = np.zeros(1_000_000)
    (part,) = codec.encode(array, SESSION).parts
    assert np.shares_memory(np.frombuffer(part), array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(2000.0)[::3],
        np.arange(2000.0).reshape(40, 50).T,
        np.array(["a", None, {"x": 1}], dtype=object),
        np.zeros(300, dtype=[("a", "i4"), ("b", "f8", (2,))]),
        np.ma.masked_array(np.arange(500.0), mask=np.arange(500) % 3 == 0),
        np.array([], dtype="f4"),
        np.array(5),
        np.arange("2024-01", "2024-05", dtype="datetime64[D]"),
    ],
    ids=["strided", "transposed", "objects", "structured", "masked", "empty", "scalar", "dates"],
)
def test_arrays_of_every_kind(array: Any) -> None:
    back = again(array)
    assert type(back) is type(array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert repr(back) == repr(array)


def test_frames_come_back_without_a_copy_and_writable(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"x": np.arange(2000.0), "n": np.arange(2000), "s": ["a", "b"] * 1000, "c": pd.Categorical(list("xy") * 1000)}
    )
    back = codec.decode(mapped(tmp_path / "blob", frame), SESSION)
    pd.testing.assert_frame_equal(back, frame)
    back.loc[0, "x"] = 7.0
    assert frame.loc[0, "x"] == 0.0


# What cannot be stored


class Holder:
    def __init__(self, held: object) -> None:
        self.held = held


async def _coroutine() -> None: ...


@pytest.mark.parametrize(
    ("value", "type_name", "where"),
    [
        ((i for i in range(3)), "generator", ""),
        ({"a": [1, (threading.Lock(),)]}, "lock", "['a'][1][0]"),
        (Holder({"x": Holder(threading.RLock())}), "RLock", ".held['x'].held"),
        ([socket.socket.__new__(socket.socket)], "socket", "[0]"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_what_cannot_be_stored_is_named_with_its_place(value: object, type_name: str, where: str) -> None:
    with pytest.raises(Unstorable) as caught:
        codec.encode(value, SESSION)
    assert (caught.value.type, caught.value.where) == (type_name, where)


def test_open_files_and_coroutines_are_refused(tmp_path: Path) -> None:
    coroutine = _coroutine()
    with (tmp_path / "file").open("w") as text, (tmp_path / "file").open("rb") as binary:
        for value in (text, [binary], coroutine):
            with pytest.raises(Unstorable):
                codec.encode(value, SESSION)
    coroutine.close()


def test_a_result_that_holds_a_handle_is_refused() -> None:
    from cas_engine.graphs.handles import Handle

    class Trace:
        def name_of(self, node: int) -> str:
            return "train"

    with pytest.raises(Unstorable) as caught:
        codec.encode({"model": Handle(Trace(), 0)}, SESSION)  # type: ignore[arg-type]
    assert (caught.value.type, caught.value.where) == ("Handle", "['model']")


# Bytes that are not a blob


@pytest.mark.parametrize(
    "blob", [b"", b"\x8fc", b"not a blob at all", b"\x8fcas\x01\x10\0\0", b"\x8fcas\x09\x10\0\0" + bytes(40)]
)
def test_other_bytes_are_refused(blob: bytes) -> None:
    with pytest.raises(FrameError):
        codec.decode(blob, SESSION)


def test_a_blob_cut_short_is_refused() -> None:
    blob = stored(np.arange(1000.0))
    for size in (9, 20, 40, 200, len(blob) - 1):
        with pytest.raises(FrameError):
            codec.decode(blob[:size], SESSION)


def test_large_buffers_are_parts_and_a_blob_with_other_parts_than_it_had_is_refused() -> None:
    large, small = np.arange(10_000.0), np.arange(1000.0)
    head, *parts = in_parts({"a": large, "b": small, "c": large + 1})
    assert parts == [large.tobytes(), (large + 1).tobytes()]
    for wrong in ([], parts[:1], [*parts, parts[0]], [parts[0], parts[1][:-8]]):
        with pytest.raises(FrameError):
            codec.decode((head, *wrong), SESSION)


def test_arrays_that_lie_in_strides_keep_their_byte_order_and_come_in_one_buffer():
    every_other = np.arange(2000, dtype=">i8")[::2]
    encoded = codec.encode(every_other)
    assert len(encoded.pieces) > 1
    back = again(every_other)
    assert back.dtype == every_other.dtype
    assert np.array_equal(back, every_other)


def test_a_memory_map_comes_back_as_one_with_its_elements_in_a_buffer(tmp_path):
    mapped = np.memmap(tmp_path / "numbers", "f8", "w+", shape=(100, 10))
    mapped[:] = np.arange(10)
    encoded = codec.encode(mapped)
    assert len(encoded.pieces) > 1
    back = again(mapped)
    assert type(back) is np.memmap
    assert np.array_equal(back, mapped)


def test_a_masked_array_comes_back_with_its_mask_and_what_fills_it():
    ma: Any = np.ma
    for one in (
        ma.array([1, 2, 3], mask=[0, 1, 0], fill_value=7, hard_mask=True),
        ma.array([1, 2, 3], dtype=">i8")[::2],
        ma.array([1, "a", None], mask=[0, 1, 0], dtype=object),
    ):
        back = again(one)
        assert SESSION.digest_value(back) == SESSION.digest_value(one)
        assert (back.dtype, back.fill_value, back.hardmask) == (one.dtype, one.fill_value, one.hardmask)


def test_the_random_state_of_numpy_itself_stays_what_every_process_has():
    own = np.random.mtrand._rand
    assert again([own]) == [own]
    other = again(np.random.RandomState(1))
    assert other.randint(1000) == np.random.RandomState(1).randint(1000)


def test_a_weak_dictionary_keeps_what_it_was_stored_with():
    one, other = frozenset([1]), frozenset([2])
    back = again(weakref.WeakValueDictionary({"one": one}))
    keyed = again(weakref.WeakKeyDictionary({other: 1}))
    gc.collect()
    assert (dict(back), dict(keyed)) == ({"one": one}, {other: 1})
    gone = weakref.ref(back["one"])
    del back
    gc.collect()
    assert gone() is None


def test_functions_that_only_c_code_holds_come_back_with_what_holds_them():
    key = again(functools.cmp_to_key(lambda a, b: b - a))
    assert sorted([1, 3, 2], key=key) == [3, 2, 1]
    triple = again(np.frompyfunc(lambda a, b: 3 * a + b, 2, 1, identity=0))
    assert (triple(2, 1), triple.identity, triple.nin) == (7, 0, 2)
    assert again([np.sin, np.add.reduce, np.vectorize(len)])[0] is np.sin


def test_what_a_module_offers_as_a_function_goes_on_where_the_module_is():
    offered = [random.random, random.gauss, random.choice, np.random.rand]
    assert again(offered) == offered
    kept = again(lambda: offered)
    assert kept() == offered
    own = random.Random(1)
    drawing = again(own.random)
    assert drawing() == random.Random(1).random()
    assert again([1, 2].count)(2) == 1


class Refusal(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code


class NoText(UnicodeDecodeError):
    def __init__(self, at: int) -> None:
        super().__init__("utf-8", b"abc", at, at + 1, "no text")


def test_an_exception_comes_back_whatever_its_init_takes():
    back = again(Refusal(3, "full"))
    assert (type(back), back.args, back.code) == (Refusal, ("3: full",), 3)
    assert again(NoText(1)).start == 1


def test_a_function_behind_a_cache_comes_back_behind_one():
    def double(x):
        return x * 2

    back = again(functools.lru_cache(maxsize=7)(double))
    assert (back(2), back.cache_parameters()["maxsize"]) == (4, 7)


def test_an_empty_view_and_a_packer_come_back():
    empty = again(memoryview(array.array("i")))
    assert (empty.format, empty.shape) == ("i", (0,))
    assert again(struct.Struct("<i")).format == "<i"


class Link:
    def __init__(self, to: object) -> None:
        self.to = to


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: {"next": x}, lambda x: (x, 1), Link])
def test_what_is_nested_deeper_than_pickle_goes_comes_back(wrap: Any) -> None:
    numbers = np.arange(1000.0)
    value: Any = [numbers]
    for _ in range(20_000):
        value = wrap(value)
    back = again(value)
    assert SESSION.digest_value(back) == SESSION.digest_value(value)


def test_a_lock_far_down_is_refused_all_the_same() -> None:
    value: Any = threading.Thread()
    for _ in range(5_000):
        value = [value]
    with pytest.raises(Unstorable):
        stored(value)


class Linked:
    def __init__(self):
        self.next = self.previous = None


class LinkedBySlots:
    __slots__ = ("next", "previous")


@pytest.mark.parametrize("kind", [Linked, LinkedBySlots])
def test_objects_that_lead_to_each_other_come_back_however_many_there_are(kind):
    row = [kind() for _ in range(5_000)]
    for one, other in itertools.pairwise(row):
        one.next, other.previous = {"to": [other]}, one
    first = codec.decode(codec.encode({"first": row[0], "all": row}, SESSION).copied(), SESSION)
    node, seen = first["first"], [first["first"]]
    for _ in range(4_999):
        assert node.next["to"][0].previous is node
        node = node.next["to"][0]
        seen.append(node)
    assert all(one is other for one, other in zip(seen, first["all"], strict=True))
