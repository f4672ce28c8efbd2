"""`file.py:name` and `package.module:name` are found as Python would; where not, one clear line says why."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cas_run import loading
from cas_run.loading import LoadingError, load_callable, load_lattice

from .conftest import Space

FLOW = """
import cas_run as ct

@ct.electron
def double(x):
    return 2 * x

@ct.lattice
def flow(x=1):
    return double(x)
"""

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes files below an empty working folder; afterwards what was imported from there is forgotten."""
    monkeypatch.chdir(tmp_path)
    modules, path = dict(sys.modules), list(sys.path)

    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    yield write
    sys.modules.clear()
    sys.modules.update(modules)
    sys.path[:] = path
    loading._folders.clear()


def refused(text: str, load: Callable[[str], object] = load_lattice) -> str:
    with pytest.raises(LoadingError) as caught:
        load(text)
    return str(caught.value)


def test_a_lattice_in_a_file(write: Write) -> None:
    write("work/flow.py", FLOW)
    assert load_lattice("work/flow.py:flow").name == "flow"


def test_an_absolute_path_will_do(write: Write) -> None:
    assert load_lattice(f"{write('flow.py', FLOW)}:flow").name == "flow"


def test_the_only_lattice_needs_no_name(write: Write) -> None:
    write("flow.py", FLOW)
    assert load_lattice("flow.py").name == "flow"


def test_of_several_one_must_be_named(write: Write) -> None:
    write("flow.py", FLOW + "@ct.lattice\ndef other(): ...\n")
    assert refused("flow.py") == ("there are 2 lattices in flow.py\n  -> say which one: flow.py:flow or flow.py:other")


def test_an_imported_lattice_does_not_count_beside_an_own_one(write: Write) -> None:
    write("parts.py", FLOW)
    write(
        "main_flow.py",
        "from parts import flow\nimport cas_run as ct\n@ct.lattice\ndef own(): return flow()\n",
    )
    assert load_lattice("main_flow.py").name == "own"


def test_a_file_imports_what_lies_beside_it_and_is_imported_once(write: Write) -> None:
    write("work/beside.py", "import flow\nNUMBER = 3\n")
    write("work/flow.py", "import beside\n" + FLOW)
    lattice = load_lattice("work/flow.py:flow")
    assert sys.modules["beside"].NUMBER == 3
    assert sys.modules["beside"].flow.flow is lattice
    assert load_lattice("work/flow.py:flow") is lattice


def test_what_only_a_script_does_is_not_done(write: Write) -> None:
    write("flow.py", FLOW + 'if __name__ == "__main__":\n    raise SystemExit("ran as a script")\n')
    assert load_lattice("flow.py:flow").name == "flow"


def test_a_lattice_in_a_package_by_module_or_attribute(write: Write) -> None:
    write("pkg/__init__.py", "")
    write("pkg/parts.py", "SCALE = 2\n")
    write("pkg/flow.py", "from . import parts\n" + FLOW + "class Flows:\n    main = flow\n")
    assert load_lattice("pkg.flow:flow").name == "flow"
    assert load_lattice("pkg.flow:Flows.main").name == "flow"


def test_a_replacement_may_be_an_electron_or_any_function(write: Write) -> None:
    write("flow.py", FLOW + "def plain(x): return x\nclass Model:\n    def score(self): ...\n")
    assert load_callable("flow.py:double").name == "double"  # type: ignore[attr-defined]
    assert load_callable("flow.py:plain")(3) == 3
    assert load_callable("math:sqrt")(4) == 2
    assert callable(load_callable("flow.py:Model.score"))


def test_a_replacement_needs_a_name(write: Write) -> None:
    write("flow.py", FLOW)
    assert "does not say which function" in refused("flow.py", load_callable)
    write("numbers_only.py", "X = 3\n")
    assert "`X` in numbers_only.py is of type int, not a function" in refused("numbers_only.py:X", load_callable)


def test_a_missing_file_names_the_nearest(write: Write) -> None:
    write("flow.py", FLOW)
    assert refused("flwo.py:flow") == "there is no file flwo.py\n  -> did you mean flow.py?"
    assert "there is no folder nowhere" in refused("nowhere/flow.py:flow")


