"""Data frames count by index, columns, dtypes and values; blocks, chunks and what lies under nulls do not show."""

from __future__ import annotations

import collections
import copy
import datetime as dt
import os
import pickle
import subprocess
import sys
import threading
from decimal import Decimal
from typing import Any

import pytest

from cas_engine.errors import Undigestible
from cas_engine.values import Digester
from cas_store.digest import digest_of

np: Any = pytest.importorskip("numpy")
pd: Any = pytest.importorskip("pandas")


def code(thing, where):
    return digest_of(f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', repr(thing))}".encode())


digest = Digester(code).digest

COLUMNS: dict[str, Any] = {
    "int": [1, 2, 3],
    "float": [1.0, None, 3.0],
    "text": ["x", None, "z"],
    "object": pd.Series(["x", 1, None], dtype=object),
    "category": pd.Categorical(["u", "v", None]),
    "ordered": pd.Categorical(["u", "v", "u"], ordered=True),
    "time": pd.date_range("2020", periods=3),
    "zoned": pd.date_range("2020", periods=3, tz="Europe/Berlin"),
    "delta": pd.timedelta_range("1s", periods=3),
    "Int64": pd.array([1, None, 3], dtype="Int64"),
    "Float64": pd.array([1.5, None, 3], dtype="Float64"),
    "boolean": pd.array([True, None, False], dtype="boolean"),
    "string": pd.array(["x", None, "z"], dtype="string"),
    "period": pd.period_range("2020", periods=3, freq="M"),
    "interval": pd.interval_range(0, 3),
    "sparse": pd.arrays.SparseArray([0, 0, 1]),
    "complex": [1j, 2j, 3j],
}


def table():
    return pd.DataFrame(copy.deepcopy(COLUMNS))


class Extended(pd.DataFrame):
    _metadata = ["unit"]  # noqa: RUF012 - as pandas asks for it

    @property
    def _constructor(self):
        return Extended


def extended(unit):
    frame = Extended({"a": [1]})
    frame.unit = unit
    return frame


def with_attrs(value, **attrs):
    value.attrs.update(attrs)
    return value


def small(**changes):
    return pd.DataFrame({"a": [1, 2], "b": [3, 4], **changes})


# No two of these are the same content.
DIFFERENT = {
    "frame": [
        small(),
        small(a=[1, 5]),
        small(a=[1.0, 2.0]),
        small(a=["1", "2"]),
        small(a=pd.array([1, 2], dtype="Int64")),
        small(a=np.array([1, 2], "i4")),
        small(a=pd.Series([1, 2], dtype=object)),
        small()[["b", "a"]],
        small().rename(columns={"a": "c"}),
        small().rename_axis("name"),
        small().rename_axis("name", axis=1),
        small().set_index("a"),
        small(c=0),
        small().iloc[::-1],
        small().iloc[:1],
        small().set_axis([1, 2]),
        small().set_axis(["0", "1"]),
        with_attrs(small(), unit="m"),
        small().set_flags(allows_duplicate_labels=False),
        pd.DataFrame(),
        pd.DataFrame({"a": []}),
        pd.DataFrame(index=[0]),
        extended("m"),
        extended("s"),
        pd.DataFrame({"a": [1]}),
    ],
    "series": [
        pd.Series([1, 2]),
        pd.Series([1, 2], name="a"),
        pd.Series([1, 2], name=("a", 1)),
        pd.Series([1, 2], index=[1, 0]),
        pd.Series([1.0, 2.0]),
        pd.Series([True, False]),
        pd.Series([1.0, None]),
        pd.Series([1, None], dtype=object),
        pd.Series([1, np.nan], dtype=object),
        pd.Series([1, pd.NA], dtype=object),
        pd.Series([1, pd.NaT], dtype=object),
        pd.Series(["a", "b"]),
        pd.Series(["a", None]),
        pd.Series(["ab", ""]),
        pd.Series(["a", "b"], dtype="string"),
        with_attrs(pd.Series([1, 2]), unit="m"),
    ],
    "category": [
        pd.Series(pd.Categorical(["a", "b"])),
        pd.Series(pd.Categorical(["a", "b"], ["b", "a"])),
        pd.Series(pd.Categorical(["a", "b"], ["a", "b", "c"])),
        pd.Series(pd.Categorical(["a", "b"], ordered=True)),
        pd.Series(pd.Categorical(["a", None])),
        pd.Series(pd.Categorical([1, 2])),
        pd.Categorical(["a", "b"]),
    ],
    "index": [
        pd.Index([0, 1]),
        pd.Index([0.0, 1.0]),
        pd.Index(["0", "1"]),
        pd.Index([0, 1], name="a"),
        pd.Index([0, 1], dtype="i4"),
        pd.RangeIndex(3),
        pd.RangeIndex(1, 3),
        pd.RangeIndex(0, 4, 2),
        pd.CategoricalIndex(["a", "b"]),
        pd.date_range("2020", periods=2),
        pd.date_range("2020", periods=2, freq="h"),
        pd.date_range("2020", periods=2, tz="UTC"),
        pd.DatetimeIndex(["2020-01-01", "2020-01-02"]),
        pd.timedelta_range("1s", periods=2),
        pd.period_range("2020", periods=2, freq="D"),
        pd.period_range("2020", periods=2, freq="M"),
        pd.interval_range(0, 2),
        pd.interval_range(0, 2, closed="left"),
        pd.MultiIndex.from_tuples([(1, "a"), (2, "b")]),
        pd.MultiIndex.from_tuples([(1, "b"), (2, "a")]),
        pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["x", None]),
        pd.MultiIndex.from_tuples([(1, "a", 0), (2, "b", 0)]),
        pd.MultiIndex(levels=[[2, 1], ["a", "b"]], codes=[[1, 0], [0, 1]]),
    ],
    "scalar": [
        pd.NA,
        pd.NaT,
        pd.Timestamp("2020"),
        pd.Timestamp("2020").as_unit("ns"),
        pd.Timestamp("2020", tz="UTC"),
        pd.Timestamp("2020", tz="Europe/Berlin"),
        pd.Timestamp("2021"),
        pd.Timedelta(1, "s"),
        pd.Timedelta(2, "s"),
        pd.Period("2020-01", "M"),
        pd.Period("2020-01", "D"),
        pd.Interval(0, 1),
        pd.Interval(0, 1, "left"),
        pd.Interval(0.0, 1.0),
    ],
    "offset": [
        pd.offsets.Day(1),
        pd.offsets.Day(2),
        pd.offsets.MonthEnd(),
        pd.offsets.BDay(),
        pd.offsets.CustomBusinessDay(holidays=["2020-01-01"]),
        pd.DateOffset(months=1),
        pd.DateOffset(months=2),
    ],
    "dtype": [table()[name].dtype for name in COLUMNS if name not in ("object", "int")],
}
VALUES = [(f"{name} {i}", value) for name, values in DIFFERENT.items() for i, value in enumerate(values)]


