"""From what somebody typed to what a parameter's annotation asks for. Pure."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import json
import numbers
import os
import sys
import types
import typing
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePath
from uuid import UUID

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Iterable

UNIONS = (typing.Union, types.UnionType)
ANYTHING = (typing.Any, object)


class Inconvertible(Exception):
    """The text does not give such a value; the message says what would."""


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed. `text` is None below the top of a JSON literal; `value` the literal, else the text."""

    text: str | None
    value: object

    @property
    def is_bare(self) -> bool:
        """Not a JSON literal: just words."""
        return self.text is not None and self.value is self.text


def read(text: str) -> Typed:
    """A JSON literal if it is one, else the text itself. The bare words NaN and Infinity are no JSON."""
    if text.strip().lstrip("-") in ("NaN", "Infinity"):
        return Typed(text, text)
    try:
        return Typed(text, json.loads(text))
    except ValueError:
        return Typed(text, text)
    except RecursionError:
        message = "it is nested too deep"
        raise Inconvertible(message) from None


def convert(typed: Typed, annotation: object) -> object:
    """The value that the annotation asks for. What can't be checked at run time is taken as typed.

    Raises Inconvertible saying what the annotation takes.
    """
    annotation = _plain(annotation)
    if annotation in ANYTHING:
        return typed.value
    if annotation is None or annotation is type(None):
        if typed.value is None or (typed.is_bare and typed.value == "None"):
            return None
        raise _refuse(typed, "null")
    origin = typing.get_origin(annotation)
    if origin in UNIONS:
        return _one_of(typed, typing.get_args(annotation))
    if origin is typing.Literal:
        return _choice(typed, typing.get_args(annotation))
    if typing.is_typeddict(annotation):
        return _fields(typed, typing.get_type_hints(annotation), dict)
    kind = origin or annotation
    if not isinstance(kind, type):
        return typed.value
    if kind in CONTAINERS:
        return CONTAINERS[kind](typed, typing.get_args(annotation))
    return _of_class(typed, kind)


def told(annotation: object) -> str:
    """The annotation as the lattice spells it."""
    annotation = (
        annotation if not isinstance(annotation, type) or typing.get_origin(annotation) else annotation.__name__
    )
    return str(annotation).replace("typing.", "")


def _plain(annotation: object) -> object:
    """Without the wrappers that say nothing about the value."""
    for _ in range(20):  # an alias of an alias of ...; a cycle can't hold us
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif isinstance(annotation, typing.TypeVar):
            annotation = annotation.__bound__ or typing.Any
        elif type(annotation).__name__ == "TypeAliasType":  # `type X = ...`, from Python 3.12 on
            annotation = annotation.__value__  # type: ignore[attr-defined]
        else:
            return annotation
    return typing.Any


def _refuse(typed: Typed, takes: str) -> Inconvertible:
    shown = typed.text if typed.text is not None else json.dumps(typed.value, default=repr)
    return Inconvertible(f"`{shown}` is not {takes}")


def _one_of(typed: Typed, members: tuple[object, ...]) -> object:
    """The member that a literal already is; else the first that takes it, `str` last: it always does."""
    exact = type(typed.value)
    if exact is not str:
        for member in members:
            if (typing.get_origin(member) or member) is exact:
                try:
                    return convert(typed, member)
                except Inconvertible:
                    continue
    for member in sorted(members, key=lambda member: member is str):
        if member is type(None) and str in members and typed.is_bare:
            continue  # `None` may be somebody's name: null is unmistakable
        try:
            return convert(typed, member)
        except Inconvertible:
            continue
    raise _refuse(typed, " or ".join(told(member) for member in members))


def _choice(typed: Typed, choices: tuple[object, ...]) -> object:
    for choice in choices:
        if type(choice) is type(typed.value) and choice == typed.value:
            return choice
        if typed.text is not None and isinstance(choice, str) and choice == typed.text:
            return choice
        if isinstance(choice, enum.Enum) and typed.value in (choice.name, choice.value):
            return choice
    raise _refuse(typed, "one of " + ", ".join(f"`{choice}`" for choice in choices))


