"""Values of the standard library count by content: copies are equal, whatever tells two of them apart counts."""

from __future__ import annotations

import array
import collections
import copy
import datetime as dt
import decimal
import enum
import fractions
import functools
import io
import ipaddress
import itertools
import json
import logging
import math
import operator
import os
import pathlib
import pickle
import random
import re
import string
import struct
import subprocess
import sys
import time
import types
import typing
import uuid
import zoneinfo
from typing import Any

import pytest

from cas_engine.values import Digester
from cas_store.digest import digest_of


def code(thing, where):
    return digest_of(f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', repr(thing))}".encode())


digest = Digester(code).digest

BERLIN, PARIS = zoneinfo.ZoneInfo("Europe/Berlin"), zoneinfo.ZoneInfo("Europe/Paris")


class Color(enum.Enum):
    RED = 1
    GREEN = 2
    ROSE = RED


class Size(enum.IntEnum):
    RED = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


def moved(stream, position):
    stream.seek(position)
    return stream


def drawn(seed, draws):
    source = random.Random(seed)
    for _ in range(draws):
        source.random()
    return source


# Each line: values that differ from each other; no value here equals any other, in this line or another.
TABLE: dict[str, list[Any]] = {
    "Decimal": [decimal.Decimal(text) for text in ("1", "1.0", "-1", "0", "-0", "NaN", "sNaN", "Infinity", "1E+3")],
    "Fraction": [fractions.Fraction(1), fractions.Fraction(1, 2), fractions.Fraction(2, 1)],
    "date": [dt.date(2020, 1, 1), dt.date(2020, 1, 2)],
    "datetime": [
        dt.datetime(2020, 1, 1),  # noqa: DTZ001
        dt.datetime(2020, 1, 1, fold=1),  # noqa: DTZ001
        dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc),
        dt.datetime(2020, 1, 1, tzinfo=BERLIN),
        dt.datetime(2020, 1, 1, tzinfo=PARIS),
        dt.datetime(2020, 1, 1, microsecond=1),  # noqa: DTZ001
    ],
    "time": [dt.time(1), dt.time(1, fold=1), dt.time(1, tzinfo=dt.timezone.utc)],
    "timedelta": [dt.timedelta(1), dt.timedelta(0, 1), dt.timedelta(-1)],
    "timezone": [
        dt.timezone.utc,
        dt.timezone(dt.timedelta(hours=1)),
        dt.timezone(dt.timedelta(hours=1), "here"),
    ],
    "ZoneInfo": [BERLIN, PARIS],
    "Path": [
        pathlib.Path("a"),
        pathlib.Path("/a"),
        pathlib.PurePosixPath("a"),
        pathlib.PureWindowsPath("a"),
        pathlib.PureWindowsPath("A"),
    ],
    "UUID": [uuid.UUID(int=1), uuid.UUID(int=2)],
    "Pattern": [re.compile("a"), re.compile(b"a"), re.compile("a", re.IGNORECASE), re.compile("b")],
    "array": [
        array.array("b", [1]),
        array.array("d", [1]),
        array.array("d", [1, 2]),
        array.array("d"),
        array.array("b"),
    ],
    "deque": [collections.deque([1, 2]), collections.deque([2, 1]), collections.deque([1, 2], 2), collections.deque()],
    "OrderedDict": [collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1)],
    "defaultdict": [
        collections.defaultdict(list, a=1),
        collections.defaultdict(int, a=1),
        collections.defaultdict(None, a=1),
    ],
    "Counter": [collections.Counter("aab"), collections.Counter("abb"), collections.Counter()],
    "ChainMap": [
        collections.ChainMap({1: 2}, {3: 4}),
        collections.ChainMap({3: 4}, {1: 2}),
        collections.ChainMap({1: 2, 3: 4}),
    ],
    "UserDict": [collections.UserDict(a=1), collections.UserDict(a=2)],
    "UserList": [collections.UserList([1]), collections.UserString("1")],
    "mappingproxy": [types.MappingProxyType({1: 2}), types.MappingProxyType({1: 3})],
    "SimpleNamespace": [types.SimpleNamespace(a=1), types.SimpleNamespace(a=2), types.SimpleNamespace(b=1)],
    "ipaddress": [
        ipaddress.ip_address("1.2.3.4"),
        ipaddress.ip_address("::1"),
        ipaddress.ip_network("1.2.3.0/24"),
        ipaddress.ip_interface("1.2.3.4/24"),
        ipaddress.ip_interface("1.2.3.4/25"),
    ],
    "BytesIO": [io.BytesIO(b"ab"), io.BytesIO(b"ac"), moved(io.BytesIO(b"ab"), 1), io.StringIO("ab")],
    "Random": [drawn(1, 0), drawn(1, 1), drawn(2, 0)],
    "enum": [Color.RED, Color.GREEN, Size.RED, Right.READ, Right.READ | Right.WRITE, Right(0)],
    "partial": [
        functools.partial(int, base=2),
        functools.partial(int, base=3),
        functools.partial(int, 2),
        functools.partial(round, base=2),
    ],
    "operator": [
        operator.itemgetter(1),
        operator.itemgetter(1, 2),
        operator.attrgetter("a"),
        operator.methodcaller("a", 1),
    ],
    "typing": [
        list[int],
        list[str],
        typing.List[int],  # noqa: UP006 - the older way, still met
        typing.Optional[int],  # noqa: UP045
        typing.Union[int, str],  # noqa: UP007
        typing.Literal[1],
        typing.Any,
    ],
    "exception": [ValueError(1), ValueError(2), KeyError(1), OSError(2, "no"), OSError(3, "no")],
    "Struct": [struct.Struct("<d"), struct.Struct("<f")],
    "struct_time": [time.gmtime(0), time.gmtime(1)],
    "Template": [string.Template("$a"), string.Template("$b")],
    "Logger": [logging.getLogger("a"), logging.getLogger("b")],
    "cell": [types.CellType(1), types.CellType(2), types.CellType()],
    "code": [len, math.sin, int, Color, json, json.dumps, [].append, [1].append, "a".join, (1).__add__, str.join],
    "sentinel": [object()],
}
VALUES = [(f"{name}{i}", value) for name, values in TABLE.items() for i, value in enumerate(values)]