def test_different_values_have_different_digests():
    names_of = collections.defaultdict(list)
    for name, value in VALUES:
        names_of[digest(value, name)].append(name)
    assert [names for names in names_of.values() if len(names) > 1] == []


@pytest.mark.parametrize(("name", "value"), VALUES, ids=[name for name, _ in VALUES])
def test_copies_have_the_digest_of_the_original(name, value):
    assert digest(copy.deepcopy(value)) == digest(value)
    assert digest(pickle.loads(pickle.dumps(value, 5))) == digest(value)


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_every_kind_count_by_value(name):
    column = table()[name]
    before = digest(column)
    assert digest(pickle.loads(pickle.dumps(column))) == before
    assert digest(pd.concat([column.iloc[:1], column.iloc[1:]])) == before
    assert digest(pd.concat([column, column]).iloc[3:]) == before
    assert digest(column.iloc[::-1].iloc[::-1]) == before
    assert digest(column.array) == digest(column.copy().array)
    assert digest(column.iloc[[0, 0, 2]].set_axis(column.index)) != before or name == "sparse"
    assert digest(column.iloc[[1, 0, 2]].set_axis(column.index)) != before or name == "sparse"
    assert digest(column.iloc[:2]) != before


def test_the_blocks_of_a_frame_do_not_show():
    whole = pd.DataFrame(np.arange(12.0).reshape(3, 4), columns=list("abcd"))
    pieces = pd.concat([pd.DataFrame({name: np.arange(i, 12.0, 4)}) for i, name in enumerate("abcd")], axis=1)
    assert whole.equals(pieces)
    assert digest(whole) == digest(pieces) == digest(whole[list("dcba")][list("abcd")])
    assert digest(pd.DataFrame(np.asfortranarray(whole.to_numpy()), columns=list("abcd"))) == digest(whole)
    other = whole.copy()
    other.iloc[2, 3] += 1
    assert digest(other) != digest(whole)


