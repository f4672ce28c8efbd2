"""NumPy's values count by dtype, shape and elements; where and how these lie in memory does not show."""

from __future__ import annotations

import collections
import copy
import os
import pickle
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas_engine.errors import Undigestible
from cas_engine.values import Digester
from cas_store.digest import digest_of

np: Any = pytest.importorskip("numpy")
numpy_strategies: Any = pytest.importorskip("hypothesis.extra.numpy")


def code(thing, where):
    return digest_of(f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', repr(thing))}".encode())


digest = Digester(code).digest

RECORD = np.dtype([("name", "U4"), ("x", "f8"), ("inner", [("a", "i4"), ("b", "i4", (2,))])])
PADDED = np.dtype([("flag", "u1"), ("x", "f8")], align=True)


class Marked(np.ndarray):
    """An array with something besides."""

    mark = None


class Seconds(np.float64):
    pass


def marked(mark):
    array = np.arange(3).view(Marked)
    array.mark = mark
    return array


def generator(seed, draws=0):
    made = np.random.default_rng(seed)
    made.random(draws)
    return made


DIFFERENT = {
    "dtypes": [
        np.ones(2, kind) for kind in ("?", "i1", "u1", "i2", "<i4", ">i4", "i8", "u8", "f2", "f4", "<f8", ">f8")
    ],
    "complex": [np.ones(2, kind) for kind in ("c8", "c16", np.longdouble, np.clongdouble)],
    "shapes": [np.zeros(shape) for shape in ((), (1,), (1, 1), (6,), (2, 3), (3, 2), (0,), (0, 3), (3, 0))],
    "elements": [np.array(items) for items in ([0.0, 1.0], [-0.0, 1.0], [1.0, 0.0], [np.nan, 1.0], [np.inf, 1.0])],
    "texts": [np.array(items) for items in (["a", "b"], ["ab", ""], ["b", "a"], ["a", "b", ""], [b"a", b"b"])],
    "times": [np.array(["2020-01-01"], f"M8[{unit}]") for unit in ("D", "s", "ns")],
    "time": [np.array([1], "m8[s]"), np.array([2], "m8[s]"), np.array(["NaT"], "m8[s]")],
    "void": [np.zeros(1, "V3"), np.zeros(1, "V4"), np.array([b"abc"], "V3")],
    "structured": [
        np.zeros(2, RECORD),
        np.array([("a", 1.0, (1, (2, 3)))], RECORD),
        np.array([("a", 1.0, (1, (2, 4)))], RECORD),
        np.zeros(2, PADDED),
        np.zeros(2, [("flag", "u1"), ("x", "f8")]),
        np.zeros(2, [("flag", "u1"), ("y", "f8")]),
        np.zeros(2, [(("title", "flag"), "u1"), ("y", "f8")]),
    ],
    "objects": [
        np.array(items, object)
        for items in ([1, "a"], [1.0, "a"], [True, "a"], [1, "b"], [None, None], [[1], (2,)], [[[1]], (2,)])
    ],
    "object shapes": [np.array([[1, "a"], [2, "b"]], object), np.array([[1, 2], ["a", "b"]], object)],
    "structured objects": [
        np.array([(1, [2])], [("x", int), ("o", object)]),
        np.array([(1, [3])], [("x", int), ("o", object)]),
    ],
    "scalars": [
        *(kind(1) for kind in (np.int8, np.int64, np.uint64, np.float16, np.float64, np.float32, np.complex128)),
        np.longdouble(1),
        np.longdouble(1) + np.finfo(np.longdouble).eps,
        np.float64(0),
        np.float64(-0.0),
        np.float64(np.nan),
        np.float32(np.nan),
        np.bool_(1),
        np.str_("a"),
        np.bytes_(b"a"),
        np.datetime64("2020-01-01"),
        np.datetime64("2020-01-01", "s"),
        np.datetime64("NaT", "s"),
        np.timedelta64(1, "s"),
        np.void(b"ab"),
        np.ones(1, RECORD)[0],
        np.zeros(1, RECORD)[0],
        Seconds(1),
    ],
    "masked": [
        np.ma.array([1, 2, 3], mask=[0, 1, 0]),
        np.ma.array([1, 2, 3], mask=[1, 0, 0]),
        np.ma.array([1, 2, 3]),
        np.ma.array([1, 2, 3], mask=[0, 1, 0], fill_value=7),
        np.ma.array([4, 2, 3], mask=[0, 1, 0]),
        np.ma.array([1.0, 2, 3], mask=[0, 1, 0]),
        np.ma.masked,
    ],
    "derived": [np.arange(3), marked(1), marked(2), np.rec.array([(1, 2.0)], [("a", int), ("b", float)])],
    "plain record": [np.array([(1, 2.0)], [("a", int), ("b", float)])],
    "dtype": [np.dtype(kind) for kind in ("i4", ">i4", "f8", "U3", "U4", object, "M8[s]", RECORD, PADDED)],
    "random": [
        generator(1),
        generator(1, 1),
        generator(2),
        np.random.RandomState(1),
        np.random.RandomState(2),
        np.random.SeedSequence(1),
        np.random.SeedSequence(2),
        np.random.Generator(np.random.MT19937(1)),
        np.random.PCG64(1),
    ],
    "functions": [np.add, np.multiply, np.sum, np.mean, np.float64, np.linalg.norm, np.random.default_rng],
    "others": [np.poly1d([1, 2]), np.polynomial.Polynomial([1, 2]), np.vectorize(len), np.vectorize(sum)],
}
VALUES = [(f"{name} {i}", value) for name, values in DIFFERENT.items() for i, value in enumerate(values)]


def test_different_values_have_different_digests():
    names_of = collections.defaultdict(list)
    for name, value in VALUES:
        names_of[digest(value, name)].append(name)
    assert [names for names in names_of.values() if len(names) > 1] == []


def test_none_has_the_digest_of_a_plain_value():
    plain = [digest(value) for value in (1, 1.0, True, 1j, 1 + 0j, "a", b"a", b"ab", 0.0, -0.0, [1, 2], float("nan"))]
    assert [name for name, value in VALUES if digest(value) in plain] == []


@pytest.mark.parametrize(("name", "value"), VALUES, ids=[name for name, _ in VALUES])
def test_copies_have_the_digest_of_the_original(name, value):
    if isinstance(value, (Marked, Seconds)):
        return  # NumPy's copies of these are no copies: they lose the mark, or the class
    assert digest(copy.deepcopy(value)) == digest(value)
    # Protocols below 5 lose the byte order.
    assert digest(pickle.loads(pickle.dumps(value, 5))) == digest(value)


@pytest.mark.parametrize(
    "kind", ["f8", "i2", "U3", "M8[s]", "c16", "?", RECORD, PADDED, object, np.longdouble], ids=str
)
def test_the_memory_layout_does_not_show(kind, tmp_path):
    array = np.arange(60).astype("f8").reshape(3, 4, 5)
    array = array.astype(kind) if np.dtype(kind).names is None else np.zeros((3, 4, 5), kind)
    wide = np.repeat(array, 2, axis=2)
    alike = [
        np.asfortranarray(array),
        np.ascontiguousarray(array.T).T,
        wide[:, :, ::2],
        array[::-1, ::-1].copy()[::-1, ::-1],
        np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, 0)), 0, 1),
        np.concatenate([array, array])[3:],
    ]
    for other in alike:
        assert digest(other) == digest(array)
    one = array[:1]
    assert digest(np.broadcast_to(one, array.shape)) == digest(np.concatenate([one] * 3))


