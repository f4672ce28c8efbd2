"""Binds calls to signatures that were recorded, without the function at hand. Pure."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cas_engine.errors import BindError

T = TypeVar("T")
_Place = tuple[str, tuple[str, "int | str"]]
_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "any",
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_KEYWORD: "**",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; `annotation` and `default` are texts for people and schemas."""

    name: str
    kind: str  # "positional", "any", "*", "keyword" or "**"
    has_default: bool
    annotation: str
    default: str


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a function in order; `known` is False for C functions that do not tell theirs."""

    parameters: tuple[Parameter, ...]
    known: bool = True

    def __str__(self) -> str:
        parts: list[str] = []
        before = "positional"
        for p in (*self.parameters, None):
            kind = "" if p is None else p.kind
            if before == "positional" != kind and parts:
                parts.append("/")
            if kind == "keyword" and before not in ("*", "keyword"):
                parts.append("*")
            before = kind
            if p is not None:
                prefix = kind if kind in ("*", "**") else ""
                parts.append(f"{prefix}{p.name}" + (f"={p.default}" if p.has_default else ""))
        return f"({', '.join(parts) if self.known else '...'})"


def signature_of(fn: Callable[..., object]) -> Signature:
    """The signature of a callable as data; unknown for the few C functions that have none."""
    try:
        raw = inspect.signature(fn)
    except (ValueError, TypeError):
        return Signature((), known=False)
    return Signature(
        tuple(
            Parameter(
                name=p.name,
                kind=_KINDS[p.kind],
                has_default=p.default is not p.empty,
                annotation="" if p.annotation is p.empty else _annotation_text(p.annotation),
                default="" if p.default is p.empty else _default_text(p.default),
            )
            for p in raw.parameters.values()
        )
    )


def _annotation_text(annotation: object) -> str:
    if isinstance(annotation, str):
        return annotation
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _default_text(default: object) -> str:
    # Only builtins are shown: a repr of the user's own could fail, or hold an address.
    if default is None or type(default) in (bool, int, float, str, bytes):
        text = repr(default)
        return text if len(text) <= 60 else text[:57] + "..."
    return f"<{type(default).__name__}>"


@dataclass(frozen=True, slots=True)
class Bound:
    """Which argument went to which parameter: `order` in signature order, as (name, ("arg", i) or ("kw", name))."""

    order: tuple[_Place, ...]


def bind(signature: Signature, positional: int, named: Sequence[str], who: str, *, partial: bool = False) -> Bound:
    """Where each argument of a call goes.

    `positional` is the count of positional arguments, `named` the names of the keyword arguments. Arguments of *args
    get the names "*0", "*1" ..., those of **kwargs "**name", sorted. With `partial`, parameters may stay unbound.

    Raises BindError naming the argument that does not fit.
    """
    if not signature.known:
        unnamed: list[_Place] = [(f"*{i}", ("arg", i)) for i in range(positional)]
        unnamed += [(f"**{name}", ("kw", name)) for name in sorted(named)]
        return Bound(tuple(unnamed))
    slots: dict[str, tuple[str, int | str]] = {}
    extra_args: list[_Place] = []
    takers = [p for p in signature.parameters if p.kind in ("positional", "any")]
    for i in range(positional):
        if i < len(takers):
            slots[takers[i].name] = ("arg", i)
        elif any(p.kind == "*" for p in signature.parameters):
            extra_args.append((f"*{i - len(takers)}", ("arg", i)))
        else:
            raise BindError(
                f"{who}{signature} takes {len(takers)} positional argument{'s' * (len(takers) != 1)}, "
                f"and was given {positional}\n  -> leave out what it does not take"
            )
    extra_named = _bind_named(signature, named, slots, who)
    if not partial:
        for p in signature.parameters:
            if p.kind not in ("*", "**") and p.name not in slots and not p.has_default:
                raise BindError(
                    f"{who}{signature} needs the argument `{p.name}`, and the call does not give it\n"
                    f"  -> pass `{p.name}`, or give it a default"
                )
    order: list[_Place] = []
    for p in signature.parameters:
        if p.kind == "*":
            order.extend(extra_args)
        elif p.kind == "**":
            order.extend((f"**{name}", ("kw", name)) for name in sorted(extra_named))
        elif p.name in slots:
            order.append((p.name, slots[p.name]))
    return Bound(tuple(order))


def _bind_named(
    signature: Signature, named: Sequence[str], slots: dict[str, tuple[str, int | str]], who: str
) -> list[str]:
    by_name = {p.name: p for p in signature.parameters if p.kind in ("any", "keyword")}
    takes_more = any(p.kind == "**" for p in signature.parameters)
    extra = []
    for name in named:
        if name in by_name:
            if name in slots:
                raise BindError(
                    f"{who}{signature} was given `{name}` twice, by position and by name\n  -> give it once"
                )
            slots[name] = ("kw", name)
        elif takes_more:
            extra.append(name)
        else:
            known = ", ".join(f"`{other}`" for other in by_name) or "none by name"
            raise BindError(
                f"{who}{signature} takes no argument `{name}`{_nearest(name, list(by_name))}\n  -> it takes {known}"
            )
    return extra


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def pick(bound: Bound, args: Sequence[T], kwargs: Mapping[str, T]) -> list[tuple[str, T]]:
    """The arguments themselves by parameter, in signature order."""
    return [
        (name, args[where] if kind == "arg" else kwargs[where])  # type: ignore[index]
        for name, (kind, where) in bound.order
    ]


@dataclass(frozen=True, slots=True)
class Way:
    """How calls are bound that are written alike: with so many positional arguments, and with these names.

    `params` are the parameters in signature order, each with its place among what a call is given: the positional
    arguments, then those by name. `args` and `kwargs` say how it is written, as indices into `params`.
    """

    params: tuple[tuple[str, int], ...]
    args: tuple[int, ...]
    kwargs: tuple[tuple[str, int], ...]


def way_of(signature: Signature, positional: int, named: Sequence[str], who: str) -> Way:
    """How such calls are bound. Raises BindError naming the argument that does not fit."""
    bound = bind(signature, positional, named, who)
    params = tuple(pick(bound, range(positional), {name: positional + i for i, name in enumerate(named)}))
    index = {place: i for i, (_, place) in enumerate(params)}
    return Way(
        params=params,
        args=tuple(index[i] for i in range(positional)),
        kwargs=tuple((name, index[positional + i]) for i, name in enumerate(named)),
    )


def to_json(signature: Signature) -> dict[str, Any]:
    """A signature as a JSON value."""
    return {
        "known": signature.known,
        "parameters": [[p.name, p.kind, p.has_default, p.annotation, p.default] for p in signature.parameters],
    }


def from_json(raw: dict[str, Any]) -> Signature:
    """The signature that `to_json` wrote."""
    return Signature(tuple(Parameter(*row) for row in raw["parameters"]), known=raw["known"])
