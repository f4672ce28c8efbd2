"""How the parameters of one call are bound: constants, upstream results and structures that hold them. Pure.

A *template* is a call with its upstream nodes taken out and numbered, so that a thousand calls which differ only
in what they hang on share one template. Its digest, the electron's code and the identities of the upstream nodes
make the key.
"""

from __future__ import annotations

import base64
import json
from binascii import b2a_base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from cas_engine.files import from_json as files_from_json
from cas_engine.files import to_json as files_to_json
from cas_engine.values import FileContent
from cas_store.digest import Digest, digest_of

Step = tuple[str, object]  # ("item", key) or ("attr", name)


# Named tuples where one is made for each node: a frozen dataclass costs five times as much.


class Const(NamedTuple):
    """A value known when the call was recorded, by digest; small ones carry their encoded bytes along."""

    digest: Digest
    encoded: bytes | None
    blob: Digest | None
    files: tuple[FileContent, ...] = ()  # those that count by content in it


class Ref(NamedTuple):
    """The result of the upstream node in a numbered slot, or a part of it."""

    slot: int
    path: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list or tuple ("list", "tuple"), or a dict as alternating keys and values ("dict")."""

    kind: str
    items: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class Fields:
    """An instance of a dataclass or named tuple whose fields hold bindings; `cls` is the class, a constant."""

    cls: Const
    fields: tuple[tuple[str, Binding], ...]


Binding = Const | Ref | Items | Fields


class Template(NamedTuple):
    """The arguments of a call by parameter, in signature order, and how they were spelled.

    Arguments taken by *args are named "*0", "*1" ..., those taken by **kwargs "**name"; a default that the call left
    out is not here, since it is part of the code. `args` and `kwargs` say how the call was written, as indices into
    `params`, so that it can be bound to another signature. The first `key_slots` of the `slots` count in the key.
    `usual` are the parameters that were given their own defaults: no key counts them.
    """

    params: tuple[tuple[str, Binding], ...]
    args: tuple[int, ...]
    kwargs: tuple[tuple[str, int], ...]
    slots: int
    key_slots: int
    digest: Digest
    usual: frozenset[str] = frozenset()


def template_digest(params: Sequence[tuple[str, Binding]], *, leave_out: frozenset[str]) -> Digest:
    """The digest of what a call's own arguments add to its key; upstream nodes count by slot and access path."""
    out: list[bytes] = []
    for name, binding in params:
        if name not in leave_out:
            out.append(parameter_bytes(name))
            _encode(binding, out)
    return digest_of(b"".join(out))


def parameter_bytes(name: str) -> bytes:
    """How a parameter begins in what a template's digest is taken of; its binding follows."""
    raw = name.encode()
    return b"p%d:" % len(raw) + raw


# What follows for an upstream result as a whole, and, before its digest, for a constant.
WHOLE, CONSTANT = b"r0(", b"c"


def binding_bytes(binding: Binding) -> bytes:
    """What a binding adds to that; of a constant its digest comes last."""
    out: list[bytes] = []
    _encode(binding, out)
    return b"".join(out)


def _encode(binding: Binding, out: list[bytes]) -> None:
    # Each piece is tagged and counted, so that no two structures can share one byte string.
    if isinstance(binding, Const):
        out.append(CONSTANT + binding.digest)
    elif isinstance(binding, Ref):
        out.append(b"r" + path_bytes(binding.path))
    elif isinstance(binding, Items):
        out.append(b"%s%d:" % (binding.kind.encode(), len(binding.items)))
        for item in binding.items:
            if isinstance(item, Ref) and not item.path:  # there may be many
                out.append(WHOLE)
            else:
                _encode(item, out)
    else:
        out.append(b"o%d:" % len(binding.fields) + binding.cls.digest)
        for name, item in binding.fields:
            raw = name.encode()
            out.append(b"f%d:" % len(raw) + raw)
            _encode(item, out)


