"""Classes: bases, metaclass and all members, without what tells only where and how they were written."""

from __future__ import annotations

import abc
import dataclasses
import enum
import functools
import re
import types
from collections.abc import Mapping
from types import FunctionType

from cas_engine.fingerprint.annotations import annotations_of, describe_annotation, describe_annotations
from cas_engine.fingerprint.bytecode import canonical
from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.opaque import (
    all_subclasses,
    known_parts,
    put_into,
    registered_by_users,
    registered_with,
    users_instances,
)
from cas_engine.fingerprint.origin import Kind, is_importable, owner_of_class, owner_of_function, told_module
from cas_engine.fingerprint.reach import Reach, belongs, says
from cas_engine.fingerprint.readings import MARKS, led_to
from cas_engine.fingerprint.resolve import folder_of, shown_module
from cas_engine.modules.program import HOME, home_of
from cas_store.digest import digest_of

# Where it was written, caches of the interpreter and of pickle, what follows from other members.
_SKIPPED = frozenset(
    {"__dict__", "__weakref__", "__module__", "__qualname__", "__doc__", "__firstlineno__"}
    | {"__static_attributes__", "__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__"}
    | {"__abstractmethods__", "_abc_impl", "__slotnames__", "__orig_bases__", "__parameters__", "__type_params__"}
    | {"__protocol_attrs__", "__non_callable_proto_members__", "__classcell__", "__classdictcell__"}
    | {"__dataclass_fields__", "__dataclass_params__", "__conditional_annotations__", HOME}
    | MARKS
)
_ENUM_MADE = frozenset(
    {"_generate_next_value_", "_member_names_", "_member_map_", "_value2member_map_", "_unhashable_values_"}
    | {"_member_type_", "_value_repr_", "_new_member_", "_use_args_", "__new__", "_flag_mask_", "_all_bits_"}
    | {"_singles_mask_", "_boundary_", "_inverted_", "_hashable_values_", "_unhashable_values_map_", "_numeric_repr_"}
    | {"__set_name__", "_use_args", "_new_member", "_member_type"}
)
_NAMEDTUPLE_MADE = frozenset(
    {"__new__", "_make", "_replace", "__replace__", "__repr__", "_asdict", "__getnewargs__", "__match_args__"}
    | {"_field_defaults", "_fields_defaults", "_fields", "__slots__"}
)
# Of a field of a pydantic model: what is told by itself, and what is only written about it.
_PYDANTIC_TOLD = frozenset(
    {"annotation", "default", "default_factory", "metadata", "alias", "validate_default", "frozen", "discriminator"}
)
_PYDANTIC_DOCS = frozenset({"title", "description", "examples"})

_OF_MEMBERS = 3  # attributes that each member of an enumeration has at least
_READS_BASES = frozenset({"__orig_bases__", "get_original_bases"})
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def describe_class(node: Node, reach: Reach) -> None:
    """A class of the user's whole, with what it inherits; another's by name."""
    cls: type = node.obj
    owner = owner_of_class(cls)
    belongs(node, owner)
    node.name = _shown(cls)
    if not owner.is_user:
        # Methods of the user's that were put into it.
        patched = put_into(cls)
        node.children = [reach.node(vars(cls)[name]) for name in patched]
        told = (told_module(owner, cls.__module__), cls.__qualname__, tuple(patched))
        registered = registered_by_users(cls)
        node.reflects |= led_to(cls.__module__, (cls.__qualname__,))
        says(node, owner.kind.value, *told, *registered)
        if registered and isinstance(cls, abc.ABCMeta):  # by name alone, and no code has them with it
            node.derived = tuple([reach.node(each) for each in users_instances(cls)])
            counted, node.children = node.children, [*node.children, *node.derived]
            node.recipe = lambda of: digest_of(node.local, *map(of, counted))
        return
    parts = known_parts(cls)
    if parts is not None:
        members = (reach.node(part, ("member", id(cls), name), name) for name, part in parts)
        node.children = [reach.node(type(cls)), *members]
        says(node, "known", cls.__name__)
        return
    node.kind = "class"
    node.modules |= {str(cls.__module__)}
    meta = type(cls)
    node.children = [reach.node(base) for base in cls.__bases__]
    if meta is not type:
        node.children.append(reach.node(meta))
    said: list[object] = [cls.__name__, len(cls.__bases__), meta is type]
    made = _describe_kind(node, reach, cls, said)
    own = vars(cls)
    names = [name for name in sorted(own) if name not in _SKIPPED and not (name in made and _is_made(own, name))]
    for name in names:
        value = vars(cls)[name]
        if _generated(value):
            said.append(name)  # what it was generated from is described
        elif not (isinstance(value, types.MemberDescriptorType) and value.__objclass__ is cls):
            said.append((name,))
            node.children.append(reach.node(value, ("member", id(cls), name), f"{node.name}.{name}"))
    if vars(cls).get("_is_runtime_protocol", False):
        said.append(("protocol", *sorted(annotations_of(cls))))  # what isinstance looks for besides methods
    if "__orig_bases__" in vars(cls) and _reads_its_bases(cls):
        describe_annotation(node, reach, vars(cls)["__orig_bases__"], said)
    if isinstance(cls, abc.ABCMeta):
        node.children += [reach.node(each) for each in registered_with(cls)]
    if reads_annotations(cls):
        describe_annotations(node, reach, cls, said)
    if any("__subclasses__" in canonical(fn.__code__).names for fn in _own_functions(cls)):
        node.derived = tuple([reach.node(each) for each in all_subclasses(cls)])
        node.children += node.derived
    node.base = folder_of(home_of(cls))
    for child in node.children:
        child.base = child.base or node.base
    says(node, "class", *said)


