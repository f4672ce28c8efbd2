"""The files of the programs that command lines name, and what these import of the project: other processes run them."""

# ruff: noqa: PTH100, PTH113, PTH118, PTH120, PTH123 - as texts

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType

from cas_engine.fingerprint.named import files_named

_SCRIPTS = (".py", ".sh", ".bash", ".R", ".r", ".jl", ".pl", ".rb", ".js", ".lua", ".m", ".awk", ".sed", ".sql")
_MOST = 500  # files
_CODE, _MODULE = "-c", "-m"  # options of Python's command line


def programs_named(texts: Iterable[str], folder: str) -> list[str]:
    """The files that a command line such as `python tools/clean.py -v` runs, or `python -m tools.clean`."""
    known = set(texts)
    words = {word for text in known for word in text.split()}
    found = dict.fromkeys(files_named(words, folder, _SCRIPTS))
    bases = [*dict.fromkeys((os.path.abspath(folder or "."), os.path.abspath(".")))]
    if _MODULE in words:
        found.update(dict.fromkeys(_of_modules(sorted(words), bases, main=True)))
    if _CODE in words:
        for code in filter(None, map(_compiled, sorted(known))):
            found.update(dict.fromkeys(_of_modules(_imported(code), bases)))
    return with_imported(found, folder)


def with_imported(files: Iterable[str], folder: str) -> list[str]:
    """These files, and those of the modules that they import, of the folders in which they look."""
    found = dict.fromkeys(files)
    bases = (os.path.abspath(folder or "."), os.path.abspath("."))
    row = list(found)
    for file in row:
        if file.endswith(".py") and len(row) < _MOST:
            code = _compiled(_text_of(file))
            beside = _of_modules(_imported(code), [os.path.dirname(file), *bases]) if code is not None else ()
            row += [each for each in beside if each not in found and found.setdefault(each) is None]
    return sorted(found)


def _of_modules(names: Iterable[str], bases: Sequence[str], *, main: bool = False) -> Iterator[str]:
    """The files of modules in one of these folders, with those of the packages that they lie in."""
    for name in names:
        parts = name.split(".")
        if not all(part.isidentifier() for part in parts):
            continue
        for base in bases:
            stem = os.path.join(base, *parts)
            files = [f"{stem}.py", os.path.join(stem, "__init__.py"), *([os.path.join(stem, "__main__.py")] * main)]
            here = [file for file in files if os.path.isfile(file)]
            if here:
                above = (os.path.join(base, *parts[:at], "__init__.py") for at in range(1, len(parts)))
                yield from (file for file in (*above, *here) if os.path.isfile(file))
                break


def _imported(code: CodeType) -> list[str]:
    """The modules that code may import, by all names that it mentions: a few too many rather than one too few."""
    names: set[str] = set()
    row = [code]
    for each in row:
        row += [const for const in each.co_consts if isinstance(const, CodeType)]
        names.update(each.co_names)
        wanted = [const for const in each.co_consts if isinstance(const, tuple)]
        below = {name for names in wanted for name in names if isinstance(name, str)}
        names |= below | {f"{name}.{part}" for name in each.co_names for part in below}
    return sorted(names)


def _compiled(text: str) -> CodeType | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = compile(text, "<text>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return code if code.co_names else None


def _text_of(file: str) -> str:
    try:
        with open(file, encoding="utf-8") as lines:
            return lines.read()
    except (OSError, UnicodeDecodeError):
        return ""