def path_bytes(path: tuple[Step, ...]) -> bytes:
    """An access path as bytes that tell `[0]`, `["0"]`, `[True]` and `.x` apart."""
    parts = [b"%d(" % len(path)]
    for kind, step in path:
        raw = (
            step.digest if isinstance(step, Const) else f"{type(step).__name__}:{step}".encode("utf-8", "surrogatepass")
        )
        parts.append(b"%s%d:" % (kind.encode(), len(raw)) + raw)
    return b"".join(parts)


def refs_in(binding: Binding) -> Iterator[Ref]:
    """Every upstream reference in a binding, in the order of their slots."""
    if isinstance(binding, Ref):
        yield binding
    elif isinstance(binding, Items):
        for item in binding.items:
            yield from refs_in(item)
    elif isinstance(binding, Fields):
        for _, item in binding.fields:
            yield from refs_in(item)


def consts_in(binding: Binding) -> Iterator[Const]:
    """Every constant in a binding, those in access paths and the classes of structures included."""
    if isinstance(binding, Const):
        yield binding
    elif isinstance(binding, Ref):
        for _, step in binding.path:
            if isinstance(step, Const):
                yield step
    elif isinstance(binding, Items):
        for item in binding.items:
            yield from consts_in(item)
    else:
        yield binding.cls
        for _, item in binding.fields:
            yield from consts_in(item)


def materialize(binding: Binding, load_const: Callable[[Const], Any], load_slot: Callable[[int], Any]) -> Any:
    """The value that a binding stands for."""
    if isinstance(binding, Const):
        return load_const(binding)
    if isinstance(binding, Ref):
        return follow(load_slot(binding.slot), binding.path, load_const)
    if isinstance(binding, Items):
        items = [materialize(item, load_const, load_slot) for item in binding.items]
        if binding.kind == "dict":
            return dict(zip(items[::2], items[1::2], strict=True))
        return items if binding.kind == "list" else tuple(items)
    cls = load_const(binding.cls)
    fields = {name: materialize(item, load_const, load_slot) for name, item in binding.fields}
    return rebuild(cls, fields)


def rebuild(cls: Any, fields: Mapping[str, Any]) -> Any:
    """An instance of a dataclass or named tuple with these fields, without running its __init__ twice."""
    if hasattr(cls, "_make"):
        return cls._make(fields.values())
    instance = object.__new__(cls)
    for name, value in fields.items():
        object.__setattr__(instance, name, value)
    return instance


def follow(value: Any, path: tuple[Step, ...], load_const: Callable[[Const], Any]) -> Any:
    """The part of a value that an access path names."""
    for kind, step in path:
        key = load_const(step) if isinstance(step, Const) else step
        value = value[key] if kind == "item" else getattr(value, str(key))
    return value


def call_arguments(template: Template) -> tuple[list[Binding], dict[str, Binding]]:
    """The positional and keyword arguments of a call as it was written."""
    params = template.params
    return [params[i][1] for i in template.args], {name: params[i][1] for name, i in template.kwargs}


# Templates as JSON, for manifests -----------------------------------------------------------------------------


# In the JSON of each binding with a constant that is a blob; in a text the quotes would be escaped.
BLOB_IN_JSON = b'["b"'
# In that of each with a part of a result: how a path begins.
PATH_IN_JSON = (b'[["item",', b'[["attr",')


def to_json(binding: Binding) -> list[Any]:
    """A binding as a JSON value, short: manifests hold many."""
    if isinstance(binding, Const):
        files = [files_to_json(binding.files)] if binding.files else []
        if binding.blob is not None:
            return ["b", binding.digest.hex(), binding.blob.hex(), *files]
        return ["c", binding.digest.hex(), base64.b64encode(binding.encoded or b"").decode(), *files]
    if isinstance(binding, Ref):
        path = [[kind, to_json(step) if isinstance(step, Const) else step] for kind, step in binding.path]
        return ["r", binding.slot, path]
    if isinstance(binding, Items):
        return [binding.kind, [to_json(item) for item in binding.items]]
    return ["o", to_json(binding.cls), [[name, to_json(item)] for name, item in binding.fields]]