def _of_class(typed: Typed, kind: type) -> object:
    if kind in SCALARS:
        return SCALARS[kind](typed)
    if issubclass(kind, enum.Enum):
        return _member(typed, kind)
    if issubclass(kind, PurePath) or kind is os.PathLike or _is_file(kind):
        return _made(Path if kind is os.PathLike else kind, _str(typed))
    if dataclasses.is_dataclass(kind):
        return _fields(typed, typing.get_type_hints(kind), kind)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        if isinstance(typed.value, list):
            if len(typed.value) > len(kind._fields):
                raise _refuse(typed, f"a list of at most {len(kind._fields)}")
            typed = Typed(None, dict(zip(kind._fields, typed.value, strict=False)))
        return _fields(typed, typing.get_type_hints(kind), kind)
    for base in (int, float, str, numbers.Integral, numbers.Real):  # numpy's scalars are below these
        if issubclass(kind, base) and kind is not base:
            return _made(kind, SCALARS[base](typed))
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray" and isinstance(typed.value, list):
        # Not imported here: whoever wrote the annotation has done that.
        return sys.modules["numpy"].asarray(typed.value)
    try:
        fits = isinstance(typed.value, kind)
    except TypeError:  # a Protocol that can't be checked at run time
        return typed.value
    if fits:
        return typed.value
    message = f"a {kind.__name__} can't be written on a command line"
    raise Inconvertible(message)


def _made(kind: Callable[..., object], value: object) -> object:
    return kind(value)


def _is_file(kind: type) -> bool:
    return kind.__name__ == "File" and kind.__module__.startswith("cas_engine")


def _int(typed: Typed) -> int:
    value = typed.value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return _from_words(typed, int, "a whole number")


def _float(typed: Typed) -> float:
    value = typed.value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise _refuse(typed, "a number that a float can hold") from None
    return _from_words(typed, float, "a number")


def _complex(typed: Typed) -> complex:
    value = typed.value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return complex(value)
    return _from_words(typed, complex, "a number")


T = typing.TypeVar("T")


def _from_words(typed: Typed, constructor: Callable[[str], T], takes: str) -> T:
    """For what JSON has no literal for: +5, 1_000, nan, 1e400."""
    if not typed.is_bare:
        raise _refuse(typed, takes)
    try:
        return constructor(typing.cast("str", typed.value))
    except (ValueError, ArithmeticError):
        raise _refuse(typed, takes) from None


def _bool(typed: Typed) -> bool:
    if isinstance(typed.value, bool):
        return typed.value
    word = (typed.text or "").lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise _refuse(typed, "true or false")


def _str(typed: Typed) -> str:
    if isinstance(typed.value, str):
        return typed.value
    if typed.text is not None:
        return typed.text
    raise _refuse(typed, "a text")


def _exact_number(kind: type[Decimal | Fraction]) -> Callable[[Typed], object]:
    def of(typed: Typed) -> object:
        if isinstance(typed.value, (bool, list, dict)) or typed.value is None:
            raise _refuse(typed, "a number")
        # From the digits as typed: 0.1 is a tenth here, and not the float next to it.
        text = typed.text if typed.text is not None else str(typed.value)
        try:
            return kind(text.strip('"'))
        except (ValueError, ArithmeticError):
            raise _refuse(typed, "a number") from None

    return of


def _parsed(parse: Callable[[str], object], takes: str) -> Callable[[Typed], object]:
    def of(typed: Typed) -> object:
        text = typed.value if isinstance(typed.value, str) else typed.text
        try:
            # Python 3.10 does not know the Z of RFC 3339
            return parse(text[:-1] + "+00:00" if text and text.endswith("Z") else text or "")
        except ValueError:
            raise _refuse(typed, takes) from None

    return of


