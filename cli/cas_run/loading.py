"""Finds what `file.py:name` or `package.module:name` means, importing it as Python itself would."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING

# What will run is loaded before the user's folder is put on the path: a queue.py of theirs is not ours.
import cas_engine.bookkeeping.collection
import cas_engine.evaluating.evaluation
import cas_engine.evaluating.running
import cas_engine.evaluating.sublattice
import cas_engine.evaluating.verification  # noqa: F401
from cas_engine.errors import UsageError
from cas_engine.graphs.electron import Electron
from cas_engine.graphs.lattice import Lattice
from cas_engine.modules.freshness import CarefulLoader
from cas_run.tracebacks import users_traceback

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

_folders: list[Path] = []  # those from which files were loaded in this process, in order


class LoadingError(UsageError):
    """There is no such thing, or the user's file fails when it is imported."""


@dataclass(frozen=True, slots=True)
class Target:
    """`place:name` taken apart; `name` is empty where none was given."""

    place: str
    name: str
    is_file: bool

    def __str__(self) -> str:
        return f"{self.place}:{self.name}" if self.name else self.place


def parsed(text: str) -> Target:
    r"""`flow.py:svm`, `pkg.flow:svm`, `flow.py`. The last colon counts, so that C:\flow.py:svm is one too."""
    place, colon, name = text.rpartition(":")
    if not colon or not all(part.isidentifier() for part in name.split(".")):
        place, name = text.rstrip(":"), ""
    return Target(place, name, place.endswith(".py") or "/" in place or "\\" in place)


def load_lattice(text: str) -> Lattice[..., object]:
    """The lattice; the only one of its module where no name is given."""
    target = parsed(text)
    module = _module_of(target)
    lattices = {name: value for name, value in vars(module).items() if isinstance(value, Lattice)}
    if not target.name:
        return _only(target, module, lattices)
    found = _attribute(module, target, list(lattices))
    if isinstance(found, Lattice):
        return found
    what = "an electron" if isinstance(found, Electron) else f"of type {type(found).__name__}"
    advice = _names(lattices) or "call it in a function decorated with @ct.lattice, and give that"
    raise LoadingError(f"`{target.name}` in {target.place} is {what}, not a lattice\n  -> {advice}")


def load_callable(text: str) -> Callable[..., object]:
    """What `--replace` may put in place: an electron, a lattice or any function."""
    target = parsed(text)
    if not target.name:
        raise LoadingError(f"`{text}` does not say which function\n  -> write it as {text}:function")
    module = _module_of(target)
    functions = [name for name, value in vars(module).items() if callable(value) and not name.startswith("__")]
    found = _attribute(module, target, functions)
    if not callable(found):
        raise LoadingError(
            f"`{target.name}` in {target.place} is of type {type(found).__name__}, not a function\n"
            f"  -> {_names(functions)}"
        )
    return found


def _only(target: Target, module: ModuleType, lattices: dict[str, Lattice[..., object]]) -> Lattice[..., object]:
    # Imported ones don't count beside one that the file defines; one lattice under two names is one.
    own = {n: v for n, v in lattices.items() if getattr(v.fn, "__module__", None) == module.__name__} or lattices
    if len({id(value) for value in own.values()}) == 1:
        return next(iter(own.values()))
    if not own:
        raise LoadingError(f"there is no lattice in {target.place}\n  -> decorate a function with @ct.lattice")
    choices = " or ".join(f"{target.place}:{name}" for name in own)
    raise LoadingError(f"there are {len(own)} lattices in {target.place}\n  -> say which one: {choices}")


def _attribute(module: ModuleType, target: Target, names: list[str]) -> object:
    found: object = module
    for part in target.name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            near = get_close_matches(target.name, names, n=2, cutoff=0.5)
            advice = f"did you mean `{'` or `'.join(near)}`?" if near else _names(names) or "it defines none"
            raise LoadingError(f"there is no `{target.name}` in {target.place}\n  -> {advice}") from None
    return found


def _names(names: list[str] | dict[str, Lattice[..., object]]) -> str:
    shown = list(names)[:8]
    return "it has " + ", ".join(f"`{name}`" for name in shown) if shown else ""


def _module_of(target: Target) -> ModuleType:
    return _from_file(target) if target.is_file else _from_module(target)