def test_a_memmap_counts_as_the_array_it_shows(tmp_path):
    array = np.arange(1000.0).reshape(20, 50)
    mapped = np.memmap(tmp_path / "a", "f8", "w+", shape=array.shape)
    mapped[:] = array
    assert digest(mapped) == digest(array)
    assert digest(mapped[3:, ::2]) == digest(array[3:, ::2])
    readonly = array.copy()
    readonly.flags.writeable = False
    assert digest(readonly) == digest(array)


def test_the_order_of_axes_shows():
    array = np.arange(6).reshape(2, 3)
    assert len({digest(other) for other in (array, array.T, array.reshape(3, 2), array.ravel(), array[::-1])}) == 5


def test_large_arrays_of_any_layout_agree():
    array = np.arange(1_200_000, dtype="f8").reshape(1000, 1200)
    views = [np.asfortranarray(array), np.repeat(array, 2, axis=1)[:, ::2], array[::-1].copy()[::-1]]
    assert {digest(view) for view in views} == {digest(array)}
    for at in (0, 131_071, 131_072, 1_199_999):
        other = array.copy()
        other.flat[at] += 1
        assert digest(other) != digest(array)
        assert digest(np.asfortranarray(other)) == digest(other)


def test_elements_larger_than_a_chunk_are_digested_whole():
    array = np.array(["x" * 600_000, "y"])
    assert digest(np.array(["x" * 600_000, "-", "y"])[::2]) == digest(array)
    assert digest(np.array(["x" * 599_999 + "z", "y"])) != digest(array)


