"""Whatever shape the user's code has, it is recorded, runs where its source is gone, and keeps its fingerprint.

One program records a function of each shape; another, in a folder where nothing of it can be imported and under another
hash seed, loads them all. Each is checked three ways: it gives the recorded result; its fingerprint is the recorded
one (so that a recorded lattice that is traced again has the recorded keys); recorded again, it is the same again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

PROGRAM = {
    "helpers.py": """
        import logging
        import threading

        RATE = 3
        TABLE = {"a": 1, "b": [1, 2]}
        lock = threading.Lock()
        log = logging.getLogger(__name__)

        def scale(x): return x * RATE
        def beside(x): return x - 1
        def even(n): return True if n == 0 else circle.odd(n - 1)

        import circle

        class Base:
            factor = 10
            def go(self, x): return self.step(x) * self.factor
            def step(self, x): return scale(x)

        class Point:
            def __init__(self, x): self.x = x
            def __eq__(self, other): return isinstance(other, Point) and other.x == self.x
            def __hash__(self): return hash(self.x)
        """,
    "circle.py": """
        import helpers
        def odd(n): return False if n == 0 else helpers.even(n - 1)
        """,
    "lazy.py": """
        VALUE = 41
        def plus(x): return x + VALUE
        def unreached(x): return 0
        """,
    "star.py": "from helpers import *",
    "pkg/__init__.py": """
        NAME = "pkg"
        from .sub import f as public
        """,
    "pkg/sub.py": """
        from . import consts
        from .inner import deep
        def f(x): return x + consts.K + deep.g(x)
        def relative(x):
            from .consts import K
            from . import consts as c
            from .inner.deep import g
            import pkg.inner.deep
            return K + c.K + g(x) + pkg.inner.deep.g(x)
        """,
    "pkg/consts.py": "K = 7",
    "pkg/inner/__init__.py": "",
    "pkg/inner/deep.py": "def g(x): return x * 100",
    "texts.py": """
        from __future__ import annotations
        import collections, dataclasses, typing
        import attrs
        import numpy as np
        import helpers
        from helpers import Point
        from pkg import sub
        T = typing.TypeVar("T")
        class Pair(typing.NamedTuple):
            a: Point
            b: typing.Optional[helpers.Base] = None
        class Loop(typing.NamedTuple):
            inner: "list[Loop]"
            array: np.ndarray
        @dataclasses.dataclass
        class Data:
            p: Point
            q: dict[str, Pair]
            r: typing.ClassVar[int] = 1
            s: typing.Literal["sub", "Point"] = "sub"
            t: typing.Annotated[int, "sub"] = 1
        @attrs.define
        class Attrs:
            p: Point | None
            q: list["Pair"]
        class Typed(typing.TypedDict):
            p: Point
            q: collections.OrderedDict[str, T]
            r: Undefined
        class Plain:
            p: Point
        def hinted(p: Point, q: "Pair") -> helpers.Base: return p
        def names(hints): return sorted((name, getattr(hint, "__name__", str(hint))) for name, hint in hints.items())
        """,
    "reading.py": """
        from __future__ import annotations
        import dataclasses, inspect, typing
        from dataclasses import KW_ONLY, dataclass, field
        from typing import ClassVar, NamedTuple, Optional, TypedDict, get_type_hints
        from pydantic import BaseModel
        from helpers import Point
        from texts import Pair, names
        class Unit:
            pass
        @dataclass
        class Data:
            p: Point
            unit: Unit
            next: Optional[Data] = None
            count: ClassVar[int] = 0
        @dataclass
        class Derived(Data):
            more: dict[str, Pair] = field(default_factory=dict)
        class Record(TypedDict):
            u: Unit
        class Holder:
            u: Unit
            def method(self, d: Data) -> Unit: pass
        def hints_of_dataclasses(n):
            found = typing.get_type_hints(Derived)
            return names(found), found["unit"] is Unit, get_type_hints(type(Data(1, n)))["p"] is Point
        def hints_of_others(n): return [names(get_type_hints(each)) for each in (Pair, Record, Holder, Holder.method)]
        def hints_with_names(n):
            theirs = {"Point": int, "Unit": str, "Data": list, **vars(typing)}
            return names(get_type_hints(Data, theirs))
        def hints_with_extras(n):
            from typing import get_type_hints as hints
            return names(hints(Derived, include_extras=True))
        def annotations(n): return names(inspect.get_annotations(Data, eval_str=True)), inspect.get_annotations(Data)
        def fields(n): return [(each.name, each.type) for each in dataclasses.fields(Derived)]
        def dataclass_made(n):
            @dataclass
            class Made:
                a: int
                b: Unit
                c: ClassVar[int] = 3
                d: typing.ClassVar[int] = 4
                e: dataclasses.InitVar[int] = 5
                _: KW_ONLY
                k: int = 6
            made = Made(n, 2, k=3)
            fields = [each.name for each in dataclasses.fields(Made)]
            return (made.a, made.k), fields, Made.__module__, sorted(Made.__annotations__)
        def slots_made(n):
            @dataclasses.dataclass(slots=True, frozen=True)
            class Made:
                a: int
                c: ClassVar[int] = 3
            return Made(n).a, Made.__module__, hasattr(Made(n), "__dict__")
        def dataclass_by_call(n):
            made = dataclasses.make_dataclass("Made", [("a", "int"), ("b", int, 3)])
            return made(n), made.__module__
        def tuple_made(n):
            class Made(NamedTuple):
                a: Unit
                b: int = 2
            return Made(n), names(get_type_hints(Made))
        def dict_made(n):
            class Made(TypedDict, total=False):
                a: Unit
            return Made(a=n), names(get_type_hints(Made))
        def class_made(n):
            class Made:
                a: Unit
            return names(get_type_hints(Made)), Made.__module__
        def model_made(n):
            class Local(BaseModel):
                x: int
            class Made(BaseModel):
                a: int
                b: Optional[float] = None
                c: list[Local] = []
                next: Optional[Made] = None
            return Made(a="3", c=[{"x": n}], next={"a": n}).model_dump()
        def model_with_method(n):
            class Made(BaseModel):
                a: Optional[int] = None
                def twice(self): return __class__.__name__, super().model_dump(), self.a * 2
            return Made(a=n).twice()
        """,
    "small.py": """
        SECRET = 9
        def other(): return SECRET + 1
        def by_globals(n): return globals()["SEC" + "RET"], eval("other")(), n
        """,
    "shapes.py": """
        import abc, asyncio, collections, contextlib, dataclasses, enum, functools, importlib, logging, operator, re
        import threading, typing
        from importlib import import_module
        import numpy as np
        import helpers, pkg, pkg.sub, pkg.inner.deep as deep
        import helpers as aliased
        from helpers import scale as renamed, Base, Point
        from star import even
        from pkg import public
        from small import by_globals

        ROOTS = {}
        def root(fn):
            ROOTS[fn.__name__] = fn
            return fn
        def named(name, fn): ROOTS[name] = fn

        CONST = (1, 2.5, "x", None, frozenset({"p", "q"}))
        LOCK, CONDITION, EVENT = threading.RLock(), threading.Condition(), threading.Event()
        LOG = logging.getLogger("shapes")
        PATTERN = re.compile("a+")
        ARRAY = np.arange(5.0)

        # modules

        @root
        def plain(n): return n + CONST[0]
        @root
        def module(n): return helpers.scale(n) + aliased.RATE + len(helpers.TABLE)
        @root
        def from_import(n): return renamed(n)
        @root
        def package(n): return pkg.sub.f(n) + deep.g(n) + public(n) + len(pkg.NAME)
        @root
        def star_import(n): return even(n)
        @root
        def import_in_body(n):
            import lazy
            return lazy.plus(n)
        @root
        def from_import_in_body(n):
            from lazy import plus as p, VALUE
            return p(n) + VALUE
        @root
        def packages_in_body(n):
            import pkg.inner.deep
            import pkg.sub as s
            from pkg import consts, inner
            return pkg.inner.deep.g(n) + s.relative(n) + consts.K + inner.deep.g(1)
        @root
        def import_module_literal(n): return importlib.import_module("lazy").plus(n) + import_module("lazy").VALUE
        @root
        def import_module_in_body(n):
            import importlib
            from importlib import import_module
            return importlib.import_module("pkg.consts").K + import_module("pkg.consts").K
        @root
        def dunder_import(n): return __import__("lazy").plus(n)
        @root
        def getattr_on_module(n):
            import lazy
            return getattr(lazy, "pl" + "us")(n)
        def call_on(module, n): return module.plus(n)
        @root
        def module_passed_on(n):
            import lazy
            return call_on(lazy, n)
        @root
        def import_used_inside(n):
            def inner():
                import lazy
                return [lazy.plus(i) for i in range(n)]
            return inner()
        @root
        def installed_submodules(n):
            import concurrent.futures, os.path
            return os.path.join("a", "b") + concurrent.futures.Future.__name__
        root(by_globals)

        # functions

        @root
        def recursive(n): return 1 if n <= 1 else n * recursive(n - 1)
        @root
        def mutual(n): return helpers.even(n), helpers.circle.odd(n)
        def make(k):
            def add(n): return n + k
            def twice(n): return add(add(n))
            return twice
        named("closure", make(3))
        def refers_to_itself():
            def f(n): return 0 if n == 0 else 1 + f(n - 1)
            return f
        named("closure_on_itself", refers_to_itself())
        def with_module():
            import lazy as held
            return lambda n: held.plus(n)
        named("closure_on_module", with_module())
        named("lambda", lambda n, k=CONST: (n, k[1]))
        named("partial", functools.partial(helpers.scale))
        named("ufunc", np.sqrt)
        named("numpy_function", np.linalg.norm)
        named("builtin", abs)
        named("c_function", operator.neg)
        @functools.singledispatch
        def area(shape): return 0
        @area.register
        def _(shape: list): return sum(area(each) for each in shape)
        @area.register(int)
        def _i(shape): return shape
        @area.register(Point)
        def _p(shape): return shape.x
        @root
        def singledispatch(n): return area([1, [n, Point(3)], "x"]), area.__name__
        @functools.lru_cache(maxsize=None)
        def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
        @root
        def cached(n): return fib(20)
        named("lru_cache", fib)
        @contextlib.contextmanager
        def doubled(n): yield n * 2
        @root
        def context(n):
            with doubled(n) as v: return v
        def noted(f):
            @functools.wraps(f)
            def wrapper(*args, **kwargs): return ("noted", f(*args, **kwargs))
            return wrapper
        class Noted:
            def __init__(self, f): functools.update_wrapper(self, f); self.f = f
            def __call__(self, *args): return ("Noted", self.f(*args))
        @root
        @noted
        @noted
        def wrapped(n): return n
        @root
        @Noted
        def wrapped_by_class(n): return wrapped_by_class.f is not None and n
        def counted(n): yield from (i * CONST[1] for i in range(n))
        @root
        def generator(n): return list(counted(n))
        async def awaited(n):
            await asyncio.sleep(0)
            return n
        @root
        def coroutine(n): return asyncio.run(awaited(n))
        space = {"np": np}
        exec("K = 5\\ndef made(n, m=K): return n * K + m + other(n)\\ndef other(n): return n + K", space)
        named("exec", space["made"])
        def keywords(a, /, b=[1], *args, c={"k": 2}, **k): return a, b, c, args, k
        @root
        def defaults(n): return keywords(n), keywords(n, 1, 2, c=3, d=4), keywords.__kwdefaults__
        NOTHING = object()
        def optional(x=NOTHING): return "none" if x is NOTHING else x
        @root
        def sentinel(n): return optional(), optional(n)
        FUNCTIONS = {"a": helpers.scale, "b": [lambda n: n + 1, optional]}
        @root
        def functions_in_table(n): return FUNCTIONS["a"](n), FUNCTIONS["b"][0](n)
        @root
        def annotated(n: "Missing", p: Point = None) -> list[Point]: return sorted(annotated.__annotations__)
        import texts
        @root
        def named_tuple_of_texts(n): return texts.Pair(n, 2)
        @root
        def named_tuple_of_itself(n): return texts.Loop([texts.Loop([], n)], n)
        @root
        def dataclass_of_texts(n): return texts.Data(n, {})
        @root
        def attrs_of_texts(n): return texts.Attrs(n, [])
        @root
        def typed_dict_of_texts(n): return texts.Typed(p=n)
        @root
        def hints_of_function(n): return sorted(hint.__name__ for hint in typing.get_type_hints(texts.hinted).values())
        @root
        def hints_of_class(n): return texts.Plain.__annotations__
        import reading
        named("hints_of_dataclasses", reading.hints_of_dataclasses)
        named("hints_of_others", reading.hints_of_others)
        named("hints_with_names", reading.hints_with_names)
        named("hints_with_extras", reading.hints_with_extras)
        named("annotations", reading.annotations)
        named("fields", reading.fields)
        named("dataclass_made", reading.dataclass_made)
        named("slots_made", reading.slots_made)
        named("dataclass_by_call", reading.dataclass_by_call)
        named("tuple_made", reading.tuple_made)
        named("dict_made", reading.dict_made)
        named("class_made", reading.class_made)
        named("model_made", reading.model_made)
        named("model_with_method", reading.model_with_method)
        chain = {"__name__": "chained"}
        lines = "".join(f"def f{i}(n): return f{i - 1}(n)\\n" for i in range(1, 600))
        exec("def f0(n): return n\\n" + lines + "def long_chain(n): return callable(f599) and f99(n)", chain)
        root(chain["long_chain"])
        if len(CONST) > 2:
            def conditional(n): return "many"
        else:
            def conditional(n): return "few"
        root(conditional)

        # globals that pickle can't take, or only just

        @root
        def locks(n):
            with LOCK, CONDITION: return LOCK is not None
        @root
        def event(n): return EVENT.is_set()
        @root
        def others(n): return LOG.name, PATTERN.findall("caab"), (ARRAY * n).tolist(), round(float(np.sqrt(n)), 3)
        class Single:
            def __reduce__(self): return "SINGLE"
        SINGLE = Single()
        @root
        def global_by_name(n): return type(SINGLE).__name__

        # classes

        class Adder:
            shared = {"t": 1}
            def __init__(self, k): self.k = k
            def __call__(self, n): return n + self.k + self.shared["t"]
            def method(self, n): return self(n) * 2
            @classmethod
            def built(cls, n): return cls(n)(1)
            @staticmethod
            def static(n): return renamed(n)
            @property
            def five(self): return self.k * 5
        named("instance", Adder(4))
        named("bound_method", Adder(4).method)
        named("class_method", Adder.built)
        named("static_method", Adder.static)
        class Derived(Base):
            def step(self, x): return super().step(x) + __class__.factor + Adder(x).five
        @root
        def inheritance(n): return Derived().go(n), isinstance(Derived(), Base)
        class Tagging(type):
            def __new__(meta, name, bases, body, **kw):
                cls = super().__new__(meta, name, bases, body)
                cls.tag = body.get("tag", "") + name.lower()
                return cls
            def __call__(cls, *args):
                made = super().__call__(*args)
                made.made = True
                return made
            def __setattr__(cls, name, value):
                if name == "forbidden": raise AttributeError(name)
                super().__setattr__(name, value)
        class Tagged(metaclass=Tagging):
            tag = "a "
            def both(self): return self.tag, self.made
        @root
        def metaclass(n): return Tagged().both(), type(Tagged).__name__
        class Plugin:
            known = {}
            def __init_subclass__(cls, /, kind, **kw):
                super().__init_subclass__(**kw)
                Plugin.known[kind] = cls
                cls.label = cls.title() + kind
        class A(Plugin, kind="a"):
            def title(): return "A"
            def run(self, n): return n + 1
        class B(Plugin, kind="b"):
            def title(): return "B"
            def run(self, n): return n + 2
        @root
        def registry(n):
            known = sorted(Plugin.known), Plugin.known["b"]().run(n)
            return known, A.label, A.__mro__[1] is Plugin, len(A.__mro__)
        @dataclasses.dataclass
        class Record:
            x: int
            y: list = dataclasses.field(default_factory=list)
            z: int = 4
        @dataclasses.dataclass(frozen=True, slots=True, order=True)
        class Frozen:
            x: int
            y: int = 2
        @dataclasses.dataclass(kw_only=True)
        class Longer(Record):
            w: int = 9
        @root
        def dataclass(n):
            record, frozen = Record(n), Frozen(n)
            record.y.append(1)
            @dataclasses.dataclass
            class Local(Record):
                extra: int = 1
            try: frozen.x = 3; assigned = True
            except dataclasses.FrozenInstanceError: assigned = False
            return (repr(record), repr(dataclasses.replace(frozen, y=5)), frozen < Frozen(n + 1), repr(Longer(x=1)),
                    repr(Local(2)), assigned, hasattr(frozen, "__dict__"), Record(1).y is not Record(1).y)
        Named = collections.namedtuple("Named", "a b", defaults=[5])
        class Typed(typing.NamedTuple):
            a: int
            b: str = "q"
            def both(self): return self.a, self.b
        @root
        def namedtuple(n): return repr(Named(n)), repr(Typed(n)), Typed(n).both(), Named(n)._replace(b=1), Named._fields
        class Colour(enum.Enum):
            RED = 1; GREEN = 2; ROUGE = 1
            def nice(self): return self.name.title()
        class Planet(enum.Enum):
            EARTH = (5.9, 6.3); MARS = (6.4, 3.3)
            def __init__(self, mass, radius): self.mass, self.radius = mass, radius
            @property
            def pull(self): return self.mass / self.radius
            @classmethod
            def heavy(cls): return max(cls, key=lambda planet: planet.mass)
        class Number(enum.IntEnum):
            ONE = enum.auto(); TWO = enum.auto()
        class Letter(str, enum.Enum):
            A = "a"; B = "b"
            def up(self): return self.value.upper()
        class Right(enum.Flag):
            R = 1; W = 2; X = 4; RW = R | W
        class Labelled(enum.Enum):
            def __new__(cls, value, label):
                made = object.__new__(cls)
                made._value_ = value
                made.label = label
                return made
            X = (1, "ex"); Y = (2, "why")
            @classmethod
            def _missing_(cls, value): return cls.X
        @root
        def enums(n):
            return (Colour.RED.nice(), Colour(2).name, Colour.ROUGE is Colour.RED, list(Colour.__members__),
                    Planet.EARTH.pull, Planet.heavy().name, Number.TWO + 1, Letter.A.up(), Letter("b") == "b",
                    (Right.R | Right.W) is Right.RW, Right.X in (Right.X | Right.R), Labelled.Y.label,
                    Labelled(99).name, [c.name for c in Colour], Colour.RED in Colour, {Colour.RED: 1}[Colour(1)])
        T = typing.TypeVar("T")
        class Box(typing.Generic[T]):
            def __init__(self, v: T): self.v = v
        class IntBox(Box[int]): pass
        @root
        def generics(n): return Box(n).v, Box[int](n).v, IntBox(n).v
        class Speaking(typing.Protocol):
            def speak(self) -> str: return "by default"
        @typing.runtime_checkable
        class Speaks(typing.Protocol):
            def speak(self): ...
        class Dog(Speaking):
            def __init__(self): pass
        @root
        def protocols(n): return Dog().speak(), isinstance(Dog(), Speaks), isinstance(3, Speaks)
        class Abstract(abc.ABC):
            @abc.abstractmethod
            def f(self): ...
        class Concrete(Abstract):
            def f(self): return 1
        class Virtual: pass
        Abstract.register(Virtual)
        @root
        def abstract(n):
            try: Abstract(); made = True
            except TypeError: made = False
            return Concrete().f(), made, isinstance(Virtual(), Abstract), isinstance(3, Abstract)
        class Attribute:
            def __set_name__(self, owner, name): self.name = "_" + name
            def __get__(self, instance, owner=None):
                return self if instance is None else getattr(instance, self.name, 0)
            def __set__(self, instance, value): setattr(instance, self.name, value + 1)
        class Slotted:
            d = Attribute()
            __slots__ = ("_d", "__hidden", "__weakref__")
            def hide(self):
                self.__hidden = 4
                return self.__hidden
        class Lazy:
            @functools.cached_property
            def once(self): return object()
            @functools.singledispatchmethod
            def told(self, x): return "object"
            @told.register
            def _(self, x: int): return "int"
            added = functools.partialmethod(lambda self, a, b: a + b, 3)
        @root
        def descriptors(n):
            slotted, lazy = Slotted(), Lazy()
            slotted.d = n
            return (slotted.d, Slotted.d.name, slotted.hide(), hasattr(slotted, "__dict__"), lazy.once is lazy.once,
                    lazy.told(1), lazy.told(""), lazy.added(4))
        class Mistake(ValueError):
            def __init__(self, a, b):
                super().__init__(a)
                self.b = b
        @root
        def exception(n):
            try: raise Mistake(n, 2)
            except Mistake as mistake: return str(mistake), mistake.b
        class Outer:
            class Inner:
                def v(self): return 1
        @root
        def nested_class(n): return Outer.Inner().v(), Outer.Inner.__qualname__
        @root
        def local_class(n):
            class Local:
                k = CONST[0]
                def m(self): return renamed(n)
            return Local().m(), Local.k
        @root
        def match_statement(n):
            match Frozen(n, 2):
                case Frozen(x, y): return x + y
        import attrs
        @attrs.define
        class Defined:
            x: int = 3
            y: list = attrs.field(factory=list)
        @attrs.frozen
        class Checked:
            x: int = attrs.field(validator=attrs.validators.instance_of(int))
        @root
        def attrs_classes(n):
            changed = attrs.evolve(Checked(n), x=2)
            return repr(Defined(n)), repr(changed), Defined(1) == Defined(1), len(attrs.fields(Defined))

        # electrons and lattices

        from cas_engine.graphs.electron import electron
        from cas_engine.graphs.lattice import lattice
        @electron
        def first(n): return second(n) + 1
        @electron(stochastic=True, depends_on=[helpers.beside])
        def second(n): return n * 2
        @lattice
        def whole(n): return first(n) + helpers.scale(n)
        named("electron", first)
        named("function_of_electron", first.fn)
        named("lattice", whole)
        """,
}

RECORD = """
    import base64, json, sys
    from cas_engine.capsules import capsule
    from cas_engine.fingerprint import Fingerprinter
    import shapes

    recorded = {}
    for name, fn in shapes.ROOTS.items():
        session = Fingerprinter()
        fingerprint = session.of(fn)
        blob = capsule.pack(fn, fingerprint, session)
        recorded[name] = {
            "blob": base64.b64encode(blob).decode(),
            "fault": capsule.header(blob).fault,
            "code": fingerprint.code.hex(),
            "live": capsule.load(blob) is fn,
            "result": repr(fn(3)),
        }
    print(json.dumps(recorded))
    """

LOAD = """
    import base64, json, sys, types
    from cas_engine.capsules import capsule
    from cas_engine.fingerprint import Fingerprinter

    # Another project's, of the same name: it has no say.
    sys.modules["texts"] = types.ModuleType("texts")
    vars(sys.modules["texts"]).update(Point=int, helpers=json, Pair=float, np=json, typing=json)
    sys.modules["reading"] = types.ModuleType("reading")
    vars(sys.modules["reading"]).update(Point=int, Unit=json, ClassVar=json, Optional=list, Data=str)

    loaded = {}
    for name, blob in json.load(open(sys.argv[1])).items():
        try:
            fn = capsule.load(base64.b64decode(blob))
            session = Fingerprinter()
            fingerprint = session.of(fn)
            again = capsule.load(capsule.pack(fn, fingerprint, session))
            loaded[name] = {
                "code": fingerprint.code.hex(),
                "components": [(c.kind, c.name, c.via) for c in fingerprint.components],
                "code again": Fingerprinter().of(again).code.hex(),
                "result": repr(fn(3)),
                "result again": repr(again(3)),
            }
        except BaseException as error:
            loaded[name] = {"error": repr(error)}
    theirs = {"helpers", "circle", "lazy", "star", "pkg", "small", "shapes"}
    loaded["polluted"] = sorted(name for name in sys.modules if name.partition(".")[0] in theirs)
    print(json.dumps(loaded))
    """

# Code that only makes sense where it was made: these are found neither by name nor live.
NAMELESS = {
    "closure", "closure_on_itself", "closure_on_module", "lambda", "partial", "exec", "long_chain", "instance",
    "bound_method",
}  # fmt: skip

Played = Callable[[], "tuple[dict[str, Any], dict[str, Any]]"]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what was recorded, what was loaded), by shape."""
    import json
    import subprocess
    import sys
    import textwrap

    def run(folder: Any, name: str, text: str, *words: str, seed: str) -> dict[str, Any]:
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, name, *words],
            cwd=folder, env={"PYTHONHASHSEED": seed, "PATH": ""}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        shown: dict[str, Any] = json.loads(done.stdout)
        return shown

    project, elsewhere = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("elsewhere")
    for name, text in PROGRAM.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(textwrap.dedent(text), encoding="utf-8")
    recorded = run(project, "record.py", RECORD, seed="1")
    (elsewhere / "blobs.json").write_text(json.dumps({name: each["blob"] for name, each in recorded.items()}))
    return recorded, run(elsewhere, "load.py", LOAD, "blobs.json", seed="2")