def _from_file(target: Target) -> ModuleType:
    path = Path(target.place)
    if not path.is_absolute():
        _working_folder()
    try:
        is_there = path.is_file()
    except OSError as error:  # a name that is too long, say
        raise LoadingError(f"{path} can't be looked at: {error.strerror}\n  -> give a file: flow.py:lattice") from None
    if not is_there:
        raise LoadingError(_no_such_file(path))
    path = path.resolve()
    stem = path.stem
    known = sys.modules.get(stem)
    if known is not None and _file_of(known) == path:
        return known
    if known is not None or not stem.isidentifier():
        raise LoadingError(_name_taken(path, known))
    _refuse_twins(path)
    folder = str(path.parent)
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)
    _folders.append(path.parent)
    spec = importlib.util.spec_from_file_location(stem, path)
    if spec is not None and type(spec.loader) is SourceFileLoader:
        spec.loader = CarefulLoader(stem, str(path))
    if spec is None or spec.loader is None:
        raise LoadingError(f"{target.place} is not a Python file\n  -> give one whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[stem] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        sys.modules.pop(stem, None)
        raise LoadingError(_import_failed(target, error)) from error
    return sys.modules.get(stem, module)


def _from_module(target: Target) -> ModuleType:
    if not all(part.isidentifier() for part in target.place.split(".")):
        raise LoadingError(_no_such_file(Path(target.place)))
    here = str(_working_folder())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(target.place)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (target.place == error.name or target.place.startswith(error.name + ".")):
            advice = "give file.py:name, or package.module:name as seen from this folder"
            if Path(target.place + ".py").is_file():
                advice = f"did you mean {target.place}.py:{target.name or 'name'}?"
            raise LoadingError(f"there is no module `{target.place}`\n  -> {advice}") from None
        raise LoadingError(_import_failed(target, error)) from error
    except BaseException as error:
        raise LoadingError(_import_failed(target, error)) from error


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        message = "the working folder is not there any more\n  -> go to one that is (cd), or give the path from / on"
        raise LoadingError(message) from None


def _no_such_file(path: Path) -> str:
    if path.is_dir():
        return f"{path} is a folder, not a Python file\n  -> give a file in it: {path / 'flow.py'}:lattice"
    folder = path.parent
    names = sorted(p.name for p in folder.glob("*.py")) if folder.is_dir() else []
    near = get_close_matches(path.name, names, n=2, cutoff=0.5)
    if near:
        return f"there is no file {path}\n  -> did you mean {' or '.join(str(folder / name) for name in near)}?"
    missing = f"there is no folder {folder}" if not folder.is_dir() else f"looked in {folder.resolve()}"
    return f"there is no file {path}\n  -> check the path: {missing}"


def _name_taken(path: Path, known: ModuleType | None) -> str:
    if known is None:
        return f"`{path.stem}` can't be a module's name\n  -> rename {path.name}: letters, digits and _ only"
    other = _file_of(known) or "built into Python"
    return (
        f"{path.name} would be the module `{path.stem}`, and that is loaded already ({other})\n"
        f"  -> rename {path.name}, or run the two separately"
    )


def _refuse_twins(path: Path) -> None:
    """Two folders with a `helpers.py` each: the second file would get the first one's helpers."""
    folder = path.parent
    for earlier in _folders:
        for name, module in list(sys.modules.items()):
            file = _file_of(module)
            if earlier == folder or file is None or earlier not in file.parents or folder in file.parents:
                continue
            if (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file():
                raise LoadingError(
                    f"both {earlier} and {folder} have a module `{name}`, and Python can load only one\n"
                    f"  -> rename one, or put the replacement beside the other"
                )


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if isinstance(file, str) else None


def _import_failed(target: Target, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        told = "".join(traceback.format_exception_only(type(error), error)).rstrip()
        return f"{error.filename or target.place} has a syntax error\n{told}"
    if isinstance(error, SystemExit):
        advice = 'put what only a script does below `if __name__ == "__main__":`'
        return f"{target.place} ends the program when it is imported (sys.exit)\n  -> {advice}"
    message = f"importing {target.place} fails\n{users_traceback(error)}"
    if isinstance(error, ImportError) and "no known parent package" in str(error):
        path = Path(target.place)
        module = f"{path.resolve().parent.name}.{path.stem}"
        message += f"\n  -> it is part of a package: from the folder above, give {module}:{target.name}"
    elif isinstance(error, ModuleNotFoundError):
        message += f"\n  -> install it into the Python that runs cas-run: {sys.executable}"
    return message
