"""Callables that are neither functions nor classes: what each is made of."""

from __future__ import annotations

import functools
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any

from cas_engine.fingerprint.annotations import Annotated, describe_alias, describe_annotated
from cas_engine.fingerprint.bytecode import canonical
from cas_engine.fingerprint.depends import Dependency, describe_dependency, describe_file
from cas_engine.fingerprint.environment import FILE
from cas_engine.fingerprint.functions import CompiledFile
from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.origin import is_importable, owner_of_class, owner_of_module
from cas_engine.fingerprint.reach import Describer, Reach, belongs, says
from cas_engine.fingerprint.readings import led_to
from cas_engine.values import File

# What functools itself puts there.
_NOT_SET = frozenset({"func", "args", "keywords", "cache_parameters", "__wrapped__", *functools.WRAPPER_ASSIGNMENTS})
_NO_MODULE = types.ModuleType("none")


def describe_method(node: Node, reach: Reach) -> None:
    """A bound method: its function, and the object that it is bound to."""
    method: types.MethodType = node.obj
    if _offered_by_a_package(node, reach):
        return
    node.name = f"{getattr(method.__func__, '__qualname__', 'method')} of an object"
    node.children = [reach.node(method.__func__), _part(reach, node, "self", method.__self__)]
    says(node, "method")


def _offered_by_a_package(node: Node, reach: Reach) -> bool:
    """Describe by name what a package offers as a function and is bound to a hidden object: random.random.

    The state of that object differs in every process, and is the package's own affair.
    """
    bound: Any = node.obj
    if isinstance(getattr(bound, "__self__", None), types.ModuleType | None):
        return False
    name: str = bound.__name__
    for module in (getattr(bound, "__module__", None), type(bound.__self__).__module__):
        if isinstance(module, str) and vars(sys.modules.get(module, _NO_MODULE)).get(name) is bound:
            if owner_of_module(module).is_user:
                return False
            describe_named(node, reach, module, name)
            return True
    return False


def describe_partial(node: Node, reach: Reach) -> None:
    """functools.partial, partialmethod: the function and what is given already."""
    partial: functools.partial[Any] = node.obj
    node.children = [reach.node(partial.func, ("func", id(partial)), node.name)]
    node.children += [_part(reach, node, str(i), each) for i, each in enumerate(partial.args)]
    names = sorted(partial.keywords)
    node.keywords = frozenset(names)
    node.children += [_part(reach, node, name, partial.keywords[name]) for name in names]
    says(node, type(partial).__name__, len(partial.args), tuple(names), *_set_on(node, reach, partial, partial.func))


def describe_wrapping(node: Node, reach: Reach) -> None:
    """Static and class methods."""
    node.children = [_part(reach, node, "", node.obj.__func__)]
    says(node, type(node.obj).__name__)


def describe_property(node: Node, reach: Reach) -> None:
    parts = ("fget", "fset", "fdel")
    node.children = [_part(reach, node, part, getattr(node.obj, part)) for part in parts]
    says(node, "property")


def describe_cached_property(node: Node, reach: Reach) -> None:
    node.children = [_part(reach, node, "", node.obj.func)]
    says(node, "cached_property", getattr(node.obj, "attrname", None))


def describe_dispatch_method(node: Node, reach: Reach) -> None:
    """functools.singledispatchmethod."""
    node.children = [reach.node(node.obj.dispatcher)]
    says(node, "singledispatchmethod")


def describe_cache(node: Node, reach: Reach) -> None:
    """functools.lru_cache: the function, whatever is in the cache."""
    node.children = [_part(reach, node, "", node.obj.__wrapped__)]
    parameters = node.obj.cache_parameters() if hasattr(node.obj, "cache_parameters") else {}
    says(node, "cache", bool(parameters.get("typed")), *_set_on(node, reach, node.obj, node.obj.__wrapped__))


def _set_on(node: Node, reach: Reach, thing: Any, inner: object) -> Iterator[str]:
    """What was set on a callable object; what functools copied to it from the function inside is none of that."""
    copied = getattr(inner, "__dict__", {})
    for name, value in sorted(vars(thing).items()):
        if name not in _NOT_SET and copied.get(name, node) is not value:
            node.children.append(_part(reach, node, name, value))
            yield name


def describe_builtin(node: Node, reach: Reach) -> None:
    """A function in C: by name and package; bound to an object, with the object."""
    fn: types.BuiltinFunctionType = node.obj
    bound = fn.__self__
    if _offered_by_a_package(node, reach):
        return
    if bound is not None and not isinstance(bound, types.ModuleType):
        node.name = f"{fn.__name__} of an object"
        node.children = [_part(reach, node, "self", bound)]
        says(node, "builtin method", fn.__name__)
        return
    module = fn.__module__ if isinstance(fn.__module__, str) else getattr(bound, "__name__", "builtins")
    describe_named(node, reach, module, fn.__qualname__)


def describe_slot(node: Node, _reach: Reach) -> None:
    """A method, attribute or slot of a class in C."""
    cls: type = node.obj.__objclass__
    owner = owner_of_class(cls)
    belongs(node, owner)
    module = "" if owner.is_user else str(cls.__module__)
    node.name = f"{cls.__qualname__}.{node.obj.__name__}"
    says(node, type(node.obj).__name__, module, node.name)


