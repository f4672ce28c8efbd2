"""Values as people see them in one line: never unpickling anything of the user's, never calling their `repr`."""

from __future__ import annotations

import io
import pickle
from typing import Any

from cas_engine.frames import Frame, Kind, kind_of, take_apart

_WIDTH = 60
_WRITTEN = {"decimal", "fractions", "datetime", "uuid", "pathlib"}  # modules whose types have one way to be written
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def preview(value: object) -> str:
    """A value in at most sixty characters: builtins as written, arrays by shape, others by type."""
    try:
        text = _text(value, 3)
    except Exception:  # noqa: BLE001 - a shape or length of the user's own class may fail
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def preview_encoded(encoded: bytes) -> str:
    """The same for a stored value, as far as it can be told without loading the user's classes."""
    if kind_of(encoded) < Kind.PICKLE:
        from cas_engine import codec

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
        from cas_engine.definitions import ValueUnpickler

        if (module, name) == (ValueUnpickler.__module__, ValueUnpickler.recall.__qualname__):
            return self._recalled
        raise pickle.UnpicklingError(f"{module}.{name} is not a builtin")

    def _recalled(self, number: int) -> Any:
        from cas_engine.definitions import Definition

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