def test_padding_is_no_content():
    one, other = np.zeros(3, PADDED), np.zeros(3, PADDED)
    other.view("u1")[1::16] = 7
    assert (one == other).all()
    assert digest(one) == digest(other)
    assert digest(one[0]) == digest(other[0])
    one = np.array([1, 2], np.longdouble)
    other = one.copy()
    if np.finfo(np.longdouble).nmant == 63:
        other.view("u1").reshape(2, -1)[:, 10:] = 7
    assert (one == other).all()
    assert digest(one) == digest(other)
    assert digest(one[1]) == digest(other[1])


def test_a_large_masked_array_counts_as_a_small_one_does():
    for size in (0, 5, 400_000):
        numbers = np.arange(float(size))
        array = np.ma.array(numbers, mask=numbers % 7 == 0)
        spread = np.ma.array(np.repeat(numbers, 2), mask=np.repeat(numbers % 7 == 0, 2))[::2]
        assert digest(array) == digest(spread)
    assert digest(np.ma.array(numbers + 1, mask=numbers % 7 == 0)) != digest(array)
    hidden = np.ma.array(np.where(numbers % 7 == 0, -1, numbers), mask=numbers % 7 == 0)
    assert digest(hidden) == digest(array)


def test_what_fills_masked_objects_is_one_text():
    array = np.ma.array([1, "a", None], mask=[0, 1, 0], dtype=object)
    assert digest(pickle.loads(pickle.dumps(array))) == digest(array)


def test_what_lies_under_a_mask_is_no_content():
    assert digest(np.ma.array([1, 2, 3], mask=[0, 1, 0])) == digest(np.ma.array([1, 9, 3], mask=[0, 1, 0]))
    kind = [("a", int), ("b", object)]
    one, other = (np.ma.array([(1, item)], mask=[(False, True)], dtype=kind) for item in (1, "other"))
    assert digest(one) == digest(other)
    assert digest(np.ma.array([1, 2])) == digest(np.ma.array([1, 2], mask=[False, False]))


def test_looking_at_an_array_does_not_change_its_digest():
    masked = np.ma.array([1.0, 2], mask=[0, 1])
    before = digest(masked)
    assert masked.fill_value
    assert masked.mean() == 1
    assert digest(masked) == before


def test_dtypes_that_compare_equal_are_one():
    assert digest(np.ones(2, "l")) == digest(np.ones(2, "q" if np.dtype("q") == np.dtype("l") else "l"))
    assert digest(np.dtype("f8", metadata={"a": 1})) == digest(np.dtype("f8"))