def test_a_folder_is_no_file(write: Write) -> None:
    write("work/flow.py", FLOW)
    assert "is a folder, not a Python file" in refused("./work:flow")


def test_a_missing_module_is_told_from_a_missing_import(write: Write) -> None:
    write("flow.py", FLOW)
    write("needy.py", "import not_installed_anywhere\n")
    assert "there is no module `nowhere.at_all`" in refused("nowhere.at_all:flow")
    assert "importing needy fails" in refused("needy:flow")
    assert "ModuleNotFoundError: No module named 'not_installed_anywhere'" in refused("needy.py:flow")


def test_a_syntax_error_shows_its_line(write: Write) -> None:
    write("flow.py", "import cas_run\nx = = 1\n")
    message = refused("flow.py:flow")
    assert "flow.py has a syntax error" in message
    assert "line 2" in message
    assert "x = = 1" in message


def test_an_exception_at_import_shows_the_users_frames_only(write: Write) -> None:
    write("broken.py", "def work():\n    return 1 / 0\n\nwork()\n")
    message = refused("broken.py:flow")
    assert "ZeroDivisionError: division by zero" in message
    assert "in work" in message
    assert "importlib" not in message
    assert "cas_run" not in message
    assert "broken" not in sys.modules


def test_a_file_that_exits_when_imported_says_what_to_do(write: Write) -> None:
    write("script.py", "import sys\nsys.exit(3)\n")
    assert 'if __name__ == "__main__":' in refused("script.py:flow")


def test_a_file_of_a_package_is_pointed_to_the_module(write: Write) -> None:
    write("pkg/__init__.py", "")
    write("pkg/flow.py", "from . import parts\n" + FLOW)
    assert "give pkg.flow:flow" in refused("pkg/flow.py:flow")


def test_a_name_that_is_not_there_names_the_nearest(write: Write) -> None:
    write("flow.py", FLOW)
    assert "did you mean `flow`?" in refused("flow.py:flwo")
    assert "it has `flow`" in refused("flow.py:zzz")


def test_what_is_no_lattice_is_named_for_what_it_is(write: Write) -> None:
    write("flow.py", FLOW + "def plain(): ...\n")
    assert "`double` in flow.py is an electron, not a lattice" in refused("flow.py:double")
    assert "`plain` in flow.py is of type function, not a lattice" in refused("flow.py:plain")
    write("empty.py", "")
    assert "there is no lattice in empty.py" in refused("empty.py")


def test_a_file_called_like_a_module_in_use_is_refused(write: Write) -> None:
    write("json.py", FLOW)
    assert "would be the module `json`, and that is loaded already" in refused("json.py:flow")
    write("my-flow.py", FLOW)
    assert "can't be a module's name" in refused("my-flow.py:flow")


def test_two_folders_with_modules_of_one_name_are_not_mixed(write: Write) -> None:
    for folder in ("a", "b"):
        write(f"{folder}/parts.py", f"WHERE = {folder!r}\n")
        write(f"{folder}/flow_{folder}.py", "import parts\n" + FLOW)
    load_lattice("a/flow_a.py")
    assert "have a module `parts`" in refused("b/flow_b.py")


def test_ctrl_c_while_importing_is_ctrl_c(write: Write) -> None:
    write("flow.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_lattice("flow.py")


def test_an_edit_within_a_second_of_the_last_run_is_seen(space: Space) -> None:
    # Python tells files from their bytecode by whole seconds and sizes: to it, these three are the same.
    texts = {
        "quick.py": "import cas_run as ct\nimport pack.helper\n"
        "@ct.electron\ndef one(n):\n    return pack.helper.f(n) + {k}\n"
        "@ct.lattice\ndef quick(n: int = 1):\n    return one(n)\n",
        "pack/helper.py": "def f(n):\n    return n * {k}\n",
    }
    second = time.time_ns() // 10**9 + 5
    seen = []
    for k in (2, 3, 4):
        for name, text in texts.items():
            os.utime(space.write(name, text.replace("{k}", str(k))), ns=(second * 10**9 + k,) * 2)
        seen.append(space.run("run", "quick.py", "--json").json["result"]["value"])
    assert seen == [4, 6, 8]
