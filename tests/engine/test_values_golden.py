"""The digests of values never change unnoticed: users' stores are full of keys that are made from them.

A line here changes only together with the format version of keys.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
from importlib import import_module

import pytest

from cas_engine.values import Digester, File
from cas_store.digest import digest_of

np = pytest.importorskip("numpy")


def code(thing, where):
    return digest_of(thing.__qualname__.encode())


@dataclasses.dataclass
class Data:
    x: int
    y: str = "y"


class Color(enum.Enum):
    RED = 1


class Point(collections.namedtuple("Point", "x y")):  # noqa: PYI024 - the older way
    __slots__ = ()


class MyInt(int):
    pass


class Node:
    def __init__(self, mark):
        self.mark = mark
        self.me = self


GOLDEN = r"""
32bd8bd95bc260882335809fb3ee2ac1  None
3e05a4b7a0380d1258b163a329603c88  True
2dc61c46763858f41105f5d7aae1ad80  ...
fcc7e844312ffbe2996f03d5fdbd2180  0
5f421844d58380a3321f0a45d09014a6  1
234d7e84b0edb78fb106b53d48fc4b35  -1
81c743f4a136eed4b06dd670050346b0  255
179f32643188d7ab4ce680627165dd39  2**64
e0fb111501e86cf7f440cdcbdb5c78ca  -(2**64)
3476ab189fb7530557f537311b714cd5  0.0
5d184a7e8f0f1f5616c3118387bab0e5  -0.0
7d40d699501c71aae1c46f7c577f9823  1.5
239147876c1b172a136c50280926f348  math.nan
44eb32673ccbb69d5923310d5be160ca  1j
1782beb094939fbce6bd6a8e738dd2f7  ""
1fdb26fe16606b09e1b808af158b82cf  "é\ud800"
5422c15590010ae86d991141e1d83ff2  b"\0"
61574c87ae25a78e823947a0d05054fd  bytearray(b"ab")
a422a97b39a21fc485b81f08638a27e9  memoryview(b"ab")
4b798e89a3a2a0b57b0ebaf754891740  range(1, 5, 2)
db7776355473d6021c9cc08bbe6a3cbf  slice(1, None)
83b5a70630162cb4a9241114813be00d  ()
4c04f956365acd15e1b20957455db505  []
c303c04d62f552a301c5fbd5b4b07b45  {}
9e924cc35e7a5ca7fcac7333f250d958  set()
3720ab26d0817c3061d60de38b6cd1c2  frozenset({1, "a"})
9c92ca161665d1a3930bea350bb77d26  (1, "a", None)
769c31286deb01f8c992bf207fa19793  ["ab", ("c",), {"k": [1.0]}]
d9d71eff4d1ba08128cb7853b10f76e0  {"b": 1, "a": {2: {3, 4}}}
e1c3cf338bdc9fb11a00f3da95ff4799  [[[[]]]]
c93d4ae8ced496fc5953136ff261555d  decimal.Decimal("1.50")
93936a76a010d2597662e4a7007a7c20  fractions.Fraction(1, 3)
b90c802a0da7aa4848aa84a1a36eb3e5  datetime.date(2020, 2, 29)
3a376001ef8b8fe6a53dad87c70af7fb  datetime.datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc)
22834a03d6f17674024612fe9a175dfc  datetime.datetime(2020, 1, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
33e5097a18d714cf2b3bdcb840bad47f  datetime.timedelta(1, 2, 3)
5028e549615f3010bb36002531b6dc1c  pathlib.PurePosixPath("a/b")
7f112c25e6972aaab870b9dbf83d0591  uuid.UUID(int=7)
df0baed5e21591af6d145f1e33754469  re.compile("a+", re.IGNORECASE)
c5b53f8c69260c40528e6454be31aab9  array.array("i", [1, 2])
9b7405da34ec96411690242078aee177  collections.deque([1, 2], 5)
adfc37bfcf09d2b81eb829ae36198c59  collections.OrderedDict(b=1, a=2)
18dc13ec69cb7b9bc040f0b73f34f034  collections.defaultdict(list, a=[1])
4ae22ff220f675eb55e890c823e1d49f  collections.Counter("aab")
9bf5ef99b79fbb52274c78d06ff5132b  types.SimpleNamespace(a=1)
603b2df32fc691dc8495365faf38b57f  functools.partial(int, base=2)
f0ebe4aba234cde361044a5da3756486  Color.RED
ea0d4fe4d054149b529cd0c88b5fdae4  Point(1, 2)
9a95ad9826ef79823ad0ad5ed02608c8  MyInt(1)
d9a7e132c6d89a7f6ce974b0e4bd8f6d  Data(1)
82cac1e0bda9d440ad24620b68bbf47f  [Data(1), Data]
410bc5e4061180dcb85e34976ffa26e3  Node("a")
32db68ad16565e39ffff25f68493f470  np.int64(1)
6b295faa3e1e35a0f5d0b71f346f1acc  np.float32(1.5)
e201e1d346781ae72d21db5cae9957fb  np.float64("nan")
360843af804304fbba764a73f442db03  np.str_("a")
df8fdf16a3b2c750282ee6682d444bfe  np.arange(6.0).reshape(2, 3)
45b56c5957f8dc47875b168cbfdc5f6e  np.arange(6, dtype=">i2").reshape(2, 3).T
6b0a29ab83803cb6ebf0e14a4eb9c088  np.array(["a", "bc"])
c63c49492750fedd9de563ea58d7a75a  np.array([1, "a", None], dtype=object)
61e5e5e84b1f96896fa27404f1800188  np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
191de49b7fe9e567cbbf80051645136c  np.array(["2020-01-01"], dtype="M8[s]")
73bf1c8aa0bcfd2fc1601209ab4ec73a  np.ma.array([1, 2], mask=[False, True])
e56da0d94ce5faef7b891562c5f5153e  np.dtype("f8")
"""
MODULES = ["array", "collections", "datetime", "decimal", "fractions", "functools", "math", "pathlib", "re", "types"]
NAMES = {**{name: import_module(name) for name in MODULES}, "np": np, "Data": Data, "Color": Color, "Point": Point}
NAMES |= {"MyInt": MyInt, "Node": Node, "uuid": import_module("uuid"), "zoneinfo": import_module("zoneinfo")}
LINES = [line.split("  ", 1) for line in GOLDEN.strip().splitlines()]


@pytest.mark.parametrize(("expected", "expression"), LINES, ids=[expression for _, expression in LINES])
def test_the_digest_is_what_it_has_always_been(expected, expression):
    assert Digester(code).digest(eval(expression, dict(NAMES))).hex() == expected


def test_the_digest_of_a_file_is_what_it_has_always_been(tmp_path):
    (tmp_path / "a").write_bytes(b"content" * 300_000)
    assert Digester(code).digest(File(tmp_path / "a")).hex() == "eb325b3977fdb9098b6c03c8ab1cd8d8"
