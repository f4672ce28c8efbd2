"""Annotations, where something makes use of them: types as code, generics by their parts, texts as what they name."""

from __future__ import annotations

import re
import sys
import typing
import warnings
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.origin import Kind, owner_of_class, owner_of_function
from cas_engine.fingerprint.reach import Reach, says
from cas_engine.modules.program import home_of

_PLAIN_TEXTS = (typing.Literal, typing.Annotated)  # texts in the brackets of these name nothing
_OF_TYPES = frozenset({"builtins", "types", "typing", "typing_extensions"})  # what these make is told by its text
_NAMED_ONLY = (typing.NewType, typing.TypeVar)  # whose text is a name
# Packages that call the functions they are given, and never look at their annotations.
_BLIND = frozenset({"numpy", "scipy", "pandas", "scikit-learn", "joblib", "dask", "statsmodels", "matplotlib"})
_DEEP = 2  # texts in texts
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def describe_annotations(node: Node, reach: Reach, thing: Any, said: list[object]) -> None:
    """Note the annotations of a class or function among what its node says and reaches."""
    names = names_for(thing)
    for name, annotation in annotations_of(thing).items():
        said.append(str(name))
        describe_annotation(node, reach, annotation, said, names)


class Annotated:
    """The annotations of a function or class of the user's, where something may make use of them."""

    __slots__ = ("fn",)

    def __init__(self, fn: FunctionType | type) -> None:
        self.fn = fn


def annotated(held: Iterable[Node]) -> list[Annotated]:
    """The annotated functions of the user's among these nodes."""
    functions = (node.obj for node in held if isinstance(node.obj, FunctionType))
    return [Annotated(fn) for fn in functions if fn.__annotations__ and owner_of_function(fn).is_user]


def looks_at_annotations(cls: type) -> bool:
    """Whether a package may make something of the annotations of functions that its objects hold."""
    owner = owner_of_class(cls)
    return owner.kind is Kind.PACKAGE and owner.package.lower() not in _BLIND


def describe_annotated(node: Node, reach: Reach) -> None:
    said: list[object] = []
    describe_annotations(node, reach, node.obj.fn, said)
    says(node, "annotations", *said)


def describe_alias(node: Node, reach: Reach) -> None:
    """A type alias (`type Row = list[int]`): by what it stands for, which is worked out when it is asked for."""
    said: list[object] = [str(node.obj.__name__)]
    describe_annotation(node, reach, node.obj.__value__, said)
    says(node, "type alias", *said)


def names_for(thing: type | FunctionType) -> dict[str, Any]:
    """What texts among the annotations of a class or function may name."""
    return home_of(thing) if isinstance(thing, type) else getattr(thing, "__globals__", {})


def codes_in(annotation: Any) -> Iterator[CodeType]:
    """The texts in an annotation, and those in them, as code that reads what they name."""
    row = [annotation]
    for each in row:
        text = each.__forward_arg__ if isinstance(each, typing.ForwardRef) else each
        if isinstance(text, str):
            code = _compiled(text)
            if code is not None:
                yield code
                row += [const for const in code.co_consts if isinstance(const, str)]
        else:
            parts = each if isinstance(each, (list, tuple)) else typing.get_args(each)
            plain = typing.get_origin(each) in _PLAIN_TEXTS
            row += [part for part in parts if not (plain and isinstance(part, str))]


def _compiled(text: str) -> CodeType | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # In a function, where names are those of the module.
            module = compile(f"lambda: ({text}\n)", "<annotation>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return next((const for const in module.co_consts if isinstance(const, CodeType)), None)


def annotations_of(thing: Any) -> dict[str, Any]:
    # A class's own, and not its base's; from 3.14 on they may be computed on demand, and may then raise anything.
    try:
        if isinstance(thing, type) and sys.version_info < (3, 14):
            found = vars(thing).get("__annotations__", {})
        else:
            found = thing.__annotations__
    except Exception:  # noqa: BLE001 - as said
        return {}
    return found if isinstance(found, dict) else {}


def describe_annotation(
    node: Node, reach: Reach, annotation: Any, said: list[object], names: dict[str, Any] | None = None
) -> None:
    """Note one type, with the classes that it is made of; a text stands for what `names` say."""
    for _ in range(_DEEP):  # a text in quotes is a text of a text where `from __future__ import annotations` stands
        if isinstance(annotation, str):
            annotation = _named(annotation, names or {})
        if isinstance(annotation, typing.ForwardRef):
            annotation = _named(annotation.__forward_arg__, names or {})
    if isinstance(annotation, str):
        said.append(annotation)
        return
    parts = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is not None and origin is not annotation:  # that of `Generic` is itself
        said.append(("generic", len(parts)))
        describe_annotation(node, reach, origin, said, names)
        for part in parts:
            if isinstance(part, str) and origin in _PLAIN_TEXTS:
                said.append(part)
            else:
                describe_annotation(node, reach, part, said, names)
    elif isinstance(annotation, (list, tuple)):
        said.append(("parts", len(annotation)))
        for part in annotation:
            describe_annotation(node, reach, part, said, names)
    elif isinstance(annotation, type):
        said.append("type")
        node.children.append(reach.node(annotation))
    else:
        said.append(_ADDRESS.sub("", repr(annotation)))
        if type(annotation).__module__ not in _OF_TYPES or isinstance(annotation, _NAMED_ONLY):
            # In Annotated: `Annotated[float, Unit("m")]`.
            node.children.append(reach.node(annotation, ("annotation", id(annotation)), f"{node.name} annotation"))


def _named(text: str, names: dict[str, Any]) -> Any:
    """What a text stands for: so that `from __future__ import annotations` changes nothing; itself where that fails."""
    try:
        found = eval(text, {**names})  # noqa: S307 - as typing.get_type_hints does; the text is the user's own code
    except Exception:  # noqa: BLE001 - whatever it raises, it is no type
        return text
    if isinstance(found, ModuleType):
        return text  # no type: and its repr holds a path
    return "None" if found is None else found