def test_a_scalar_an_array_of_no_dimension_and_one_of_one_element_differ():
    assert len({digest(value) for value in (np.float64(1), np.array(1.0), np.array([1.0]), 1.0)}) == 4


def test_a_nan_scalar_is_one_whatever_its_bits():
    other = np.frombuffer(b"\1\0\0\0\0\0\xf8\xff", "<f8")[0]
    assert digest(other) == digest(np.float64("nan"))


def test_a_stream_of_random_numbers_counts_by_where_it_is():
    assert digest(generator(1, 3)) == digest(generator(1, 3)) != digest(generator(1, 4))
    spawned = np.random.default_rng(1)
    spawned.spawn(1)
    if not np.__version__.startswith("1."):  # whose copies forget what to spawn from
        assert digest(spawned) != digest(np.random.default_rng(1))


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="comes with NumPy 2")
def test_texts_of_variable_length_count_by_value():
    kind = np.dtypes.StringDType()
    assert digest(np.array(["a", "b" * 100], kind)) == digest(np.array(["a", "-", "b" * 100], kind)[::2])
    assert digest(np.array(["a", "b"], kind)) != digest(np.array(["a", "c"], kind))
    assert digest(np.array(["a", "b"], kind)) != digest(np.array(["a", "b"]))
    assert digest(np.array(["a"], np.dtypes.StringDType(na_object=None))) != digest(np.array(["a"], kind))


def test_what_is_wrong_in_an_array_of_objects_is_found():
    with pytest.raises(Undigestible) as caught:
        digest(np.array([1, iter([])], object), "x")
    assert caught.value.where == "x[1]"
    with pytest.raises(Undigestible) as caught:
        digest(np.array([(1, iter([]))], [("a", int), ("b", object)]), "x")
    assert caught.value.where == 'x["b"][0]'
    for value in (np.nditer(np.arange(3)), np.arange(3).flat):
        with pytest.raises(Undigestible):
            digest(value, "x")


def test_an_array_of_objects_can_contain_itself():
    def selfish(item):
        array = np.array([item, None], object)
        array[1] = array
        return array

    assert digest(selfish(1)) == digest(selfish(1)) != digest(selfish(2))


@given(
    numpy_strategies.arrays(
        st.sampled_from(["?", "i1", "i8", "f4", "f8", "c16", "U2", "M8[s]"]),
        numpy_strategies.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    st.data(),
)
def test_one_changed_element_changes_the_digest_and_a_view_does_not(array, data):
    assert digest(array.copy("F")) == digest(array.copy("C"))
    assert digest(array.T.copy().T) == digest(array)
    if array.size:
        at = data.draw(st.integers(0, array.size - 1))
        other = array.copy()
        other.reshape(-1)[at : at + 1].view("u1")[0] ^= 1
        assert digest(other) != digest(array)


FRESH = """
import numpy as np
from cas_engine.values import Digester
from cas_store.digest import digest_of
digest = Digester(lambda thing, where: digest_of(getattr(thing, "__qualname__", repr(thing)).encode())).digest
made = digest([np.arange(5.0), np.array(["a", {"x", "y"}], object), np.float32(1), np.random.default_rng(3), np.add,
    np.ma.array([1, 2], mask=[0, 1]), np.zeros(2, [("a", "i4"), ("b", "U3")]), {np.int64(3): np.str_("a")}]).hex()
"""


def test_a_fresh_process_with_another_hash_seed_agrees():
    here: dict[str, str] = {}
    exec(FRESH, here)
    ran = subprocess.run(
        [sys.executable, "-c", FRESH + "print(made)"],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == here["made"]


def test_a_large_array_is_digested_without_a_copy():
    tracemalloc = pytest.importorskip("tracemalloc")
    array = np.ones(8_000_000)
    tracemalloc.start()
    try:
        started = time.process_time()
        digest(array)
        seconds = time.process_time() - started
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert seconds < 0.5  # 64 MB: about 6 ms