def shape_names() -> list[str]:
    """The names of the shapes, read from the program's text: pytest wants them before it has run."""
    import re

    text = PROGRAM["shapes.py"]
    named = re.findall(r'^ +named\("(\w+)"', text, re.MULTILINE)
    decorated = re.findall(r"^ +@root\n(?: +@.*\n)*? +def (\w+)", text, re.MULTILINE)
    return sorted({*named, *decorated, "by_globals", "long_chain", "conditional"})


@pytest.mark.parametrize("shape", shape_names())
def test_recorded_code_is_the_same_where_its_source_is_gone(shape: str, played: Any) -> None:
    recorded, loaded = played[0][shape], played[1][shape]
    assert recorded["fault"] == ""
    assert "error" not in loaded, loaded["error"]
    assert (loaded["result"], loaded["result again"]) == (recorded["result"], recorded["result"])
    assert (loaded["code"], loaded["code again"]) == (recorded["code"], recorded["code"]), loaded["components"]


def test_where_the_source_is_the_live_function_is_taken(played: Any) -> None:
    assert {shape for shape, each in played[0].items() if not each["live"]} == NAMELESS | {"class_method"}


def test_every_shape_was_played(played: Any) -> None:
    assert sorted(played[0]) == shape_names()


def test_nothing_recorded_enters_the_live_program(played: Any) -> None:
    assert played[1]["polluted"] == []
