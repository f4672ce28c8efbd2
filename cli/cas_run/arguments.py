"""The inputs of a lattice from `-p name=value`, as annotations ask; faults come out before anything runs."""

from __future__ import annotations

import inspect
import typing
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from cas_engine.errors import UsageError
from cas_run.conversion import Inconvertible, convert, read, told

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY
VAR_POSITIONAL = inspect.Parameter.VAR_POSITIONAL
VAR_KEYWORD = inspect.Parameter.VAR_KEYWORD


class InputError(UsageError):
    """An input that the lattice does not have, or a text that gives no value for it."""


@dataclass(frozen=True, slots=True)
class Input:
    """One parameter of a lattice."""

    name: str
    annotation: object
    kind: object
    required: bool

    @property
    def takes_one(self) -> bool:
        """Whether an input of its name goes to it."""
        return self.kind not in (VAR_POSITIONAL, VAR_KEYWORD)

    @property
    def takes_others(self) -> bool:
        """Whether inputs of any name go to it."""
        return self.kind is VAR_KEYWORD


def inputs_of(function: Callable[..., object]) -> tuple[Input, ...]:
    """The parameters with what their annotations name; one that names nothing findable takes anything."""
    hints = _hints(function)
    inputs = []
    for name, parameter in inspect.signature(function).parameters.items():
        annotation = hints.get(name, typing.Any)
        if parameter.default is None:
            annotation = typing.Optional[annotation]  # noqa: UP045 - a value here, not an annotation
        required = parameter.default is parameter.empty and parameter.kind not in (
            VAR_POSITIONAL,
            VAR_KEYWORD,
        )
        inputs.append(Input(name, annotation, parameter.kind, required))
    return tuple(inputs)


def bound(
    inputs: Sequence[Input], pairs: Sequence[str], who: str, *, others_kept: bool = False
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments for a call of the lattice `who`.

    `others_kept`: what is not given keeps the value of an earlier dispatch, so nothing can be missing.
    """
    by_name = {i.name: i for i in inputs if i.takes_one}
    rest = next((i for i in inputs if i.takes_others), None)
    values: dict[str, Any] = {}
    for name, text in split_pairs(pairs).items():
        found = by_name.get(name, rest)
        if found is None:
            raise InputError(_unknown(name, list(by_name), who))
        values[name] = _value(name, text, found.annotation)
    missing = [i.name for i in inputs if i.required and i.name not in values]
    if missing and not others_kept:
        names = "`, `".join(missing)
        some = " ".join(f"-p {name}=..." for name in missing)
        raise InputError(f"lattice `{who}` needs `{names}`\n  -> add {some}")
    return arranged(inputs, values, who)


def split_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """`["C=1.5", "gamma=0.8"]` as a dict; the first `=` separates."""
    texts: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise InputError(f"`-p {pair}` is not name=value\n  -> for instance -p C=1.5")
        if name in texts:
            raise InputError(f"the input `{name}` is given twice\n  -> give it once")
        texts[name] = text
    return texts


def _value(name: str, text: str, annotation: object) -> object:
    try:
        return convert(read(text), annotation)
    except Inconvertible as error:
        example = _example(name, annotation)
        advice = f"write it as {example}" if example else "let the lattice make it from a path, a name or a number"
        raise InputError(f"input `{name}: {told(annotation)}`: {error}\n  -> {advice}") from None


def _example(name: str, annotation: object) -> str:
    known = {int: "3", float: "1.5", bool: "true", list: "'[1, 2]'", dict: "'{\"a\": 1}'", tuple: "'[1, 2]'"}
    for member in typing.get_args(annotation) or (annotation,):
        if member in known:
            annotation = member if typing.get_origin(annotation) not in known else annotation
    kind = typing.get_origin(annotation) or annotation
    return f"-p {name}={known[kind]}" if kind in known else ""


def _unknown(name: str, names: Sequence[str], who: str) -> str:
    near = get_close_matches(name, names, n=2, cutoff=0.5)
    if near:
        advice = f"did you mean `{'` or `'.join(near)}`?"
    elif names:
        advice = "it takes " + ", ".join(f"`{n}`" for n in names)
    else:
        advice = "it takes no inputs"
    return f"lattice `{who}` has no input `{name}`\n  -> {advice}"


def arranged(inputs: Sequence[Input], values: dict[str, Any], who: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """By name wherever a name will do."""
    args = []
    positional = [i.name for i in inputs if i.kind is POSITIONAL_ONLY]
    while positional and positional[0] in values:
        args.append(values.pop(positional.pop(0)))
    left = [name for name in positional if name in values]
    if left:
        raise InputError(
            f"lattice `{who}` takes `{left[0]}` by position only, after `{positional[0]}`\n"
            f"  -> add -p {positional[0]}=..."
        )
    return tuple(args), values


def _hints(function: Callable[..., object]) -> dict[str, object]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - names that only type checkers see, or anything else in the user's text
        scope = getattr(inspect.unwrap(function), "__globals__", {})
        return {
            name: _resolved(annotation, scope)
            for name, annotation in getattr(inspect.unwrap(function), "__annotations__", {}).items()
        }


def _resolved(annotation: object, scope: dict[str, Any]) -> object:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, scope)  # noqa: S307 - the user's own annotation, as typing.get_type_hints does
    except Exception:  # noqa: BLE001 - as above
        return typing.Any