def test_different_values_have_different_digests():
    names_of = collections.defaultdict(list)
    for name, value in VALUES:
        names_of[digest(value, name)].append(name)
    assert [names for names in names_of.values() if len(names) > 1] == []


def test_none_of_them_has_the_digest_of_a_plain_value_that_it_equals_or_resembles():
    plain = {digest(value) for value in (1, 1.0, "1", "a", 2, [1], [1, 2], {"a": 1}, {1: 2}, (1,), (), {}, None, True)}
    assert [name for name, value in VALUES if digest(value) in plain] == []


@pytest.mark.parametrize(("name", "value"), VALUES, ids=[name for name, _ in VALUES])
def test_copies_have_the_digest_of_the_original(name, value):
    assert digest(value) == digest(value)
    if name.startswith(("mappingproxy", "code", "cell", "Struct")):
        return  # these can't be copied
    assert digest(pickle.loads(pickle.dumps(value))) == digest(value)
    if name != "code":
        assert digest(copy.copy(value)) == digest(value)


def test_an_alias_of_an_enum_member_is_the_member():
    assert digest(Color.ROSE) == digest(Color.RED)


def test_the_order_of_an_ordered_dict_counts_and_that_of_others_does_not():
    assert digest(collections.Counter(a=1, b=2)) == digest(collections.Counter(b=2, a=1))
    assert digest(collections.defaultdict(int, a=1, b=2)) == digest(collections.defaultdict(int, b=2, a=1))
    assert digest(types.SimpleNamespace(a=1, b=2)) == digest(types.SimpleNamespace(b=2, a=1))
    assert digest(types.MappingProxyType({1: 2, 3: 4})) == digest(types.MappingProxyType({3: 4, 1: 2}))