def _describe_kind(node: Node, reach: Reach, cls: type, said: list[object]) -> frozenset[str]:
    """Describe what the standard library made of a class statement; the members that this covers."""
    if isinstance(cls, enum.EnumMeta):
        members: list[tuple[str, enum.Enum]] = list(cls.__members__.items())
        said.append(("enum", *((name, member.name) for name, member in members)))
        said.append(str(getattr(vars(cls).get("_boundary_"), "name", "")))
        for name, member in members:
            node.children.append(reach.node(member._value_, ("enum", id(cls), name), f"{node.name}.{name}"))
            for attr, value in _set_on_member(cls, member):
                said.append((name, attr))
                node.children.append(reach.node(value, ("enum", id(cls), name, attr), f"{node.name}.{name}.{attr}"))
        made = _ENUM_MADE | set(cls.__members__)
        new = vars(cls).get("__new_member__")
        return frozenset(made if new is None else made - {"__new_member__"})
    fields = vars(cls).get("_fields")
    if issubclass(cls, tuple) and isinstance(fields, tuple) and "_make" in vars(cls):
        defaults = vars(cls).get("_field_defaults", {})
        said.append(("namedtuple", *map(str, fields), "|", *map(str, defaults)))
        for name, value in defaults.items():
            node.children.append(reach.node(value, ("default", id(cls), name), f"{node.name}({name}=)"))
        return _NAMEDTUPLE_MADE | set(fields)
    if "__dataclass_fields__" in vars(cls):
        _describe_dataclass(node, reach, cls, said)
    if "__attrs_attrs__" in vars(cls):
        _describe_attrs(node, reach, cls, said)
        own = {name for name in vars(cls) if name.startswith("__attrs_")} - {
            "__attrs_pre_init__",
            "__attrs_post_init__",
        }
        return frozenset(own | {"__slots__", "__getstate__", "__setstate__"})
    if "__pydantic_fields__" in vars(cls) or "__pydantic_core_schema__" in vars(cls):
        return _describe_pydantic(node, reach, cls, said)
    return frozenset()


def _set_on_member(cls: type, member: enum.Enum) -> list[tuple[str, object]]:
    """What was set on a member besides its value: by `__init__`, or by anybody later; no cache of its own."""
    own = vars(member)
    if len(own) <= _OF_MEMBERS:
        return []
    cached = functools.cached_property
    return sorted(
        (name, value)
        for name, value in own.items()
        if not name.startswith("_") and not isinstance(getattr(cls, name, None), cached)
    )


def _is_made(own: Mapping[str, object], name: str) -> bool:
    """Whether a member that the standard library and the like make is that, and not one of the user's in its place."""
    value = own[name]
    fn = getattr(value, "__func__", value)
    if isinstance(fn, FunctionType):
        module = str(fn.__globals__.get("__name__"))
        return module.startswith("namedtuple_") or not owner_of_function(fn).is_user
    return name != "__match_args__" or value == own.get("_fields")


def _describe_dataclass(node: Node, reach: Reach, cls: type, said: list[object]) -> None:
    said.append(repr(vars(cls).get("__dataclass_params__")))
    for name, field in vars(cls)["__dataclass_fields__"].items():
        kind = getattr(getattr(field, "_field_type", None), "name", "")
        options = (field.init, field.repr, field.hash, field.compare, bool(getattr(field, "kw_only", False)))
        said.append((str(name), str(kind), tuple(map(str, options))))
        for what in ("default", "default_factory"):
            value = getattr(field, what)
            if value is not dataclasses.MISSING:
                said.append(what)
                node.children.append(reach.node(value, (what, id(cls), name), f"{node.name}({name}=)"))
        if field.metadata:
            said.append("metadata")
            metadata = dict(field.metadata)
            node.children.append(reach.node(metadata, ("metadata", id(cls), name), f"{node.name}.{name} metadata"))


