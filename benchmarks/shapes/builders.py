"""Contenders that are given a graph: written down as a module, a workflow or a file of rules, then run.

Writing it down is not measured for those with files of rules, which users have.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.shapes.graphs import PARENTS, step

Ready = Callable[[], tuple[Any, None]]


def hamilton(shape: str, size: int, folder: Path) -> Ready:
    """A function for each node, the parameters of which are the nodes that it reads; as source, which it hashes."""
    driver: Any = importlib.import_module("hamilton.driver")
    logging.getLogger("hamilton").setLevel(logging.ERROR)
    lines = ["from benchmarks.shapes.graphs import step"]
    for number, parents in enumerate(PARENTS[shape](size)):
        typed, given = (", ".join(f"n{each}{words}" for each in parents) for words in (": int", ""))
        lines.append(f"\n\ndef n{number}({typed}) -> int:\n    return step({number}, [{given}])")
    sys.path.insert(0, str(folder))
    (folder / "nodes.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    module = importlib.import_module("nodes")

    def ready() -> tuple[Any, None]:
        built = driver.Builder().with_modules(module).with_cache(path=str(folder / "kept")).build()
        last = f"n{size - 1}"
        return built.execute([last])[last], None

    return ready


def pydra(shape: str, size: int, folder: Path) -> Ready:
    """Its fields are fixed, so that no node may read a whole layer."""
    library: Any = importlib.import_module("pydra")
    mark: Any = importlib.import_module("pydra.mark")

    def three(number: int, a: int, b: int, c: int) -> int:
        return step(number, [each for each in (a, b, c) if each >= 0])

    three.__annotations__ = dict.fromkeys(("number", "a", "b", "c", "return"), int)  # pydra reads no names of types

    def ready() -> tuple[Any, None]:
        task = mark.task(three)
        flow = library.Workflow(name="flow", input_spec=["start"], start=0, cache_dir=str(folder))
        for number, parents in enumerate(PARENTS[shape](size)):
            given = [getattr(flow, f"n{each}").lzout.out for each in parents]
            a, b, c = [*given, -1, -1, -1][:3]
            flow.add(task(name=f"n{number}", number=number, a=a, b=b, c=c, cache_dir=str(folder)))
        flow.set_output([("out", getattr(flow, f"n{size - 1}").lzout.out)])
        with library.Submitter(plugin="serial") as submitter:
            submitter(flow)
        return flow.result().output.out, None

    return ready


def make(shape: str, size: int, folder: Path) -> Ready:
    def lines(number: int, parents: Sequence[int]) -> Iterator[str]:
        yield f"n{number}: {' '.join(f'n{each}' for each in parents)}\n\t@touch $@\n"

    write(folder / "Makefile", shape, size, f"all: n{size - 1}\n", lines)
    return run(["make", "--silent", "-j1", "all"], folder)


def ninja(shape: str, size: int, folder: Path) -> Ready:
    def lines(number: int, parents: Sequence[int]) -> Iterator[str]:
        yield f"build n{number}: touch {' '.join(f'n{each}' for each in parents)}\n"

    write(folder / "build.ninja", shape, size, "rule touch\n  command = touch $out\n", lines)
    return run([beside("ninja"), "-j1", "--quiet", f"n{size - 1}"], folder)


def snakemake(shape: str, size: int, folder: Path) -> Ready:
    def lines(number: int, parents: Sequence[int]) -> Iterator[str]:
        given = ", ".join(f'"n{each}"' for each in parents)
        yield f'rule r{number}:\n    input: [{given}]\n    output: "n{number}"\n    shell: "touch {{output}}"\n'

    write(folder / "Snakefile", shape, size, f'rule all:\n    input: "n{size - 1}"\n', lines)
    return run([beside("snakemake"), "--cores", "1", "--quiet", "all"], folder)


def write(file: Path, shape: str, size: int, head: str, lines: Callable[[int, Sequence[int]], Iterator[str]]) -> None:
    with file.open("w", encoding="utf-8") as written:
        written.write(head)
        for number, parents in enumerate(PARENTS[shape](size)):
            written.writelines(lines(number, parents))


def run(command: Sequence[str], folder: Path) -> Ready:
    def ready() -> tuple[None, None]:
        environment = {**os.environ, "XDG_CACHE_HOME": str(folder)}
        subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
        return None, None

    return ready


def beside(command: str) -> str:
    """The command of this environment, and not another that is on the path."""
    own = Path(sys.executable).with_name(command)
    return str(own) if own.exists() else shutil.which(command) or command
