"""Values as people see them in one line: never unpickling anything of the user's, never calling their `repr`."""

from __future__ import annotations

import io
import json
import pickle
from typing import Any

from cas_engine.capsules.frames import PREFIX_SIZE, Frame, Kind, kind_of, take_apart
from cas_engine.plans.plain import NOT_JSON, plain
from cas_store.digest import Digest
from cas_store.store import Store
from cas_store.tables import Table

_WIDTH = 60
_WRITTEN = {"decimal", "fractions", "datetime", "uuid", "pathlib"}  # modules whose types have one way to be written
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
PREFIX = b"preview:"  # in META, before the digest of a result's blob: what is told of it
_AT_A_GLANCE = (bool, int, float, str, bytes, type(None))  # whose blobs need no pickler to be read
_GLANCED_AT = 1 << 20  # bytes: of a longer text only the beginning is looked at
_ITEMS, _BYTES = 256, 4096  # of a value that is kept as JSON beside its blob


def preview(value: object) -> str:
    """A value in at most sixty characters: builtins as written, arrays by shape, others by type."""
    try:
        text = _text(value, 3)
    except Exception:  # noqa: BLE001 - a shape or length of the user's own class may fail
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def type_name(value: object) -> str:
    """`float`, `numpy.ndarray`: how a reader finds out what it is."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def told(value: object) -> bytes:
    """What is kept beside a result for readers that must not unpickle it: JSON of `type`, `preview`, `shape` if it has
    one, and `value` if JSON holds that and it is small. Empty where the blob itself is as easy to read.
    """
    if type(value) in _AT_A_GLANCE:
        return b""
    found: dict[str, object] = {"type": type_name(value), "preview": preview(value)}
    if (shape := shape_of(value)) is not None:
        found["shape"] = shape
    if (held := plain(value, _ITEMS)) is not NOT_JSON:
        text = json.dumps(held, separators=(",", ":"))
        if len(text) <= _BYTES:
            found["value"] = held
    return json.dumps(found, separators=(",", ":")).encode()


def told_of(store: Store, blob: Digest) -> dict[str, Any] | None:
    """The same of a stored result, without unpickling anything; None where only loading it would tell."""
    row = store.get(Table.META, PREFIX + blob)
    if row is not None:
        return dict(json.loads(row))
    head = store.get_pieces(blob)[0]
    kind = kind_of(head)
    if kind >= Kind.PLAIN:
        return None
    from cas_engine.capsules import codec

    if len(head) > _GLANCED_AT:
        return {"type": Kind(kind).name.lower(), "preview": _beginning(kind, bytes(head[PREFIX_SIZE:_GLANCED_AT]))}
    value = codec.decode(head)
    found: dict[str, Any] = {"type": type_name(value), "preview": preview(value)}
    if (held := plain(value, 1)) is not NOT_JSON:
        found["value"] = held
    return found


def _beginning(kind: int, raw: bytes) -> str:
    if kind == Kind.STR:
        return preview(raw.decode("utf-8", "replace"))
    return preview(raw) if kind == Kind.BYTES else "<a very large int>"


def shape_of(value: object) -> list[int] | None:
    """The shape of an array or frame; None of what has none."""
    try:
        shape = getattr(value, "shape", None)
    except Exception:  # noqa: BLE001 - a property of the user's own
        return None
    return [int(n) for n in shape] if type(shape) is tuple and all(isinstance(n, int) for n in shape) else None


def preview_encoded(encoded: bytes) -> str:
    """The same for a stored value, as far as it can be told without loading the user's classes."""
    if kind_of(encoded) < Kind.PICKLE:
        from cas_engine.capsules import codec

        return preview(codec.decode(encoded))
    try:
        frame = take_apart(encoded)
        return preview(_Plain(frame).load())
    except Exception:  # noqa: BLE001 - whatever is not plain is shown as this
        return "<a value>"


class _Plain(pickle.Unpickler):
    """Loads what is made of builtins, and in the place of the user's classes what has their name and holds as much."""

    def __init__(self, frame: Frame) -> None:
        super().__init__(io.BytesIO(bytes(frame.stream)), buffers=frame.buffers)
        self._sections = frame.sections

    def find_class(self, module: str, name: str) -> Any:
        from cas_engine.capsules.definitions import ValueUnpickler
        from cas_engine.modules import moved

        if (moved.now(module), name) == (ValueUnpickler.__module__, ValueUnpickler.recall.__qualname__):
            return self._recalled
        raise pickle.UnpicklingError(f"{module}.{name} is not a builtin")

    def _recalled(self, number: int) -> Any:
        from cas_engine.capsules.definitions import Definition

        definition = Definition.from_bytes(self._sections[number])
        name = definition.name.qualname.rpartition(".")[2]
        kind = type(name, (_StandIn,), {})
        return kind if definition.is_class else _Named(f"<function {name}>")


class _StandIn:
    """An instance of a class that is not loaded: what it was made of, and what it holds."""

    made_of: tuple[tuple[Any, ...], dict[str, Any]]
    held: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made = object.__new__(cls)
        made.made_of, made.held = (args, kwargs), {}
        return made

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            if part is not None:
                self.held.update(part)

    def text(self, depth: int) -> str:
        args, kwargs = self.made_of
        named = [f"{name}={_text(part, depth)}" for name, part in {**kwargs, **self.held}.items()]
        return f"{type(self).__name__}({', '.join([*(_text(part, depth) for part in args), *named])})"


class _Named:
    def __init__(self, name: str) -> None:
        self.name = name

    def text(self, _: int) -> str:
        return self.name


def _text(value: Any, depth: int) -> str:
    kind = type(value)
    if isinstance(value, (_StandIn, _Named)):
        return value.text(depth - 1) if depth else "..."
    if kind in _PLAIN:
        if kind in (str, bytes) and len(value) > _WIDTH:
            return repr(value[:_WIDTH])
        return repr(value)
    if kind in (list, tuple, dict, set, frozenset) and depth and len(value) <= 12:
        return _container(value, depth - 1)
    if kind in (list, tuple, dict, set, frozenset):
        return f"<{kind.__name__} of {len(value)}>"
    if kind.__module__.partition(".")[0] in _WRITTEN:
        return f"{value}"
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape):
        dtype = getattr(value, "dtype", None)
        return f"<{kind.__name__} {'x'.join(map(str, shape))}{f' {dtype}' if dtype is not None else ''}>"
    name = getattr(value, "__name__", None) if callable(value) else None
    return f"<{kind.__name__} {name}>" if isinstance(name, str) else f"<{kind.__name__}>"


def _container(value: Any, depth: int) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(k, depth)}: {_text(v, depth)}" for k, v in value.items()) + "}"
    items = [_text(item, depth) for item in value]
    if isinstance(value, tuple):
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
    if isinstance(value, list):
        return f"[{', '.join(items)}]"
    inside = ", ".join(sorted(items))
    return f"{{{inside}}}" if isinstance(value, set) and items else f"{type(value).__name__}({inside})"