def test_looking_at_a_frame_does_not_change_its_digest():
    frame = table()
    before = digest(frame)
    assert frame["int"].sum() == 6
    assert frame.index.is_unique
    assert frame.loc[0, "int"] == 1
    assert len(repr(frame)) > 0
    assert digest(frame) == before


def test_what_lies_under_a_missing_value_is_no_content():
    one = pd.arrays.IntegerArray(np.array([1, 2]), np.array([False, True]))
    other = pd.arrays.IntegerArray(np.array([1, 9]), np.array([False, True]))
    assert digest(one) == digest(other)


def test_levels_that_are_no_longer_used_are_no_content():
    full = pd.MultiIndex.from_product([[1, 2, 3], ["a", "b"]])
    assert digest(full[:2]) == digest(pd.MultiIndex.from_tuples([(1, "a"), (1, "b")]))


def test_an_index_that_counts_up_is_one_however_it_is_kept():
    assert digest(pd.RangeIndex(3)) == digest(pd.Index([0, 1, 2]))
    assert digest(pd.Series([5, 6])) == digest(pd.Series([5, 6], index=[0, 1]))


def test_texts_of_a_column_of_objects_are_objects():
    assert digest(pd.Series(["a", "b"], dtype=object)) != digest(pd.Series(["a", "b"], dtype="string"))


def test_where_texts_are_kept_does_not_show():
    pytest.importorskip("pyarrow")
    for texts in (["a", None, "", "éé"], [], [None], [""]):
        one, other = (pd.array(texts, dtype=pd.StringDtype(storage)) for storage in ("python", "pyarrow"))
        assert digest(one) == digest(other)
        assert digest(pd.Series(one)) == digest(pd.Series(other))
    one = pd.array(["a", "b"], dtype=pd.StringDtype("pyarrow"))
    assert digest(pd.array(["x", "a", "b"], dtype=one.dtype)[1:]) == digest(one)


def test_columns_in_arrow_count_by_value():
    pa: Any = pytest.importorskip("pyarrow")
    series = pd.Series([1, 2, None], dtype=pd.ArrowDtype(pa.int64()))
    assert digest(pd.concat([series[:1], series[1:]])) == digest(series)
    assert digest(series) != digest(pd.Series([1, 2, None], dtype=pd.ArrowDtype(pa.int32())))
    assert digest(series) != digest(pd.Series([1, 2, None], dtype="Int64"))
    texts = pd.Series(["a", None], dtype=pd.ArrowDtype(pa.string()))
    assert digest(texts) == digest(texts.copy()) != digest(texts[::-1])


def test_what_is_wrong_in_a_frame_is_found():
    frame = pd.DataFrame({"a": [1], "b": pd.Series([threading.Lock()], dtype=object)})
    with pytest.raises(Undigestible) as caught:
        digest(frame, "data")
    assert caught.value.where == 'data["b"][0]'


