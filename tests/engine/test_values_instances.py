"""Objects of the user's classes count by class and state, however the class keeps its state."""

from __future__ import annotations

import collections
import copy
import dataclasses
import functools
import pathlib
import pickle
import threading
import types
import typing
from typing import Any

import pytest

from cas_engine.errors import BadOption, Undigestible
from cas_engine.values import Digester, register_digest
from cas_store.digest import digest_of


def code(thing, where):
    return digest_of(f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', repr(thing))}".encode())


digest = Digester(code).digest


class Plain:
    def __init__(self, **state):
        self.__dict__.update(state)


class SamePlain(Plain):
    pass


class Slotted:
    __slots__ = ("__hidden", "a", "b")

    def __init__(self, a, hidden=0):
        self.a = a
        self.__hidden = hidden


class SlottedAndMore(Slotted):
    pass


class SingleSlot:
    __slots__ = "only"  # noqa: PLC0205 - as it is sometimes written

    def __init__(self, only):
        self.only = only


@dataclasses.dataclass
class Data:
    x: int
    y: object = None
    unseen: int = dataclasses.field(default=0, compare=False, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenData:
    x: int
    y: object = None


class MoreFrozenData(FrozenData):
    """Has a __dict__ besides the slots, which the generated __getstate__ knows nothing of."""


class Point(typing.NamedTuple):
    x: int
    y: int = 0


Other = collections.namedtuple("Other", "x y")  # noqa: PYI024 - the older way, still met


class TaggedPoint(Point):
    """Has a __dict__ besides what is in the tuple."""


class MyInt(int):
    pass


class MyStr(str):
    __slots__ = ()


class MyFloat(float):
    pass


class MyBytes(bytes):
    pass


class MyList(list):
    def __iter__(self):
        return iter(["what is there", "does not show"])

    def __getitem__(self, at):
        raise IndexError


class MyDict(dict):
    def items(self):
        return []


class MySet(set):
    pass


class MyTuple(tuple):
    __slots__ = ()


class MyDefault(collections.defaultdict):
    pass


class MyOrdered(collections.OrderedDict):
    pass


class MyPath(pathlib.PosixPath):
    pass


class StateOfItsOwn:
    def __init__(self, kept, cache=None):
        self.kept = kept
        self.cache = cache or threading.Lock()

    def __getstate__(self):
        return {"kept": self.kept}

    def __setstate__(self, state):
        self.kept = state["kept"]
        self.cache = threading.Lock()


class ThreadWithState(threading.Thread):
    def __init__(self, kept):
        super().__init__()
        self.kept = kept

    def __getstate__(self):
        return self.kept


class Reduced:
    def __init__(self, x):
        self.x = x
        self.lock = threading.Lock()

    def __reduce__(self):
        return Reduced, (self.x,)


class ByName:
    def __reduce__(self):
        return "THE_ONE"


class WithArguments(int):
    def __getnewargs__(self):
        return (int(self),)


class Content:
    def __init__(self, x, noise):
        self.x, self.noise = x, noise

    def __cas_digest__(self):
        return {"x": self.x}


class InheritedContent(Content):
    pass


class Nosy:
    """Answers for every attribute that is not there."""

    def __init__(self, x):
        self.x = x

    def __getattr__(self, name):
        return lambda *_: f"{name} of {id(self)}"


class Lazy:
    def __init__(self, x):
        self.x = x

    @functools.cached_property
    def double(self):
        return self.x * 2


def extended(value, **more):
    for name, one in more.items():
        setattr(value, name, one)
    return value


DIFFERENT = [
    Plain(),
    Plain(a=1),
    Plain(a=2),
    Plain(b=1),
    Plain(a=1, b=1),
    SamePlain(a=1),
    Slotted(1),
    Slotted(2),
    Slotted(1, hidden=1),
    extended(Slotted(1), b=1),
    SlottedAndMore(1),
    extended(SlottedAndMore(1), c=1),
    SingleSlot(1),
    SingleSlot(2),
    Data(1),
    Data(2),
    Data(1, 1),
    Data(1, unseen=1),
    extended(Data(1), besides=1),
    FrozenData(1),
    FrozenData(1, [1]),
    MoreFrozenData(1),
    Point(1),
    Point(1, 1),
    TaggedPoint(1),
    extended(TaggedPoint(1), tag=1),
    Other(1, 0),
    (1, 0),
    MyInt(1),
    MyInt(2),
    extended(MyInt(1), unit="m"),
    WithArguments(1),
    MyStr("1"),
    MyFloat(1),
    MyBytes(b"1"),
    MyList([1, 2]),
    MyList([2, 1]),
    MyList(),
    MyDict(a=1),
    MyDict(a=2),
    MySet([1]),
    MySet([2]),
    MyTuple([1]),
    MyDefault(int, a=1),
    MyDefault(list, a=1),
    MyOrdered(a=1, b=2),
    MyOrdered(b=2, a=1),
    MyPath("a"),
    StateOfItsOwn(1),
    StateOfItsOwn(2),
    ThreadWithState(1),
    ThreadWithState(2),
    Reduced(1),
    Reduced(2),
    ByName(),
    Content(1, 0),
    Content(2, 0),
    InheritedContent(1, 0),
    Nosy(1),
    Nosy(2),
    Plain,
    SamePlain,
]


def test_different_objects_have_different_digests():
    described = collections.defaultdict(list)
    for i, value in enumerate(DIFFERENT):
        described[digest(value)].append((i, type(value)))
    assert [names for names in described.values() if len(names) > 1] == []


@pytest.mark.parametrize("value", DIFFERENT, ids=lambda value: type(value).__name__)
def test_a_copy_has_the_digest_of_the_original(value):
    assert digest(value) == digest(value)
    if isinstance(value, (ByName, Nosy, ThreadWithState, MyList, MyDict)):
        return  # these can't be copied
    assert digest(copy.copy(value)) == digest(value)
    assert digest(pickle.loads(pickle.dumps(value))) == digest(value)


def test_an_object_of_a_derived_class_differs_from_a_plain_one():
    for value, plain in ((MyInt(1), 1), (MyStr("1"), "1"), (MyList(), []), (MyDict(), {}), (Point(1, 2), (1, 2))):
        assert digest(value) != digest(plain)


def test_the_order_in_which_attributes_were_set_does_not_show():
    assert digest(Plain(a=1, b=2)) == digest(Plain(b=2, a=1))
    assert Digester(code, ordered_dicts=True).digest(Plain(a=1, b=2)) == Digester(code, ordered_dicts=True).digest(
        Plain(b=2, a=1)
    )


def test_what_a_class_leaves_out_of_its_state_does_not_count():
    assert digest(StateOfItsOwn(1)) == digest(StateOfItsOwn(1, cache="full"))
    assert digest(Content(1, "noise")) == digest(Content(1, threading.Lock()))


def test_the_class_belongs_to_the_digest():
    def changed(thing, where):
        return digest_of(b"v2:" + code(thing, where))

    own: list[Any] = [Plain(a=1), MyInt(1), Point(1), FrozenData(1), Content(1, 0), StateOfItsOwn(1), Reduced(1), Plain]
    for value in own:
        assert Digester(changed).digest(value) != digest(value)
    others: list[Any] = [1, [1, {"a": (2,)}], pathlib.Path("a")]
    for value in others:
        assert Digester(changed).digest(value) == digest(value)


def test_code_is_asked_for_functions_classes_and_modules_but_once_for_each():
    asked = []

    def counting(thing, where):
        asked.append(thing)
        return code(thing, where)

    Digester(counting).digest([Plain(a=i) for i in range(50)] + [len, collections, functools.partial(len), Plain])
    assert asked == [Plain, len, collections]


def test_electrons_are_code():
    class Electronic:
        def __init__(self):
            self.lock = threading.Lock()

        def __cas_code__(self):
            return ("electron", len)

    asked = []
    one = Electronic()

    def counting(thing, where):
        asked.append(thing)
        return code(thing, where)

    Digester(counting).digest({"step": one})
    assert asked == [one]


def test_code_that_refuses_is_told_the_path():
    paths = []

    def refusing(thing, where):
        paths.append(where)
        raise Undigestible(where, "function")

    with pytest.raises(Undigestible, match=r"model\.steps\[0\]"):
        Digester(refusing).digest(types.SimpleNamespace(steps=[len]), "model")
    assert paths[-1] == "model.steps[0]"


def test_a_lazy_attribute_counts_once_it_is_there():
    # An object that was changed through it would otherwise look the same.
    one, other = Lazy(2), Lazy(2)
    assert digest(one) == digest(other)
    assert other.double == 4
    assert digest(one) != digest(other)


def test_a_registered_function_says_what_the_content_is():
    class Theirs:
        def __init__(self, x, handle):
            self.x, self.handle = x, handle

    class Derived(Theirs):
        pass

    with pytest.raises(Undigestible):
        digest(Theirs(1, threading.Lock()))
    register_digest(Theirs, lambda value: value.x)
    assert digest(Theirs(1, threading.Lock())) == digest(Theirs(1, None))
    assert digest(Theirs(1, None)) != digest(Theirs(2, None))
    assert digest(Theirs(1, None)) != digest(1)
    assert digest(Derived(1, None)) != digest(Theirs(1, None))


def test_an_object_cannot_be_its_own_content():
    class Selfish:
        def __cas_digest__(self):
            return self

    with pytest.raises(Undigestible, match="the object itself"):
        digest(Selfish())


def test_what_is_registered_comes_before_what_the_class_says():
    class Says:
        def __cas_digest__(self):
            return threading.Lock()

    with pytest.raises(Undigestible):
        digest(Says())
    register_digest(Says, lambda _value: "registered")
    assert digest(Says()) == digest(Says())


def test_scalars_and_everything_cannot_be_registered():
    kinds: list[Any] = [int, str, object, type, "no type"]
    for kind in kinds:
        with pytest.raises(BadOption):
            register_digest(kind, lambda value: value)
    with pytest.raises(BadOption):
        register_digest(Plain, "not a function")  # type: ignore[arg-type]


def test_attrs_classes_count_by_their_fields():
    pytest.importorskip("attrs")
    import attrs

    @attrs.define
    class Slots:
        x: int
        y: object = None

    @attrs.define(slots=False)
    class Dict:
        x: int

    @attrs.frozen(cache_hash=True)
    class Cached:
        x: str

    @attrs.frozen(cache_hash=True, slots=False)
    class CachedInDict:
        x: str

    class More(Slots):
        pass

    assert len({digest(value) for value in (Slots(1), Slots(2), Slots(1, 1), Dict(1), Dict(2), Cached("a"))}) == 6
    assert digest(Slots(1)) == digest(Slots(1))
    for kind in (Cached, CachedInDict):
        used = kind("a")
        hash(used)  # keeps a number that depends on the hash seed
        assert digest(used) == digest(kind("a"))
    assert digest(extended(More(1), more=1)) != digest(More(1))


def test_pydantic_models_count_as_they_compare():
    pydantic: Any = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        x: int
        y: list[int] = []  # noqa: RUF012 - pydantic copies it
        _private: int = pydantic.PrivateAttr(default=0)

    class Open(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        x: int = 0

    assert digest(Model(x=1)) == digest(Model(x=1, y=[])) == digest(Model(x="1")) == digest(Model(x=1).model_copy())
    assert digest(copy.deepcopy(Model(x=1))) == digest(Model(x=1))
    private = Model(x=1)
    private._private = 1
    others = [Model(x=2), Model(x=1, y=[1]), private, Open(), Open(y=1), Open(y=2), Open(x=1)]
    assert len({digest(value) for value in [Model(x=1), *others]}) == 8


@pytest.mark.parametrize("value", [Data(1, [1]), FrozenData(1, {"a": 1}), Slotted(1), Plain(a=Plain(b=1))])
def test_a_change_of_one_attribute_changes_the_digest(value):
    before = digest(value)
    other = copy.deepcopy(value)
    name = "a" if hasattr(value, "a") else "y"
    object.__setattr__(other, name, [getattr(value, name)])
    assert digest(other) != before
