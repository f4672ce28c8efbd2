"""Code by value as one stream of bytes, or what hinders it and where that lies."""

from __future__ import annotations

import io
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cas_engine.capsules import reached
from cas_engine.capsules.by_value import CodePickler, Fault, first_line
from cas_engine.capsules.live import Session
from cas_engine.fingerprint.patches import Patch


@dataclass(frozen=True, slots=True)
class Stream:
    """Code by value. With a `fault`, it can't be loaded; `where` names the global or the part at fault."""

    content: bytes
    fault: Fault | None = None
    where: str = ""


def write_code(root: object, session: Session, brought: Sequence[Patch] = ()) -> Stream:
    """The root and all of the user's own that it reaches, as one stream, with what other modules have brought to it."""
    for patch in brought:
        fault = _fault_of(patch, session)
        if fault is not None:
            return Stream(b"", fault, f"`{patch.shown}`, which is set in {patch.package},")
    try:
        modules = [(module, reached.WHOLE) for module in session.modules_of(root)]
        modules += reached.modules_with(session.pickled_of(root))
    except Exception:  # noqa: BLE001 - whatever hinders a fingerprint, there is nothing more to be known
        modules = []
    try:
        return _write([*brought, root], session, modules)
    except RecursionError:
        # A chain of hundreds of functions: from its end, so that each finds the ones it calls already written.
        try:
            return _write([*reached.innermost_first(root), *brought, root], session, modules)
        except RecursionError:
            return Stream(b"", Fault(type(root).__name__, "it is nested too deeply"))


def _fault_of(patch: Patch, session: Session) -> Fault | None:
    if not patch.path:
        return Fault(type(patch.value).__name__, "no module of the package leads to it")
    trial = CodePickler(io.BytesIO(), session)
    if trial.can_write(patch.value):
        return None
    try:
        trial.dump(patch.value)
    except Exception as error:  # noqa: BLE001 - any type may refuse in its own way
        return Fault(type(patch.value).__name__, first_line(error))
    return trial.faults[0] if trial.faults else None


def _write(
    roots: list[Any],
    session: Session,
    modules: Sequence[tuple[types.ModuleType, reached.Paths]],
    *,
    annotated: bool = False,
) -> Stream:
    out = io.BytesIO()
    pickler = CodePickler(out, session, annotated=annotated, modules=modules)
    try:
        pickler.dump(len(roots))
        for root in roots:
            pickler.dump(root)
    except (RecursionError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - any type may refuse in its own way
        if isinstance(error.__cause__, RecursionError):  # as cloudpickle tells of it
            raise error.__cause__ from None
        pickler.faults.append(Fault(type(roots[-1]).__name__, first_line(error)))
    if not annotated and any(reached.reads_annotations(fn.__code__) for fn in pickler.functions):
        return _write(roots, session, modules, annotated=True)
    if pickler.faults:
        return Stream(b"", pickler.faults[0], _place_of_fault(pickler))
    return Stream(out.getvalue())


def _place_of_fault(pickler: CodePickler) -> str:
    """The first global of the functions met that can't be written by itself. The slow way, for a message."""
    for fn in reversed(pickler.functions):
        names = {**reached.globals_of(fn.__code__), **reached.variables_of(fn.__code__)}
        cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
        for name in names:
            try:
                value = cells[name].cell_contents if name in cells else fn.__globals__[name]
            except (KeyError, ValueError):
                continue
            if issubclass(type(value), (types.FunctionType, types.ModuleType, type)):
                continue  # what is in it is told by its own name
            if not CodePickler(io.BytesIO(), pickler.session).can_write(value):
                if name in cells:
                    return f"`{name}`, which `{fn.__qualname__}` has from the function around it,"
                return f"the global `{name}` of `{fn.__module__}`, read by `{fn.__qualname__}`,"
    return ""