def _describe_attrs(node: Node, reach: Reach, cls: type, said: list[object]) -> None:
    for attribute in vars(cls)["__attrs_attrs__"]:
        said.append(str(attribute.name))
        for what in ("default", "validator", "converter", "metadata", "on_setattr", "eq_key", "order_key", "repr"):
            value = getattr(attribute, what, None)
            if what == "metadata":
                value = dict(value or {})
            elif what == "repr":
                if not callable(value):
                    continue
            elif value is not None and type(value).__name__ == "Factory":
                said.append(bool(value.takes_self))
                value = value.factory
            node.children.append(
                reach.node(value, ("attrs", id(cls), attribute.name, what), f"{node.name}.{attribute.name} {what}")
            )
        flags = ("repr", "eq", "order", "hash", "init", "kw_only", "alias", "inherited")
        said.append(tuple(_flag(getattr(attribute, flag, None)) for flag in flags))


def _flag(value: object) -> str:
    return str(value) if value is None or isinstance(value, (bool, str)) else "custom"


def _describe_pydantic(node: Node, reach: Reach, cls: type, said: list[object]) -> frozenset[str]:
    fields = vars(cls).get("__pydantic_fields__")
    fields = fields if isinstance(fields, dict) else {}
    for name, field in fields.items():
        said.append(str(name))
        for what in ("default", "default_factory", "metadata", "alias", "validate_default", "frozen", "discriminator"):
            value = getattr(field, what, None)
            if type(value).__name__ == "PydanticUndefinedType":
                value = None
                said.append("required")
            node.children.append(reach.node(value, ("pydantic", id(cls), name, what), f"{node.name}.{name} {what}"))
        unset = type(field)()
        for what in sorted({*_slots_of(type(field))} - _PYDANTIC_TOLD - _PYDANTIC_DOCS):
            value = getattr(field, what, None)
            if value is not getattr(unset, what, None):
                said.append(what)
                node.children.append(reach.node(value, ("pydantic", id(cls), name, what), f"{node.name}.{name} {what}"))
    made = {name for name in vars(cls) if name.startswith(("__pydantic_", "__fields", "__signature"))}
    for name, private in (vars(cls).get("__private_attributes__") or {}).items():
        said.append(("private", str(name)))
        for what in ("default", "default_factory"):
            value = getattr(private, what, None)
            value = None if type(value).__name__ == "PydanticUndefinedType" else value
            node.children.append(reach.node(value, ("private", id(cls), name, what), f"{node.name}.{name} {what}"))
    decorators = vars(cls).get("__pydantic_decorators__")
    for group in dataclasses.fields(decorators) if dataclasses.is_dataclass(decorators) else ():
        registered = getattr(decorators, group.name)
        infos = [_ADDRESS.sub("", repr(getattr(each, "info", ""))) for each in registered.values()]
        said.append((group.name, *map(str, registered), *infos))
    return frozenset(made | {"__class_vars__", "__private_attributes__", "model_fields", "model_computed_fields"})


def documentation_of_fields(cls: type) -> list[str]:
    """What is written about the fields of a pydantic model: its schema has it."""
    fields = vars(cls).get("__pydantic_fields__")
    texts: list[str] = []
    for name, field in fields.items() if isinstance(fields, dict) else ():
        texts += [f"{name}.{what}: {getattr(field, what, None)!r}" for what in sorted(_PYDANTIC_DOCS)]
    return texts


def _slots_of(kind: type) -> list[str]:
    return [name for name in getattr(kind, "__slots__", ()) if not name.startswith("_")]


def reads_annotations(cls: type) -> bool:
    """Whether the class is of a kind that makes something of its annotations."""
    own = vars(cls)
    made = ("__dataclass_fields__", "__attrs_attrs__", "__pydantic_fields__", "__total__")
    if any(name in own for name in made) or ("_fields" in own and issubclass(cls, tuple)):
        return True
    return any(owner_of_class(kind).kind is Kind.PACKAGE for kind in type.mro(type(cls)))


def _reads_its_bases(cls: type) -> bool:
    """Whether a method of the user's looks at what the bases were given in brackets."""
    functions = (fn for base in cls.__mro__ if owner_of_class(base).is_user for fn in _own_functions(base))
    return any(not _READS_BASES.isdisjoint(canonical(fn.__code__).names) for fn in functions)


def _generated(value: object) -> bool:
    if not isinstance(value, FunctionType):
        return False
    return (
        value.__code__.co_filename.startswith("<attrs generated") or value.__globals__.get("__name__") == "attr._make"
    )


def _own_functions(cls: type) -> list[FunctionType]:
    found = []
    for value in vars(cls).values():
        inner = getattr(value, "__func__", value)
        if isinstance(inner, FunctionType):
            found.append(inner)
    return found


def _shown(cls: type) -> str:
    home = home_of(cls)
    name = shown_module(home) if home else str(cls.__module__)
    return f"{name}.{cls.__qualname__}"


__all__ = ["describe_class", "is_importable", "reads_annotations"]
