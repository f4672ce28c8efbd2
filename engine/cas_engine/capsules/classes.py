"""Classes made again from their recorded parts: an empty class first, for its methods to refer to, then its contents.

The state that a class had when it was recorded is put back; what the user's code does when a class is defined
(`__init_subclass__`, a metaclass's `__new__`, `__set_name__`, an enum's `__init__`) is not run again, as all that it
did is part of that state. Metaclasses of installed packages do run: they keep books that only they know.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import types
from collections.abc import Callable, Mapping
from typing import Any

from cas_engine.modules.program import HOME

# What type.__new__ makes by itself, or what belongs to one class object and not to its definition.
_MADE_ANEW = frozenset({"__dict__", "__weakref__", "_abc_impl", "__static_attributes__", HOME})
_MADE_BY_ENUM = frozenset({
    "_generate_next_value_", "_member_names_", "_member_map_", "_member_type_", "_value2member_map_",
    "_unhashable_values_", "_unhashable_values_map_", "_hashable_values_",
})  # fmt: skip
# Slots decide the layout of instances; typing asks for the original bases while the class is made.
_NEEDED_FIRST = frozenset({"__slots__", "__orig_bases__"})
_FIXED = _NEEDED_FIRST | {"__qualname__", "__module__"}
_PLAIN = (str, bytes, int, float, complex, bool, type(None))


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What a class is from its beginning.

    `maker` is the metaclass, or what it derives from, whose `__new__` makes the class; `quiet` says that a base has
    an `__init_subclass__` of the user's, which is not to be called.
    """

    maker: type
    metaclass: type
    quiet: bool
    name: str
    bases: tuple[type, ...]
    namespace: dict[str, Any]


def parts_of(cls: type, is_own: Callable[[type], bool]) -> tuple[Shape, dict[str, Any], list[type]]:
    """(shape, contents, virtual subclasses) of a class; the members of an enum are apart (see `members_of`)."""
    is_enum = isinstance(cls, enum.EnumMeta)
    left_out = _MADE_ANEW | _MADE_BY_ENUM | set(vars(cls)["_member_map_"]) if is_enum else _MADE_ANEW
    # Slots are made from __slots__; the descriptors in the namespace are theirs.
    own = {k: v for k, v in vars(cls).items() if k not in left_out and not _is_slot_of(cls, v)}
    # In an enum's body a plain value would become a member.
    begins = {
        k: v
        for k, v in own.items()
        if k in _NEEDED_FIRST or (type(v) in _PLAIN and (not is_enum or (k[:2] == "__" == k[-2:])))
    }
    contents = {k: v for k, v in own.items() if k not in begins}
    begins["__qualname__"] = cls.__qualname__
    metaclass: type = type(cls)
    is_typed = metaclass.__module__ in {"typing", "typing_extensions"} and "__total__" in vars(cls)
    shape = Shape(
        # A TypedDict's looks at the bases that were written, and makes others of them.
        maker=type if is_typed else next(base for base in metaclass.__mro__ if not is_own(base)),
        metaclass=metaclass,
        quiet=any("__init_subclass__" in vars(base) and is_own(base) for base in cls.__mro__[1:]),
        name=cls.__name__,
        bases=cls.__bases__,
        namespace=begins,
    )
    return shape, contents, _registered_with(cls)


def members_of(cls: enum.EnumMeta) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Each name of an enum, aliases too, with its value and the attributes that its `__init__` gave it."""
    members: dict[str, tuple[Any, dict[str, Any]]] = {}
    known: Mapping[str, Any] = cls.__members__
    for name, member in known.items():
        attributes = {k: v for k, v in vars(member).items() if not (k.startswith("_") and k.endswith("_"))}
        members[name] = member.value, attributes
    return members


def skeleton(shape: Shape) -> type:
    """The class with its bases, slots and plain attributes only."""
    if not shape.quiet:
        return _new(shape.maker, shape.metaclass, shape.name, shape.bases, shape.namespace)

    # __init_subclass__ is looked up along the bases, so while the class is made, another one stands before the user's.
    quiet = _Quiet if any(base.__dictoffset__ for base in shape.bases) else _QuietWithoutDict
    made = _new(shape.maker, shape.metaclass, shape.name, (quiet, *shape.bases), shape.namespace)
    try:
        made.__bases__ = shape.bases
    except TypeError:  # unusual slots: then the user's __init_subclass__ has to run after all
        return _new(shape.maker, shape.metaclass, shape.name, shape.bases, shape.namespace)
    return made


def enum_skeleton(shape: Shape, members: Mapping[str, tuple[Any, dict[str, Any]]]) -> type:
    """The enum with its members; what their `__init__` had made of them is put back, not made again."""
    maker: Any = shape.maker
    space = maker.__prepare__(shape.name, shape.bases)
    for key, value in shape.namespace.items():
        space[key] = value
    for key, (value, _) in members.items():
        space[key] = value
    made: Any = maker.__new__(shape.metaclass, shape.name, shape.bases, space)
    for key, (_, attributes) in members.items():
        vars(made.__members__[key]).update(attributes)
    cls: type = made
    return cls


def fill(
    cls: type, shape: Shape, contents: Mapping[str, Any], registered: list[type], home: dict[str, Any] | None
) -> None:
    """Put the contents into an empty class, past any `__setattr__` of its metaclass."""
    if not isinstance(cls, enum.EnumMeta):
        # An installed base's `__init_subclass__` may have added what the recorded class has in another form, or not.
        known = shape.namespace.keys() | contents.keys() | _MADE_ANEW
        for name in [name for name, value in vars(cls).items() if name not in known and not _is_slot_of(cls, value)]:
            type.__delattr__(cls, name)
    for name, value in (*shape.namespace.items(), *contents.items()):
        if name not in _FIXED and vars(cls).get(name, _QuietWithoutDict) is not value:
            type.__setattr__(cls, name, value)
    if home is not None:
        type.__setattr__(cls, HOME, home)
    for other in registered:
        abc.ABCMeta.register(cls, other)  # type: ignore[arg-type]


class _QuietWithoutDict:
    """Ends the chain of `__init_subclass__`. A base given up again must have no less and no more than the others."""

    __slots__ = ()

    def __init_subclass__(cls, **kwargs: object) -> None:
        pass


class _Quiet:
    """The same with a `__dict__`."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        pass


def _new(maker: type, metaclass: type, name: str, bases: tuple[type, ...], namespace: Mapping[str, Any]) -> type:
    make: Any = maker.__new__
    cls: type = make(metaclass, name, bases, dict(namespace))
    return cls


def _is_slot_of(cls: type, value: object) -> bool:
    return isinstance(value, types.MemberDescriptorType) and value.__objclass__ is cls


def _registered_with(cls: type) -> list[type]:
    """The virtual subclasses of an abstract class."""
    if not isinstance(cls, abc.ABCMeta):
        return []
    # As cloudpickle does: there is no public way to ask.
    references = abc._get_dump(cls)[0]  # type: ignore[attr-defined]  # noqa: SLF001
    return [there for reference in references if (there := reference()) is not None]