def from_json(raw: list[Any]) -> Binding:
    """The binding that `to_json` wrote."""
    tag = raw[0]
    if tag == "b":
        return Const(bytes.fromhex(raw[1]), None, bytes.fromhex(raw[2]), _files(raw))
    if tag == "c":
        return Const(bytes.fromhex(raw[1]), base64.b64decode(raw[2]), None, _files(raw))
    if tag == "r":
        steps = tuple((kind, from_json(step) if isinstance(step, list) else step) for kind, step in raw[2])
        return Ref(raw[1], steps)
    if tag == "o":
        cls = from_json(raw[1])
        assert isinstance(cls, Const)  # noqa: S101 - written by to_json only so
        return Fields(cls, tuple((name, from_json(item)) for name, item in raw[2]))
    return Items(tag, tuple(from_json(item) for item in raw[1]))


def _files(raw: list[Any]) -> tuple[FileContent, ...]:
    return files_from_json(raw[3]) if len(raw) > 3 else ()


def template_to_json(template: Template) -> list[Any]:
    """A template as a JSON value."""
    return [
        template.digest.hex(),
        [[name, to_json(binding)] for name, binding in template.params],
        list(template.args),
        [list(pair) for pair in template.kwargs],
        template.slots,
        template.key_slots,
        *([sorted(template.usual)] if template.usual else []),
    ]


def template_dumps(template: Template) -> bytes:
    """`template_to_json` as JSON text: there are many, and most hold results and small constants only."""
    params = []
    for name, binding in template.params:
        if type(binding) is Const and not binding.files and binding.blob is None:
            encoded = b2a_base64(binding.encoded or b"", newline=False).decode()
            params.append(f'[{quoted(name)},["c","{binding.digest.hex()}","{encoded}"]]')
        elif type(binding) is Ref and not binding.path:
            params.append(whole_text(name, binding.slot))
        else:
            params.append(f"[{quoted(name)},{binding_text(binding)}]")
    usual = f",{_compact(sorted(template.usual))}" if template.usual else ""
    written = spelling_text(template.args, template.kwargs)
    return (
        f'["{template.digest.hex()}",[{",".join(params)}],{written},{template.slots},{template.key_slots}{usual}]'
    ).encode()


def binding_text(binding: Binding) -> str:
    """`to_json` as JSON text: there may be many results in a list."""
    if isinstance(binding, Items):
        items = [
            f'["r",{item.slot},[]]' if isinstance(item, Ref) and not item.path else binding_text(item)
            for item in binding.items
        ]
        return f'["{binding.kind}",[{",".join(items)}]]'
    return _compact(to_json(binding))


quoted = json.encoder.encode_basestring_ascii
_compact = json.JSONEncoder(separators=(",", ":")).encode


@lru_cache(maxsize=1024)
def whole_text(name: str, slot: int) -> str:
    """A parameter that is bound to a result as a whole, as JSON text."""
    return f'[{quoted(name)},["r",{slot},[]]]'


@lru_cache(maxsize=256)
def spelling_text(args: tuple[int, ...], kwargs: tuple[tuple[str, int], ...]) -> str:
    """How a call was written, as JSON text."""
    return f"{_compact(args)},{_compact(kwargs)}"


def template_from_json(raw: list[Any]) -> Template:
    """The template that `template_to_json` wrote."""
    return Template(
        params=tuple((name, from_json(binding)) for name, binding in raw[1]),
        args=tuple(raw[2]),
        kwargs=tuple((name, index) for name, index in raw[3]),
        slots=raw[4],
        key_slots=raw[5],
        digest=bytes.fromhex(raw[0]),
        usual=frozenset(raw[6] if len(raw) > 6 else ()),
    )
