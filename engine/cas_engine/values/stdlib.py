"""What the standard library's types are made of.

By qualified name: nothing is imported here that the caller has not imported.
"""

from __future__ import annotations

import collections
import sys
from itertools import chain
from types import ModuleType
from typing import Any

from cas_engine.values.pieces import (
    Branch,
    CodeOf,
    Digested,
    Order,
    Refusal,
    Rule,
    Unfolded,
    by_field,
    by_index,
    by_key,
    listed,
)
from cas_store.digest import digest_of

_NO_MODULE = ModuleType("none")

# Types whose objects are code: what they do is what they are.
CODE = frozenset(
    f"builtins.{name}"
    for name in (
        "function",
        "module",
        "code",
        "wrapper_descriptor",
        "method_descriptor",
        "classmethod_descriptor",
        "getset_descriptor",
        "member_descriptor",
        "property",
        "staticmethod",
        "classmethod",
    )
) | {"functools._lru_cache_wrapper", "functools.cached_property", "functools.singledispatchmethod"}


def _method(value: Any) -> Unfolded:
    if is_function_of_a_module(value):
        return CodeOf(value)
    # In pieces, so that an object that holds one of its own methods is a cycle like others.
    return listed("method", value.__func__, value.__self__)


def _builtin(value: Any) -> Unfolded:
    owner = value.__self__
    if owner is None or isinstance(owner, (type, ModuleType)) or is_function_of_a_module(value):
        return CodeOf(value)
    return listed("builtin method", value.__name__, owner)


def is_function_of_a_module(value: Any) -> bool:
    """Whether a bound method is what a module offers as a function: random.random, numpy.random.rand.

    What these are bound to is the module's own affair, and differs in every process.
    """
    return module_offering(value) is not None


def module_offering(value: Any) -> ModuleType | None:
    """The module that offers a bound method as a function."""
    for name in (getattr(value, "__module__", None), type(value.__self__).__module__):
        module = sys.modules.get(name or "", _NO_MODULE)
        if vars(module).get(value.__name__) is value:
            return module
    return None


def _cell(value: Any) -> Branch:
    try:
        return listed("cell", value.cell_contents)
    except ValueError:  # empty
        return listed("cell")


def _decimal(value: Any) -> Branch:
    # Not its text: that depends on the context's capitals.
    sign, digits, exponent = value.as_tuple()
    return listed("Decimal", sign, bytes(digits), exponent)


def _datetime(value: Any) -> Branch:
    date = (value.year, value.month, value.day)
    time = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    return listed("datetime", *date, *time, value.tzinfo)


def _time(value: Any) -> Branch:
    return listed("time", value.hour, value.minute, value.second, value.microsecond, value.fold, value.tzinfo)


def _zone(value: Any) -> Branch:
    if value.key is None:
        raise Refusal("it was read from a file; make it with ZoneInfo(key)")
    return listed("ZoneInfo", value.key)


def _array(value: Any) -> Branch:
    # Digested as bytes, so the machine's way to write numbers belongs to it.
    raw = digest_of(memoryview(value).cast("B")) if len(value) else b""
    return listed("array", value.typecode, value.itemsize, sys.byteorder, Digested(raw or digest_of(b"")))


def _stream(value: Any) -> Branch:
    if value.closed:
        raise Refusal("it is closed", type(value).__name__)
    return listed(type(value).__name__, value.getvalue(), value.tell())


def _deque(value: Any) -> Branch:
    return Branch(b"deque\0", Order.LISTED, [value.maxlen, *collections.deque.__iter__(value)], _by_index_after_first)


def _by_index_after_first(_parts: object, i: int) -> str:
    return f"[{i - 1}]"


def _ordered_dict(value: Any) -> Branch:
    pairs = list(chain.from_iterable(collections.OrderedDict.items(value)))
    return Branch(b"OrderedDict\0", Order.PAIRED_LISTED, pairs, by_key)


def _default_dict(value: Any) -> Branch:
    return Branch(b"defaultdict\0", Order.LISTED, [value.default_factory, dict.copy(value)])


def _counter(value: Any) -> Branch:
    return Branch(b"Counter\0", Order.LISTED, [dict.copy(value)])


def _namespace(value: Any) -> Branch:
    named = chain.from_iterable(vars(value).items())
    return Branch(b"SimpleNamespace\0", Order.FIELDS, [None, *named], by_field)


def _chain_map(value: Any) -> Branch:
    return Branch(b"ChainMap\0", Order.LISTED, value.maps, by_index)


def _partial(value: Any) -> Branch:
    return listed("partial", value.func, value.args, value.keywords, vars(value))


def _path(value: Any) -> Branch:
    return listed("path", type(value).__name__ if type(value).__module__.startswith("pathlib") else "", str(value))


def _generic(value: Any) -> Branch:
    return listed("generic alias", value.__origin__, value.__args__, getattr(value, "__unpacked__", False))


def _type_variable(value: Any) -> Branch:
    variance = value.__covariant__, value.__contravariant__
    return listed("TypeVar", value.__name__, value.__bound__, value.__constraints__, variance)


# Qualified name -> rule.
STDLIB: dict[str, Rule] = {
    "builtins.method": _method,
    "builtins.builtin_function_or_method": _builtin,
    "builtins.method-wrapper": _builtin,
    "builtins.cell": _cell,
    "builtins.mappingproxy": lambda value: listed("mappingproxy", dict(value)),
    "types.SimpleNamespace": _namespace,
    "types.GenericAlias": _generic,
    "types.UnionType": lambda value: listed("union", frozenset(value.__args__)),
    "typing._UnionGenericAlias": lambda value: listed("union", frozenset(value.__args__)),
    "typing.NewType": lambda value: listed("NewType", value.__name__, value.__supertype__),
    "typing.TypeVar": _type_variable,
    "typing.Union": lambda value: listed("union", frozenset(value.__args__)),
    "decimal.Decimal": _decimal,
    "fractions.Fraction": lambda value: listed("Fraction", value.numerator, value.denominator),
    "datetime.datetime": _datetime,
    "datetime.date": lambda value: listed("date", value.year, value.month, value.day),
    "datetime.time": _time,
    "datetime.timedelta": lambda value: listed("timedelta", value.days, value.seconds, value.microseconds),
    "datetime.timezone": lambda value: listed("timezone", value.utcoffset(None), value.tzname(None)),
    "zoneinfo.ZoneInfo": _zone,
    "uuid.UUID": lambda value: listed("UUID", value.int),
    "re.Pattern": lambda value: listed("Pattern", value.pattern, value.flags),
    "array.array": _array,
    "collections.deque": _deque,
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": _default_dict,
    "collections.Counter": _counter,
    "collections.ChainMap": _chain_map,
    "_struct.Struct": lambda value: listed("Struct", value.format),
    "_io.BytesIO": _stream,
    "_io.StringIO": _stream,
    "random.Random": lambda value: listed("Random", value.getstate()),
    "functools.partial": _partial,
    "functools.partialmethod": lambda value: listed("partialmethod", value.func, value.args, value.keywords),
    **{
        f"ipaddress.{name}": lambda value: listed("ipaddress", type(value).__name__, str(value))
        for name in (
            "IPv4Address",
            "IPv6Address",
            "IPv4Network",
            "IPv6Network",
            "IPv4Interface",
            "IPv6Interface",
        )
    },
    **{
        f"pathlib{module}.{flavour}Path": _path
        for module in ("", "._local")
        for flavour in ("", "Posix", "Windows", "Pure", "PurePosix", "PureWindows")
    },
}