def _member(typed: Typed, kind: type[enum.Enum]) -> enum.Enum:
    for member in kind:
        if member.name in (typed.text, typed.value):
            return member
    for member in kind:
        value = member.value
        if (type(value) is type(typed.value) and value == typed.value) or value == typed.text:
            return member
    raise _refuse(typed, "one of " + ", ".join(f"`{member.name}`" for member in kind))


def _fields(typed: Typed, hints: dict[str, object], make: Callable[..., object]) -> object:
    if not isinstance(typed.value, dict):
        raise _refuse(typed, "a JSON object with " + ", ".join(f'"{name}"' for name in hints))
    unknown = [name for name in typed.value if name not in hints]
    if unknown:
        raise _refuse(typed, f"right: it has no field `{unknown[0]}`, only " + ", ".join(f"`{n}`" for n in hints))
    values = {name: convert(Typed(None, value), hints[name]) for name, value in typed.value.items()}
    try:
        return make(**values)
    except (TypeError, ValueError) as error:
        raise Inconvertible(str(error)) from None


def _items(typed: Typed) -> list[object]:
    if not isinstance(typed.value, list):
        raise _refuse(typed, "a JSON list such as [1, 2]")
    return typed.value


def _each(values: Iterable[object], annotation: object) -> list[object]:
    return [convert(Typed(None, value), annotation) for value in values]


def _sequence(make: Callable[[list[object]], object]) -> Callable[[Typed, tuple[object, ...]], object]:
    def of(typed: Typed, inner: tuple[object, ...]) -> object:
        try:
            return make(_each(_items(typed), inner[0] if inner else typing.Any))
        except TypeError:
            raise _refuse(typed, "made of things that can be in a set") from None

    return of


def _tuple(typed: Typed, inner: tuple[object, ...]) -> object:
    values = _items(typed)
    if not inner or inner[-1] is Ellipsis:
        return tuple(_each(values, inner[0] if inner else typing.Any))
    if inner == ((),):  # how Python 3.10 spells tuple[()]
        inner = ()
    if len(values) != len(inner):
        raise _refuse(typed, f"a list of {len(inner)}")
    return tuple(convert(Typed(None, v), a) for v, a in zip(values, inner, strict=True))


def _dict(typed: Typed, inner: tuple[object, ...]) -> object:
    if not isinstance(typed.value, dict):
        raise _refuse(typed, 'a JSON object such as {"a": 1}')
    key_type, value_type = inner if len(inner) == 2 else (str, typing.Any)
    # JSON's keys are texts always: read them as if they had been typed.
    return {convert(read(key), key_type): convert(Typed(None, v), value_type) for key, v in typed.value.items()}


SCALARS: dict[type, Callable[[Typed], object]] = {
    int: _int,
    float: _float,
    complex: _complex,
    bool: _bool,
    str: _str,
    numbers.Integral: _int,
    numbers.Real: lambda typed: convert(typed, int | float),
    numbers.Number: lambda typed: convert(typed, int | float | complex),
    Decimal: _exact_number(Decimal),
    Fraction: _exact_number(Fraction),
    datetime: _parsed(datetime.fromisoformat, "a date and time such as 2025-01-31T12:00:00"),
    date: _parsed(date.fromisoformat, "a date such as 2025-01-31"),
    time: _parsed(time.fromisoformat, "a time such as 12:30:00"),
    UUID: _parsed(UUID, "a UUID"),
}

_LISTS = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
)
CONTAINERS: dict[type, Callable[[Typed, tuple[object, ...]], object]] = {
    **dict.fromkeys(_LISTS, _sequence(list)),
    tuple: _tuple,
    dict: _dict,
    collections.abc.Mapping: _dict,
    collections.abc.MutableMapping: _dict,
    set: _sequence(set),
    collections.abc.Set: _sequence(set),
    collections.abc.MutableSet: _sequence(set),
    frozenset: _sequence(frozenset),
}