def test_unions_do_not_count_the_order_of_what_they_join():
    assert digest(int | str) == digest(str | int)
    assert digest(int | str) != digest(int | bytes)
    assert digest(typing.Optional[int]) == digest(typing.Union[None, int]) == digest(int | None)  # noqa: UP007, UP045


def test_new_types_and_type_variables_count_by_what_they_stand_for():
    made = [
        *(typing.NewType("N", int), typing.NewType("N", str), typing.NewType("M", int)),
        *(typing.TypeVar("N"), typing.TypeVar("N", bound=int), typing.TypeVar("N", int, str)),
    ]
    assert len(set(map(digest, made))) == len(made)
    assert digest(typing.NewType("N", int)) == digest(made[0])


def test_the_context_does_not_change_the_digest_of_a_decimal():
    with decimal.localcontext() as context:
        before = digest(decimal.Decimal("1E+3"))
        context.capitals = 0
        context.prec = 1
        assert digest(decimal.Decimal("1E+3")) == before


def test_a_used_up_generator_of_random_numbers_differs_from_a_fresh_one():
    assert digest(drawn(1, 5)) == digest(drawn(1, 5)) != digest(drawn(1, 6))


def test_a_function_of_a_module_is_code_though_it_is_bound_to_a_hidden_object():
    asked = []

    def counting(thing, where):
        asked.append(thing)
        return bytes(16)

    source = random.Random(1)
    Digester(counting).digest([random.random, random.shuffle])
    assert asked == [random.random, random.shuffle]
    assert digest(source.random) == digest(random.Random(1).random) != digest(random.Random(2).random)


FRESH = """
import collections, datetime, decimal, enum, functools, ipaddress, json
import pathlib, random, re, types, typing, uuid, zoneinfo
from cas_engine.values import Digester
from cas_store.digest import digest_of
def code(thing, where):
    return digest_of(f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', repr(thing))}".encode())
digest = Digester(code).digest
class Color(enum.Enum):
    RED = "red"
values = [decimal.Decimal("1.50"), datetime.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    pathlib.Path("a/b"), uuid.UUID(int=5), re.compile("a|b", re.I), collections.Counter("abracadabra"),
    collections.defaultdict(set, a={"x", "y", "z"}), types.SimpleNamespace(b=1, a={"q", "r"}), random.Random("seed"),
    functools.partial(sorted, key=len), ipaddress.ip_network("10.0.0.0/8"), Color.RED, {Color.RED: {"a", "b", "c"}},
    typing.Literal["a", "b"], int | None, object(), {(1, "a"), frozenset({"x", "y"})}, ValueError({"a", "b"})]
print(json.dumps([digest(value).hex() for value in values]))
"""


def test_fresh_processes_agree_whatever_their_hash_seed():
    said = {
        subprocess.run(
            [sys.executable, "-c", FRESH],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(said) == 1


def test_no_module_is_imported_to_digest_a_value():
    program = """
import sys
from cas_engine.values import Digester
before = set(sys.modules)
Digester(lambda thing, where: bytes(16)).digest([1, "a", {2.0: {b"x"}}, (None, ...), int])
more = set(sys.modules) - before
assert not more, more
assert not {"numpy", "pandas", "polars", "pyarrow", "scipy", "sklearn", "torch", "xarray"} & set(sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_what_can_be_read_only_once_is_not_counted_as_content():
    iterators: list[Any] = [
        iter([1]),
        iter({}),
        zip([1]),
        map(len, []),
        itertools.count(),
        enumerate([]),
        reversed([1]),
    ]
    for iterator in iterators:
        with pytest.raises(Exception, match="only once"):
            digest(iterator)