FRESH = """
import pandas as pd
from cas_engine.values import Digester
from cas_store.digest import digest_of
digest = Digester(lambda thing, where: digest_of(getattr(thing, "__qualname__", repr(thing)).encode())).digest
frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"]), "d": [{"p", "q"}, None],
    "e": pd.date_range("2020", periods=2, tz="Europe/Berlin")})
frame.attrs["by"] = {"x", "y"}
made = digest([frame, frame["b"], frame.groupby("c", observed=True).size(), pd.Timestamp("2020"),
    pd.offsets.BDay()]).hex()
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


# polars ----------------------------------------------------------------------------------------------------


def polars_columns(pl):
    return {
        "int": [1, None, 3],
        "small": pl.Series([1, None, 3], dtype=pl.Int8),
        "huge": pl.Series([1, None, 3], dtype=pl.UInt64),
        "float": [1.5, None, float("nan")],
        "bool": [True, None, False],
        "text": ["x", None, ""],
        "bytes": [b"x", None, b""],
        "list": [[1], [], None],
        "lists": [[["a"], []], None, []],
        "struct": [{"u": 1, "v": "a"}, {"u": None, "v": "b"}, None],
        "category": pl.Series(["x", "y", None], dtype=pl.Categorical),
        "enum": pl.Series(["a", "b", None], dtype=pl.Enum(["a", "b"])),
        "array": pl.Series([[1, 2], [3, 4], None], dtype=pl.Array(pl.Int64, 2)),
        "decimal": pl.Series([Decimal("1.50"), None, Decimal("2.00")], dtype=pl.Decimal(10, 2)),
        "date": [dt.date(2020, 1, 1), None, dt.date(2020, 1, 3)],
        "datetime": [dt.datetime(2020, 1, 1), None, dt.datetime(2020, 1, 3)],  # noqa: DTZ001
        "duration": [dt.timedelta(1), None, dt.timedelta(3)],
        "time": [dt.time(1), None, dt.time(3)],
        "nothing": [None, None, None],
    }


def test_polars_columns_of_every_kind_count_by_value():
    pl: Any = pytest.importorskip("polars")
    frame = pl.DataFrame(polars_columns(pl))
    assert digest(pl.concat([frame[:1], frame[1:]], rechunk=False)) == digest(frame)
    assert digest(pl.concat([frame, frame])[3:]) == digest(frame)
    for name in frame.columns:
        column = frame[name]
        before = digest(column)
        assert digest(pickle.loads(pickle.dumps(column))) == before
        assert digest(frame[::-1][name][::-1]) == before
        assert digest(column.alias("other")) != before
        assert digest(column[:2]) != before
        if name != "nothing":
            assert digest(column.gather([0, 0, 2])) != before
            assert digest(column.gather([1, 0, 2])) != before


def test_polars_frames_that_differ_have_different_digests():
    pl: Any = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": [1, 2], "b": [3, 4]})
    others = [
        frame.select("b", "a"),
        frame.rename({"a": "c"}),
        frame.with_columns(pl.col("a").cast(pl.Int32)),
        frame[::-1],
        frame[:1],
        pl.DataFrame(),
        pl.DataFrame({"a": []}),
        frame["a"],
        frame["a"].cast(pl.Duration("ms")),
        frame["a"].cast(pl.Datetime("us")),
        frame["a"].cast(pl.Datetime("us", "UTC")),
        pl.Series("a", [[1], [2]]),
        pl.Series("a", [[1, 2], []]),
        pl.Series("a", [[1, 2], None]),
        pl.Series("a", ["a", "b"], dtype=pl.Enum(["a", "b"])),
        pl.Series("a", ["a", "b"], dtype=pl.Enum(["b", "a"])),
        pl.Series("a", ["a", "b"]),
        pl.Series("a", ["ab", ""]),
        pl.Series("a", [Decimal(1), Decimal(2)], dtype=pl.Decimal(10, 2)),
        pl.Series("a", [Decimal(1), Decimal(2)], dtype=pl.Decimal(10, 3)),
        pl.col("a") + 1,
        pl.col("b") + 1,
        pl.Int64,
        pl.List(pl.Int64),
        pl.List(pl.Int32),
    ]
    assert len({digest(value) for value in [frame, *others]}) == 1 + len(others)


def test_a_lazy_polars_frame_is_refused():
    pl: Any = pytest.importorskip("polars")
    with pytest.raises(Undigestible, match="collect"):
        digest(pl.DataFrame({"a": [1]}).lazy(), "x")


# pyarrow ---------------------------------------------------------------------------------------------------


def arrow_columns(pa):
    return {
        "int": pa.array([1, None, 3]),
        "small": pa.array([1, None, 3], pa.int8()),
        "float": pa.array([1.5, None, float("nan")]),
        "float32": pa.array([1.5, None, 2], pa.float32()),
        "bool": pa.array([True, None, False]),
        "text": pa.array(["x", None, ""]),
        "large text": pa.array(["x", None, ""], pa.large_string()),
        "bytes": pa.array([b"x", None, b""]),
        "list": pa.array([[1], [], None]),
        "lists": pa.array([[["a"], []], None, []]),
        "struct": pa.array([{"u": 1, "v": "a"}, {"u": None, "v": "b"}, None]),
        "dictionary": pa.array(["x", "y", None]).dictionary_encode(),
        "fixed": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)),
        "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        "decimal": pa.array([Decimal("1.5"), None, Decimal(2)], pa.decimal128(10, 2)),
        "date": pa.array([1, None, 3], pa.date32()),
        "timestamp": pa.array([1, None, 3], pa.timestamp("ns")),
        "zoned": pa.array([1, None, 3], pa.timestamp("us", "UTC")),
        "duration": pa.array([1, None, 3], pa.duration("s")),
        "time": pa.array([1, None, 3], pa.time64("us")),
    }


def test_arrow_columns_of_every_kind_count_by_value():
    pa: Any = pytest.importorskip("pyarrow")
    columns = arrow_columns(pa)
    for name, column in columns.items():
        before = digest(column, name)
        assert digest(pickle.loads(pickle.dumps(column))) == before
        assert digest(pa.concat_arrays([column, column])[3:]) == before
        assert digest(column[:2]) != before
        assert digest(column.take(pa.array([0, 0, 2]))) != before
        assert digest(column.take(pa.array([1, 0, 2]))) != before
        assert digest(column[0]) == digest(column[0:1][0]) != digest(column[1])
        chunked = pa.chunked_array([column[:1], column[1:]])
        assert digest(chunked) == digest(pa.chunked_array([column])) != before
        assert digest(pa.chunked_array([], column.type)) == digest(pa.chunked_array([column[:0]]))
    table = pa.table(columns)
    assert digest(pa.concat_tables([table[:1], table[1:]])) == digest(table)
    assert len({digest(column) for column in columns.values()}) == len(columns)


def test_what_the_fields_within_an_arrow_type_say_counts():
    pa: Any = pytest.importorskip("pyarrow")
    fields = [pa.field("x", pa.int64(), metadata=told) for told in (None, {"unit": "m"}, {"unit": "s"})]
    columns = [pa.array([{"x": 1}], pa.struct([field])) for field in fields]
    assert len({digest(column) for column in columns}) == 3
    assert len({digest(pa.table({"a": column}).schema) for column in columns}) == 3


def test_arrow_tables_that_differ_have_different_digests():
    pa: Any = pytest.importorskip("pyarrow")
    table = pa.table({"a": [1, 2], "b": [3, 4]})
    others = [
        table.select(["b", "a"]),
        table.rename_columns(["a", "c"]),
        table[:1],
        table.replace_schema_metadata({"k": "v"}),
        table.cast(pa.schema([("a", pa.int32()), ("b", pa.int64())])),
        table.to_batches()[0],
        table.schema,
        table.schema.field(0),
        pa.int64(),
        pa.int32(),
        pa.py_buffer(b"ab"),
        pa.py_buffer(b"ac"),
        pa.scalar(1),
        pa.scalar(1, pa.int8()),
        pa.scalar("1"),
        pa.scalar(None),
    ]
    assert len({digest(value) for value in [table, *others]}) == 1 + len(others)


def test_what_lies_under_an_arrow_null_is_no_content():
    pa: Any = pytest.importorskip("pyarrow")
    valid = pa.py_buffer(b"\x05")  # the second of three is null
    for kind, one, other in (
        (pa.int64(), np.array([1, 2, 3]), np.array([1, 9, 3])),
        (pa.float64(), np.array([1.0, 2, 3]), np.array([1.0, np.nan, 3])),
    ):
        arrays = [pa.Array.from_buffers(kind, 3, [valid, pa.py_buffer(raw)]) for raw in (one, other)]
        assert digest(arrays[0]) == digest(arrays[1])
    ends = pa.py_buffer(np.array([0, 1, 3, 4], "i4"))
    texts = [pa.Array.from_buffers(pa.string(), 3, [valid, ends, pa.py_buffer(raw)]) for raw in (b"aXXb", b"aYYb")]
    assert digest(texts[0]) == digest(texts[1]) == digest(pa.array(["a", None, "b"]))
