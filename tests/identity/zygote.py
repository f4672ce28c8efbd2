"""Plays one side of a before/after project in a fresh process: imports once, then forks for each job.

Run as a script. Reads jobs as JSON lines on stdin, answers with JSON lines on stdout. A job is a folder with
a project in it, how to load its workflow, and the store (none: evaluated as plain Python by plain.py, nothing
cached). Forking keeps what a process is for identity (hash seed, loaded libraries) and spares the 200 ms of
starting one.
"""

from __future__ import annotations

import compileall
import faulthandler
import gc
import importlib
import importlib.util
import inspect
import io
import json
import linecache
import os
import pkgutil
import site
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

EXECUTOR = os.environ.get("IDENTITY_EXECUTOR", "inline")  # what comes of a case does not hang on it
HERE = Path(__file__).parent
LONGEST = 60  # seconds; a case takes milliseconds, so this is only for what hangs
PRELOADED = ("cas_engine", "cas_run")
HEAVY = ("numpy", "pandas", "scipy.sparse", "sklearn.linear_model")


def load(entry: str, how: str, folder: Path) -> ModuleType:
    """The module that holds `main`: imported, run as a script, or typed into a notebook cell by cell."""
    if how == "import":
        return importlib.import_module(entry)
    path = folder.joinpath(*entry.split(".")).with_suffix(".py")
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    if how == "script":
        module.__file__ = str(path)
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    elif how == "cells":
        for number, source in enumerate(path.read_text(encoding="utf-8").split("# %%\n")):
            exec(cell(number, source), module.__dict__)
    else:
        message = f"unknown way to load a workflow: {how}"
        raise ValueError(message)
    return module


def cell(number: int, source: str) -> CodeType:
    """Compiled as ipykernel does it: the file name differs in each process, linecache knows the source."""
    name = f"/tmp/ipykernel_{os.getpid()}/{number}.py"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    return compile(source, name, "exec")


class Watch:
    """Names of the project's functions that Python really entered, whatever the engine says."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.entered: set[str] = set()

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith((self.root, "/tmp/ipykernel_", "<string>")):
            self.entered.add(frame.f_code.co_name)


def statuses(ct: Any, result: Any, store: str) -> list[tuple[str, str]]:
    """(electron, status) of every node, those inside of evaluated sublattices too."""
    found = []
    for node in result.nodes:
        found.append((str(node.electron), str(node.status)))
        if node.status == "ran" and node.dispatch:
            found += statuses(ct, ct.get_result(node.dispatch, store=store), store)
    return found


def trace(frame: FrameType, event: str, _: object) -> Any:
    return trace if event == "call" and frame.f_globals.get("__name__") == "workflow" else None


def again(ct: Any, store: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    """The latest dispatch once more, from what is recorded."""
    latest = ct.list_dispatches(store=store)[0]
    redispatch = ct.redispatch(latest.dispatch_id, store=store, executor=EXECUTOR, **options)
    return lambda *args, **kwargs: ct.get_result(redispatch(*args, **kwargs), wait=True, store=store)


def play(job: dict[str, Any]) -> dict[str, Any]:
    folder = Path(job["folder"])
    os.chdir(folder)
    sys.path[0] = str(folder)
    sys.dont_write_bytecode = True
    if (folder / "site-packages").is_dir():
        site.addsitedir(str(folder / "site-packages"))
    if job["store"] is None:
        spec = importlib.util.spec_from_file_location("cas_run", HERE / "plain.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules["cas_run"] = plain = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(plain)
    if job["run"] == "third":  # as if run before, and under a debugger or coverage
        compileall.compile_dir(folder, quiet=2)
        threading.settrace(trace)
        sys.settrace(trace)
    importlib.invalidate_caches()
    ct: Any = sys.modules["cas_run"]
    if job["how"] == "capsule":
        call, names = again(ct, job["store"], job.get("options", {})), {}
    else:
        module = load(job["entry"], job["how"], folder)
        call, names = ct.dispatch_sync(module.main, store=job["store"], executor=EXECUTOR), vars(module)
    watch = Watch(job["root"])
    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        result = eval(f"__call__({job['args']})", {**names, "__call__": call})  # the case's own text
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if str(getattr(result.status, "value", result.status)) != "COMPLETED":
        return {"error": f"{result.status}: {result.error}"}
    nodes = statuses(ct, result, job["store"])
    return {
        "value": repr(result.result),
        "ran": sorted(name for name, status in nodes if status == "ran"),
        "hit": sorted(name for name, status in nodes if status == "hit"),
        "entered": sorted(watch.entered & {name for name, _ in nodes}),
    }


def answer_of(job: dict[str, Any]) -> dict[str, Any]:
    """Play the job in a fork of this process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        status = 1
        try:
            os.dup2(2, 1)  # what a project prints is not ours
            faulthandler.dump_traceback_later(LONGEST, exit=True)
            try:
                answer = play(job)
            except BaseException as error:  # noqa: BLE001  # SystemExit of a project is an answer too
                answer = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
            with os.fdopen(writer, "w", encoding="utf-8") as out:
                json.dump(answer, out)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        text = pipe.read()
    _, code = os.waitpid(child, 0)
    if not text:
        return {"error": f"the process ended with wait status {code}"}
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def main() -> None:
    for name in (*PRELOADED, *(HEAVY if "--heavy" in sys.argv else ())):
        with suppress(ImportError):
            importlib.import_module(name)
    for found in pkgutil.walk_packages(sys.modules["cas_engine"].__path__, "cas_engine."):
        importlib.import_module(found.name)  # what each fork would import by itself
    inspect.getsource(load)  # compiles the patterns of tokenize, once for all forks
    gc.freeze()
    answers = io.TextIOWrapper(os.fdopen(os.dup(1), "wb"), encoding="utf-8", line_buffering=True)
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(answer_of(json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
