"""What an electron returns while a lattice is traced: a result that is not there yet."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from cas_engine.errors import TracingError
from cas_engine.graphs.bindings import Step

if TYPE_CHECKING:
    from cas_engine.graphs.tracing import Trace

_DEEPEST = 100
_NEW_VALUE = "make the new value in an electron: results are never changed"
_OURS = ("cas_engine.", "cas_run.")


class Handle:
    """Stands for the result of a node, or for a part of it, until it is computed."""

    __slots__ = ("_cas_node", "_cas_path", "_cas_trace")

    _cas_trace: Trace
    _cas_node: int
    _cas_path: tuple[Step, ...]

    def __init__(self, trace: Trace, node: int, path: tuple[Step, ...] = ()) -> None:
        _set_trace(self, trace)
        _set_node(self, node)
        _set_path(self, path)

    def _cas_count(self) -> int | None:
        """How many values there are in it, if that is known."""
        return None if self._cas_path else self._cas_trace.outputs_of(self._cas_node)

    def _cas_step(self, kind: str, key: object) -> Handle:
        if len(self._cas_path) >= _DEEPEST:
            self._cas_refuse()  # something follows it without end, taking it for the value
        return Handle(self._cas_trace, self._cas_node, (*self._cas_path, (kind, key)))

    def __getattr__(self, name: str) -> Handle:
        # Special names are asked for by copy, pickle, notebooks and the like, never meant for the result.
        if name.startswith(("__", "_repr_", "_ipython_")):
            raise AttributeError(name)
        return self._cas_step("attr", name)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise TracingError(f"{self._cas_says('assigns to an attribute of')}\n  -> {_NEW_VALUE}")

    def __setitem__(self, key: object, value: object) -> NoReturn:
        raise TracingError(f"{self._cas_says('assigns to an item of')}\n  -> {_NEW_VALUE}")

    def __getitem__(self, key: object) -> Handle:
        step = self._cas_trace.item_step(key)
        if step is None:
            return self._cas_trace.operator(operator.getitem, (self, key), {})
        return self._cas_step("item", step)

    def __call__(self, *args: object, **kwargs: object) -> Handle:
        return self._cas_trace.operator(operator_call, (self, *args), kwargs)

    def __delitem__(self, key: object) -> NoReturn:
        raise TracingError(f"{self._cas_says('deletes an item of')}\n  -> {_NEW_VALUE}")

    def __delattr__(self, name: str) -> NoReturn:
        raise TracingError(f"{self._cas_says('deletes an attribute of')}\n  -> {_NEW_VALUE}")

    def __iter__(self) -> Iterator[Handle]:
        count = self._cas_count()
        if count is None:
            raise TracingError(
                f"{self._cas_says('iterates over')}, and how many values it has is not known before it runs\n"
                "  -> say so with electron(outputs=N) or a `tuple[A, B]` return annotation, or do this in a sublattice "
                "(@ct.electron over @ct.lattice), which gets concrete values"
            )
        return iter([self._cas_step("item", i) for i in range(count)])

    def __bool__(self) -> NoReturn:
        raise TracingError(
            f"{self._cas_says('uses as a condition')}, and it is not known before it runs\n"
            "  -> decide in an electron, or in a sublattice (@ct.electron over @ct.lattice), which gets concrete values"
        )

    def _cas_refuse(self, *_: object) -> NoReturn:
        raise TracingError(
            f"{self._cas_says('needs the value of')}, and it is not known before it runs\n"
            "  -> do this in an electron, or in a sublattice (@ct.electron over @ct.lattice)"
        )

    __int__ = __float__ = __complex__ = __index__ = __contains__ = __round__ = __array__ = _cas_refuse
    # A text with a name in it, where the value was meant, would go unnoticed. `print(handle)` works.
    __format__ = _cas_refuse
    __hash__ = object.__hash__

    def __len__(self) -> int:
        # What takes several values at once, as `[*handle]`, asks for their number first.
        count = self._cas_count()
        if count is None:
            self._cas_refuse()
        return count

    def __array_ufunc__(self, ufunc: Callable[..., Any], method: str, *args: object, **kwargs: object) -> Handle:
        """NumPy's functions and operators from the left: one node, not one for each element."""
        if method != "__call__" or "out" in kwargs:
            self._cas_refuse()
        return self._cas_trace.operator(ufunc, args, kwargs)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self._cas_refuse()

    def __cas_digest__(self) -> NoReturn:
        # It hides where no trace looks: in a set, an instance, a closure.
        self._cas_trace.check_is_current()
        self._cas_refuse()

    def _cas_says(self, what: str) -> str:
        return f"{place()} {what} {self!r}"

    def __repr__(self) -> str:
        path = "".join(f"[{key!r}]" if kind == "item" else f".{key}" for kind, key in self._cas_path)
        return f"the result of `{self._cas_trace.name_of(self._cas_node)}`{path}"


# One is made for each node: by `object.__setattr__`, which looks the name up, it takes half as long again.
_set_trace, _set_node, _set_path = (Handle.__dict__[name].__set__ for name in ("_cas_trace", "_cas_node", "_cas_path"))


def refuse_hidden(handle: Handle) -> NoReturn:
    """Raise TracingError for a handle where no parameter takes it, such as in a closure."""
    handle._cas_trace.check_is_current()  # noqa: SLF001 - handles are ours
    handle._cas_refuse()  # noqa: SLF001


def operator_call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a result or a method of one: what `handle.method(x)` records."""
    return function(*args, **kwargs)


def place() -> str:
    """The line of the user's that led here, as `file.py:12 (svm)`."""
    frame = sys._getframe(1)  # noqa: SLF001 - the documented way is inspect.stack(), a thousand times slower
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith(_OURS):
        frame = frame.f_back
    name = frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{name}:{frame.f_lineno} ({frame.f_code.co_name})"


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[Handle, object], Handle]:
    def record(self: Handle, other: object) -> Handle:
        return self._cas_trace.operator(function, (self, other), {})

    return record


def _reflected(function: Callable[[Any, Any], Any]) -> Callable[[Handle, object], Handle]:
    def record(self: Handle, other: object) -> Handle:
        return self._cas_trace.operator(function, (other, self), {})

    return record


def _unary(function: Callable[[Any], Any]) -> Callable[[Handle], Handle]:
    def record(self: Handle) -> Handle:
        return self._cas_trace.operator(function, (self,), {})

    return record


_TWO_SIDED = [
    "add",
    "sub",
    "mul",
    "matmul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "lshift",
    "rshift",
    "and_",
    "xor",
    "or_",
]
for _name in _TWO_SIDED:
    _function = getattr(operator, _name)
    _special = _name.rstrip("_")
    setattr(Handle, f"__{_special}__", _binary(_function))
    setattr(Handle, f"__r{_special}__", _reflected(_function))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Handle, f"__{_name}__", _binary(getattr(operator, _name)))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(Handle, f"__{_name}__", _unary(getattr(operator, _name)))
for _special, _made in (("divmod", _binary(divmod)), ("rdivmod", _reflected(divmod))):
    setattr(Handle, f"__{_special}__", _made)
