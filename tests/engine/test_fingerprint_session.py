"""What a session tells besides the digest: routes, packages, modules, what can't be followed, sources."""

from __future__ import annotations

import functools
import importlib
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from cas_engine.fingerprint import Fingerprint, Fingerprinter, effective
from cas_engine.values import File


class Space:
    """A folder of modules that can be imported, and that are forgotten afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known = set(sys.modules)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def load(self, **texts: str) -> Any:
        """Write modules, and import the last one."""
        for name, text in texts.items():
            self.write(f"{name}.py", text)
        importlib.invalidate_caches()
        return importlib.import_module(list(texts)[-1])

    def forget(self) -> None:
        for name in set(sys.modules) - self.known:
            if str(self.folder) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Space]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    space = Space(tmp_path)
    yield space
    space.forget()


def names(found: Fingerprint, kind: str) -> list[str]:
    return [component.name for component in found.components if component.kind == kind]


def test_the_root_comes_first_and_each_component_tells_what_reaches_it(space: Space) -> None:
    module = space.load(
        fs_helpers="RATE = 2\ndef scale(x): return x * RATE\ndef other(x): return x",
        fs_wf="import fs_helpers\ndef mid(x): return fs_helpers.scale(x)\ndef task(x): return mid(x)",
    )
    found = Fingerprinter().of(module.task)
    routes = {component.name: component.via for component in found.components}
    assert found.components[0].name == "fs_wf.task"
    assert routes["fs_wf.task"] == ""
    assert routes["fs_wf.mid"] == "fs_wf.task"
    assert routes["fs_helpers.scale"] == "fs_wf.mid"
    assert routes["fs_helpers.RATE"] == "fs_helpers.scale"
    assert "fs_helpers.other" not in routes
    assert found.modules == ("fs_helpers", "fs_wf")


def test_a_component_changes_alone(space: Space) -> None:
    module = space.load(fs_one="K = 1\ndef h(x): return x * K\ndef task(x): return h(x)")
    before = {c.name: c.digest for c in Fingerprinter().of(module.task).components}
    module.K = 2
    after = {c.name: c.digest for c in Fingerprinter().of(module.task).components}
    assert {name for name in before if before[name] != after[name]} == {"fs_one.K"}


def test_packages_are_named_without_their_versions_and_always_with_python() -> None:
    import numpy as np

    found = Fingerprinter().of(lambda x: np.linalg.norm(x) + 1)
    assert found.packages == ("numpy", "python")
    assert Fingerprinter().of(lambda x: x).packages == ("python",)
    told = {c.name: c.detail for c in found.components if c.kind == "package"}
    assert told["numpy"] == np.__version__


def test_the_type_of_a_value_names_its_package() -> None:
    import numpy as np

    table = {"a": [np.zeros(3)]}
    assert Fingerprinter().of(table["a"][0].sum).packages == ("numpy", "python")


def test_a_session_looks_at_an_object_once() -> None:
    held = [1]

    def task() -> list[int]:
        return held

    session = Fingerprinter()
    first = session.of(task)
    held.append(2)
    assert session.of(task) is first
    assert Fingerprinter().of(task).code != first.code


def test_what_is_asked_first_does_not_matter(space: Space) -> None:
    module = space.load(
        fs_order="def a(n): return T['b'](n) if n else 0\ndef b(n): return a(n) + S(n)\n"
        "class C:\n    def m(self): return C(), super().__init__()\n"
        "def S(n): return [f for f in {a, b}], C\nT = {'b': b, 'c': [C()]}"
    )
    targets = [module.a, module.b, module.S, module.C]
    one, two = Fingerprinter(), Fingerprinter()
    first = [one.of(each).code for each in targets]
    second = [two.of(each).code for each in reversed(targets)][::-1]
    assert first == second


def test_a_name_that_is_not_defined_is_told_and_counts(space: Space) -> None:
    module = space.load(fs_missing="def task(x): return later(x)")
    before = Fingerprinter().of(module.task)
    assert before.unresolved == ("fs_missing.later: not defined",)
    assert names(before, "unresolved") == ["fs_missing.later: not defined"]
    module.later = lambda x: x
    after = Fingerprinter().of(module.task)
    assert after.unresolved == ()
    assert after.code != before.code


def test_what_has_no_content_is_told_with_its_type_and_without_its_address(space: Space) -> None:
    module = space.load(
        fs_opaque="import sqlite3, threading, logging\nDB = sqlite3.connect(':memory:').cursor()\n"
        "LOCK = threading.Lock()\nLOG = logging.getLogger('x')\n"
        "def task(x):\n    with LOCK: LOG.info(x); return DB.execute(x)"
    )
    first, second = Fingerprinter().of(module.task), Fingerprinter().of(module.task)
    module.DB.connection.close()
    assert first.unresolved == ("fs_opaque.DB: Cursor has no stable content",)
    assert first == second
    assert not any("0x" in component.detail for component in first.components)


def test_what_a_function_writes_is_a_warning(space: Space) -> None:
    module = space.load(fs_writes="N = 0\ndef h():\n    global N\n    N = N + 1\n    return N\ndef task(): return h()")
    assert Fingerprinter().of(module.task).warnings == ("fs_writes.h writes the global N",)


def test_a_counter_is_a_warning_and_does_not_count(space: Space) -> None:
    module = space.load(fs_counts="N = 0\ndef task():\n    global N\n    N += 1\n    return 3")
    before = Fingerprinter().of(module.task)
    module.task()
    after = Fingerprinter().of(module.task)
    assert before.code == after.code
    assert after.warnings == ("fs_counts.task writes the global N",)


# --- declared dependencies


def test_a_module_that_is_depended_on_counts_as_a_whole(space: Space) -> None:
    module = space.load(fs_table="X = 1\ndef f(): return 2")
    before = Fingerprinter().of(len, [module])
    module.X = 2
    after = Fingerprinter().of(len, [module])
    assert before.code != after.code
    assert before.code != Fingerprinter().of(len).code
    assert "fs_table" in after.modules


def test_a_text_counts_as_it_is() -> None:
    codes = {Fingerprinter().of(len, [text]).code for text in ("a", "b")} | {Fingerprinter().of(len).code}
    assert len(codes) == 3


@pytest.mark.parametrize("kind", [Path, File])
def test_a_file_counts_by_content_and_not_by_its_place(kind: Any, tmp_path: Path) -> None:
    def keyed(path: Path) -> bytes:
        found = Fingerprinter().of(len, [kind(path)])
        return effective(found.code, found.packages)

    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("same")
    two.write_text("same")
    before = keyed(one)
    assert before == keyed(two)
    two.write_text("other")
    assert before != keyed(two)
    assert keyed(tmp_path / "none.txt") not in {before, keyed(two)}


def test_the_order_of_dependencies_does_not_count() -> None:
    assert Fingerprinter().of(len, ["a", "b"]).code == Fingerprinter().of(len, ["b", "a"]).code


# --- electrons


class Marked:
    """As much of an electron as a fingerprint sees."""

    def __init__(self, fn: Any, name: str, version: Any = None, depends_on: tuple[object, ...] = ()) -> None:
        self.fn, self.name, self.version, self.depends_on = fn, name, version, depends_on

    def __cas_code__(self) -> tuple[object, ...]:
        return ("electron", self.fn, self.version, False, self.depends_on, ())


def test_electrons_on_the_way_are_collected_and_their_names_do_not_count() -> None:
    def using(electron: Marked) -> Fingerprint:
        return Fingerprinter().of(lambda x: electron.fn(x) + 1)

    def inner(x: int) -> int:
        return x

    one, two = using(Marked(inner, "a")), using(Marked(inner, "b"))
    assert [name for name, *_ in one.electrons] == ["a"]
    assert one.code == two.code
    assert using(Marked(inner, "a", version=2)).code != one.code
    assert using(Marked(inner, "a", depends_on=("text",))).code != one.code
    assert using(Marked(lambda x: -x, "a")).code != one.code


# --- code from elsewhere


def test_code_that_came_out_of_a_pickle_is_the_same(space: Space) -> None:
    module = space.load(
        fs_pickled="import dataclasses, math\nK = 3\n@dataclasses.dataclass\nclass P:\n    x: int = 1\n"
        "    def m(self): return super().__repr__(), helper(self.x)\n"
        "def helper(x): return math.sqrt(x) * K\n"
        "def make(k):\n    def task(x, y=2): return helper(x) + P(y).m() + k\n    return task\ntask = make(4)"
    )
    cloudpickle.register_pickle_by_value(module)
    try:
        copy = cloudpickle.loads(cloudpickle.dumps(module.task))
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert copy is not module.task
    assert Fingerprinter().of(copy).code == Fingerprinter().of(module.task).code


def test_code_that_was_executed_has_a_fingerprint() -> None:
    def made(text: str) -> Any:
        namespace: dict[str, Any] = {}
        exec(text, namespace)
        return namespace["task"]

    one = made("def helper(x): return x\ndef task(x): return helper(x)")
    two = made("def helper(x): return -x\ndef task(x): return helper(x)")
    assert Fingerprinter().of(one).code != Fingerprinter().of(two).code


CALLABLES = {
    "a builtin": len,
    "a method of a type": str.upper,
    "a method of a list": [].append,
    "a method of a text": "a".join,
    "a type": int,
    "a class method in C": dict.fromkeys,
    "a partial": functools.partial(int, base=2),
    "a bound method": logging.getLogger("x").info,
    "a cache": functools.lru_cache(len),
    "a static method": staticmethod(len),
    "a property": property(len),
    "a method of a lock": threading.Lock().acquire,
    "nothing that can be called": Ellipsis,
    "a class of ours": Fingerprinter,
}


@pytest.mark.parametrize("thing", CALLABLES.values(), ids=list(CALLABLES))
def test_whatever_can_be_called_has_a_fingerprint(thing: Any) -> None:
    assert len(Fingerprinter().of(thing).code) == 16


def test_two_builtins_differ() -> None:
    assert Fingerprinter().of(len).code != Fingerprinter().of(sum).code
    assert Fingerprinter().of([1].append).code != Fingerprinter().of([2].append).code


# --- sources


def test_sources_are_those_of_the_code(space: Space) -> None:
    text = "K = 1\ndef helper(x):\n    return x * K\n\n\ndef task(x):\n    return helper(x)\n"
    module = space.load(fs_sources=text)
    session = Fingerprinter()
    found = session.of(module.task)
    sources = session.sources(found, module.task)
    assert sources == {
        "fs_sources.task": "def task(x):\n    return helper(x)\n",
        "fs_sources.helper": "def helper(x):\n    return x * K\n",
    }


def test_the_source_of_a_file_that_was_edited_since_is_not_told(space: Space) -> None:
    module = space.load(fs_edited="def helper(x):\n    return x\n\n\ndef task(x):\n    return helper(x)\n")
    session = Fingerprinter()
    found = session.of(module.task)
    space.write("fs_edited.py", "def helper(x):\n    return x + 100\n\n\ndef task(x):\n    return helper(x)\n")
    assert set(session.sources(found, module.task)) == {"fs_edited.task"}


# --- values


def test_a_function_in_an_argument_counts_by_what_it_reaches(space: Space) -> None:
    module = space.load(fs_argument="K = 1\ndef h(x): return x * K")
    before = Fingerprinter().digest_value({"f": [module.h]})
    assert Fingerprinter().digest_value({"f": [module.h]}) == before
    module.K = 2
    assert Fingerprinter().digest_value({"f": [module.h]}) != before


def test_threads_may_share_a_session(space: Space) -> None:
    text = "\n".join(f"def f{i}(x): return f{(i + 1) % 50}(x) + {i}" for i in range(50))
    module = space.load(fs_threads=text)
    session, found = Fingerprinter(), {}

    def ask(part: int) -> None:
        for number in range(part, 50, 4):
            found[number] = session.of(getattr(module, f"f{number}")).code
            session.digest_value([getattr(module, f"f{number}")])

    threads = [threading.Thread(target=ask, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = Fingerprinter()
    assert found == {number: alone.of(getattr(module, f"f{number}")).code for number in range(50)}


def test_a_chain_of_thousands_of_functions_is_no_problem(space: Space) -> None:
    text = "\n".join(f"def f{i}(x): return f{i + 1}(x) + 1" for i in range(3000)) + "\ndef f3000(x): return x"
    module = space.load(fs_chain=text)
    before = Fingerprinter().of(module.f0).code
    module.f3000 = lambda x: -x
    assert Fingerprinter().of(module.f0).code != before
