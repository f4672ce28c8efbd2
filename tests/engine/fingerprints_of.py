"""Fingerprints of functions in small projects, each in a fork of one process. A script; test_fingerprint_*.py start it.

Reads a JSON list of jobs on stdin: {folder, target: "module:name", how: "import" | "script" | "cells", call: text};
answers with a JSON list of {code, packages, unresolved, warnings, modules, components, again} or {error}.
"""

from __future__ import annotations

import importlib
import json
import linecache
import os
import sys
import traceback
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from cas_engine.fingerprint import Fingerprint, Fingerprinter


def load(folder: str, name: str, how: str) -> ModuleType:
    if how == "import":
        return importlib.import_module(name)
    path = Path(folder, *name.split(".")).with_suffix(".py")
    module = ModuleType("__main__")
    sys.modules["__main__"] = module
    text = path.read_text(encoding="utf-8")
    if how == "script":
        module.__file__ = str(path)
        exec(compile(text, str(path), "exec", dont_inherit=True), vars(module))
        return module
    for number, cell in enumerate(text.split("# %%\n")):  # as IPython does it
        file_name = f"<ipython-input-{number}-{os.getpid()}>"
        linecache.cache[file_name] = (len(cell), None, cell.splitlines(keepends=True), file_name)
        exec(compile(cell, file_name, "exec", dont_inherit=True), vars(module))
    return module


def answer(job: dict[str, str]) -> dict[str, Any]:
    folder = job["folder"]
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    site = Path(folder, "site-packages")
    if site.is_dir():
        sys.path.append(str(site))
    importlib.invalidate_caches()
    name, _, qualname = job["target"].partition(":")
    module = load(folder, name, job.get("how", "import"))
    target: Any = module
    for part in qualname.split("."):
        target = getattr(target, part)
    session = Fingerprinter()
    found: Fingerprint = session.of(target)
    if job.get("call"):  # what running leaves behind must not change it
        exec(job["call"], vars(module))
    again = Fingerprinter().of(target)
    return {
        "code": found.code.hex(),
        "packages": found.packages,
        "unresolved": found.unresolved,
        "warnings": found.warnings,
        "modules": found.modules,
        "electrons": [each[0] for each in found.electrons],
        "components": [(c.kind, c.name, c.digest.hex(), c.detail, c.via) for c in found.components],
        "sources": sorted(session.sources(found, target)),
        "again": again.code.hex(),
    }


def in_fork(job: dict[str, str]) -> dict[str, Any]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(2, 1)
            warnings.simplefilter("ignore")
            try:
                result = answer(job)
            except BaseException:  # noqa: BLE001 - SystemExit of a project is an answer too
                result = {"error": traceback.format_exc()}
            with os.fdopen(writer, "w", encoding="utf-8") as out:
                json.dump(result, out)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(text) if text else {"error": "the process died"}
    return found


if __name__ == "__main__":
    for preloaded in sys.argv[1:]:
        importlib.import_module(preloaded)
    json.dump([in_fork(job) for job in json.load(sys.stdin)], sys.stdout)