def describe_bound_slot(node: Node, reach: Reach) -> None:
    node.children = [_part(reach, node, "self", node.obj.__self__)]
    says(node, "method-wrapper", node.obj.__name__)


def describe_named(node: Node, reach: Reach, module: str, qualname: str) -> None:
    """By name only: the version of the package, or the content of the user's extension, tells the rest."""
    owner = owner_of_module(module)
    node.name = f"{module}.{qualname}"
    belongs(node, owner)
    if owner.compiled:
        node.children = [reach.node(CompiledFile(owner.compiled), ("file", owner.compiled), module)]
        says(node, "compiled", qualname)
    else:
        node.reflects |= led_to(module, (qualname,))
        says(node, owner.kind.value, module, qualname)


def describe_if_named(node: Node, reach: Reach) -> bool:
    """A callable object that a package has under its name, as its functions written in another language are."""
    if not callable(node.obj):
        return False
    try:
        module, qualname = getattr(node.obj, "__module__", None), getattr(node.obj, "__qualname__", None)
    except Exception:  # noqa: BLE001 - a __getattr__ of the user's may raise anything
        return False
    if not (isinstance(module, str) and isinstance(qualname, str)):
        return False
    loaded = sys.modules.get(module)
    if loaded is None or not is_importable(node.obj, loaded, qualname):
        return False
    owner = owner_of_module(module)
    if owner.is_user and not owner.compiled:
        return False
    describe_named(node, reach, module, qualname)
    return True


def describe_compiled(node: Node, _reach: Reach) -> None:
    """The content of a compiled extension of the user's own."""
    node.packages |= {FILE + node.obj.path}
    says(node, "file")


def describe_code(node: Node, _reach: Reach) -> None:
    """A bare code object: what it does, and the names that it would look up wherever it is run."""
    form = canonical(node.obj)
    node.kind, node.name = "code", f"code of {node.obj.co_name}"
    node.reflects = form.reflects
    told = tuple((p.kind, p.name, p.slot) for p in form.parameters)
    says(node, "code", form.digest, told, tuple((ref.source, ref.name, ref.attrs, ref.level) for ref in form.refs))


def describe_ufunc(node: Node, reach: Reach) -> None:
    """A NumPy ufunc: by name where a package has it under its name, else by the function that it was made from."""
    import gc

    name = node.obj.__name__
    for module in ("numpy", "scipy.special"):
        if getattr(sys.modules.get(module), name, None) is node.obj:
            describe_named(node, reach, module, name)
            return
    node.name = f"ufunc {name}"
    belongs(node, owner_of_module("numpy"))
    made_from = [each for each in gc.get_referents(node.obj) if callable(each) and not isinstance(each, type)]
    node.children = [_part(reach, node, "", each) for each in made_from]
    if not made_from:
        node.unresolved += (f"{node.name}: made from nothing that can be followed",)
    says(node, "ufunc", node.obj.nin, node.obj.nout, "" if made_from else name)


def describe_marked(node: Node, reach: Reach) -> None:
    """An electron or a lattice: what its `__cas_code__` says stands for it."""
    kind, fn, *rest = type(node.obj).__cas_code__(node.obj)
    node.electron = str(getattr(node.obj, "name", "")) if kind == "electron" else ""
    node.name = str(getattr(node.obj, "name", kind))
    node.children = [_part(reach, node, "fn", fn)]
    said: list[object] = [kind]
    if kind == "electron":
        version, stochastic, depends_on, ignore = rest
        node.draws = bool(stochastic)
        said += [bool(stochastic), tuple(sorted(map(str, ignore)))]
        if version is not None:
            node.children.append(_part(reach, node, "version", version))
        node.children += [reach.node(Dependency(each), ("dependency", id(each))) for each in depends_on]
    else:
        node.children += [_part(reach, node, str(at), each) for at, each in enumerate(rest)]
    says(node, *said)


def _part(reach: Reach, node: Node, what: str, value: object) -> Node:
    part = reach.node(value, ("part", id(node.obj), what), f"{node.name}.{what}" if what else node.name)
    part.base = part.base or node.base
    return part


BY_TYPE: dict[type, Describer] = {
    types.MethodType: describe_method,
    functools.partial: describe_partial,
    functools.partialmethod: describe_partial,
    staticmethod: describe_wrapping,
    classmethod: describe_wrapping,
    property: describe_property,
    functools.cached_property: describe_cached_property,
    functools.singledispatchmethod: describe_dispatch_method,
    type(functools.lru_cache(len)): describe_cache,
    types.BuiltinFunctionType: describe_builtin,
    types.MethodDescriptorType: describe_slot,
    types.WrapperDescriptorType: describe_slot,
    types.ClassMethodDescriptorType: describe_slot,
    types.GetSetDescriptorType: describe_slot,
    types.MemberDescriptorType: describe_slot,
    types.MethodWrapperType: describe_bound_slot,
    types.CodeType: describe_code,
    CompiledFile: describe_compiled,
    Dependency: describe_dependency,
    File: describe_file,
    Annotated: describe_annotated,
}
if sys.version_info >= (3, 12):
    BY_TYPE[typing.TypeAliasType] = describe_alias
