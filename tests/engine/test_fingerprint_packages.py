"""What is installed counts by distribution and version, without metadata by content; what is the user's by its code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import cas_run
from cas_engine.fingerprint import Fingerprinter

ROOT = Path(__file__).parent.parent.parent
SCRIPT = """
import importlib, json, sys
sys.path[:0] = {paths!r}
from cas_engine.fingerprint import Fingerprinter, effective, version_of
module = importlib.import_module("wf")
found = Fingerprinter().of(module.task)
print(json.dumps([effective(found.code, found.packages).hex(), found.code.hex(), found.packages,
                  [version_of(each) for each in found.packages]]))
"""


class Project:
    """A script beside a folder of installed packages."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.site = root / "lib" / "site-packages"
        self.site.mkdir(parents=True)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def install(self, name: str, version: str, **files: str) -> None:
        for old in self.site.glob(f"{name.replace('-', '_')}-*.dist-info"):
            shutil.rmtree(old)
        for file, text in files.items():
            self.write(f"lib/site-packages/{file.replace('__', '/')}.py", text)
        folder = f"lib/site-packages/{name.replace('-', '_')}-{version}.dist-info"
        listed = [f"{file.replace('__', '/')}.py,," for file in files]
        self.write(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        self.write(f"{folder}/RECORD", "\n".join(listed) + "\n")

    def read(self) -> dict[str, Any]:
        """The fingerprint of wf.task, in a fresh process."""
        paths = [str(self.root), str(self.site), *(str(ROOT / part) for part in ("store", "engine"))]
        command = [sys.executable, "-B", "-c", SCRIPT.format(paths=paths)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        keyed, code, packages, versions = json.loads(done.stdout)
        return {
            "keyed": keyed,
            "code": code,
            "packages": packages,
            "versions": dict(zip(packages, versions, strict=True)),
        }


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_new_version_changes_the_key_and_not_the_code(project: Project) -> None:
    project.write("wf.py", "import lab\ndef task(x): return lab.scale(x)")
    project.install("lab", "1.0", lab="def scale(x): return x")
    before = project.read()
    project.install("lab", "1.1", lab="def scale(x): return x")
    after = project.read()
    assert before["packages"] == ["lab", "python"]
    assert (before["versions"]["lab"], after["versions"]["lab"]) == ("1.0", "1.1")
    assert before["code"] == after["code"]
    assert before["keyed"] != after["keyed"]


def test_the_content_of_an_installed_package_does_not_count(project: Project) -> None:
    project.write("wf.py", "from lab import scale\ndef task(x): return scale(x)")
    project.install("lab", "1.0", lab="def scale(x): return x")
    before = project.read()
    project.install("lab", "1.0", lab="def scale(x): return x + 1")
    assert project.read() == before


def test_a_distribution_may_be_called_otherwise_than_its_modules(project: Project) -> None:
    project.write("wf.py", "import lab.deep.maths as m\ndef task(x): return m.scale(x)")
    project.install("Scientific-Lab", "2.0", lab____init__="", lab__deep____init__="", lab__deep__maths="scale = len")
    assert project.read()["packages"] == ["Scientific-Lab", "python"]


def test_a_namespace_may_be_shared_by_distributions(project: Project) -> None:
    project.write("wf.py", "import org.one, org.two\ndef task(x): return org.two.f(x)")
    project.install("org-one", "1.0", org__one="def f(x): return 1")
    project.install("org-two", "2.0", org__two="def f(x): return 2")
    assert project.read()["packages"] == ["org-two", "python"]


def test_a_namespace_may_be_shared_with_the_user(project: Project) -> None:
    project.write("wf.py", "import org.one, org.mine\ndef task(x): return org.mine.f(x)")
    project.install("org-one", "1.0", org__one="def f(x): return 1")
    project.write("org/mine.py", "def f(x): return 2")
    before = project.read()
    project.write("org/mine.py", "def f(x): return 3")
    assert before["packages"] == ["python"]
    assert project.read()["code"] != before["code"]


def test_a_namespace_is_followed_in_the_body(project: Project) -> None:
    project.write("wf.py", "def task(x):\n    import org.two as two\n    return two.f(x)")
    project.install("org-one", "1.0", org__one="def f(x): return 1")
    project.install("org-two", "2.0", org__two="raise RuntimeError('imported')")
    assert project.read()["packages"] == ["org-two", "python"]


def test_a_package_without_metadata_counts_by_content(project: Project) -> None:
    project.write("wf.py", "import bare\ndef task(x): return bare.f(x)")
    project.write("lib/site-packages/bare/__init__.py", "from bare.inner import f")
    project.write("lib/site-packages/bare/inner.py", "def f(x): return 1")
    before = project.read()
    assert before["versions"]["bare"].startswith("content:")
    assert project.read() == before
    project.write("lib/site-packages/bare/inner.py", "def f(x): return 2")
    after = project.read()
    assert (after["code"], after["packages"]) == (before["code"], before["packages"])
    assert after["keyed"] != before["keyed"]


def test_an_editable_install_is_the_users_own_code(project: Project) -> None:
    project.write(
        "wf.py",
        "import sys; sys.path.append({!r})\nimport lab\ndef task(x): return lab.f(x)".format(str(project.root / "src")),
    )
    project.install("lab", "1.0")
    project.write("src/lab.py", "def f(x): return 1")
    before = project.read()
    project.write("src/lab.py", "def f(x): return 2")
    after = project.read()
    assert before["packages"] == ["python"]
    assert before["code"] != after["code"]


def test_a_package_imported_in_the_body_is_not_imported_to_find_out(project: Project) -> None:
    project.write(
        "wf.py", "def task(x):\n    import lab.sub\n    from lab import thing\n    return lab.sub.f(x), thing"
    )
    project.install("lab", "1.0", lab____init__="raise RuntimeError('imported')")
    assert project.read()["packages"] == ["lab", "python"]


def test_whether_a_package_is_loaded_yet_does_not_show(project: Project) -> None:
    project.install("tool", "1.0", tool__parts="class Part:\n    WIDTH = 3\n    def make(self): return 1\n")
    text = "from tool.parts import Part\nclass Own:\n    pass\ndef act(): pass\n"
    project.write("lib/site-packages/tool/__init__.py", text)
    bodies = [
        "import tool\n    return tool.Own()",
        "import tool\n    return tool.Part().make(), tool.Part.WIDTH",
        "from tool import Part, act\n    return Part, act",
        "from tool.parts import Part\n    return Part.WIDTH",
        "import tool.parts as parts\n    return parts.Part",
    ]
    for body in bodies:
        project.write("wf.py", f"def task():\n    {body}\n")
        alone = project.read()
        project.write("wf.py", f"import tool\ndef task():\n    {body}\n")
        assert project.read() == alone, body


def test_a_package_that_is_not_there_is_told_and_counts_when_it_comes(project: Project) -> None:
    project.write("wf.py", "def task(x):\n    import lab\n    return lab.f(x)")
    before = project.read()
    project.install("lab", "1.0", lab="def f(x): return x")
    assert project.read()["code"] != before["code"]


def test_a_module_of_the_users_may_be_called_as_one_of_pythons(project: Project) -> None:
    project.write("wf.py", "import statistics as s\ndef task(x): return s.mean(x)")
    project.write("statistics.py", "def mean(x): return 1")
    before = project.read()
    project.write("statistics.py", "def mean(x): return 2")
    assert project.read()["code"] != before["code"]


def test_a_compiled_extension_of_the_users_counts_by_content(project: Project) -> None:
    import _struct
    from importlib.machinery import EXTENSION_SUFFIXES

    path = getattr(_struct, "__file__", None)
    if path is None:
        pytest.skip("this Python has no extension in a file of its own")
    target = project.root / f"_struct{EXTENSION_SUFFIXES[0]}"
    target.write_bytes(Path(path).read_bytes())
    project.write(
        "wf.py",
        f"import importlib.util as u\nspec = u.spec_from_file_location('_struct', {str(target)!r})\n"
        "fast = u.module_from_spec(spec)\ncalc = fast.calcsize\ndef task(x): return fast.pack(x), calc(x)",
    )
    before = project.read()
    assert [name for name in before["packages"] if name.startswith("file:")] == [f"file:{target}"]
    target.write_bytes(Path(path).read_bytes() + b"\0")
    after = project.read()
    assert before["keyed"] != after["keyed"]


def test_the_metadata_of_packages_that_are_only_loaded_is_not_read(tmp_path: Path) -> None:
    script = tmp_path / "ask.py"
    script.write_text(
        "import sys, click, numpy, pandas\n"
        "from cas_engine.fingerprint import Fingerprinter\n"
        "def styled(): return click.style('x')\n"
        "read = []\n"
        "def note(event, of):\n"
        "    if event == 'open' and '.dist-info' in str(of[0]): read.append(of[0])\n"
        "sys.addaudithook(note)\n"
        "assert 'click' in Fingerprinter().of(styled).packages\n"
        "print(len(read))\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 20


def test_a_class_is_of_its_package_before_the_module_that_it_says_it_is_of_is_loaded(tmp_path: Path) -> None:
    """NumPy's recarray says that it is of numpy.rec, which nobody need have imported."""
    script = tmp_path / "ask.py"
    script.write_text(
        "import sys, numpy as np\n"
        f"sys.path[:0] = {[str(ROOT / part) for part in ('store', 'engine')]!r}\n"
        "from cas_engine.fingerprint import Fingerprinter\n"
        "made = np.array([(1,)], [('a', int)]).view(np.recarray)\n"
        "before = Fingerprinter().digest_value(made)\n"
        "import numpy.rec\n"
        "assert Fingerprinter().digest_value(made) == before\n"
        "assert not [each for each in Fingerprinter().of(type(made)).components if each.kind == 'class']\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["seed", "Result", "CasRunError"])
def test_where_in_our_own_packages_a_thing_lies_does_not_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprint(thing: object) -> bytes:
        space: dict[str, Any] = {"__name__": "wf", name: thing}
        exec(f"def task(): return {name}", space)
        found = Fingerprinter().of(space["task"])
        return found.code

    thing = getattr(cas_run, name)
    here = fingerprint(thing)
    home = sys.modules[thing.__module__]
    moved = ModuleType("cas_engine.elsewhere")
    vars(moved).update({each: value for each, value in vars(home).items() if each != "__name__"})
    monkeypatch.setitem(sys.modules, moved.__name__, moved)
    monkeypatch.setattr(thing, "__module__", moved.__name__)
    assert fingerprint(thing) == here
    assert fingerprint(cas_run.wait if name == "seed" else cas_run.NotFound) != here
