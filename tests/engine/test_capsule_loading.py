"""Who has the recorded code gets their own objects back; who has other code, or none, still runs what was recorded."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cas_engine.capsules import capsule, codec, live
from cas_engine.capsules.frames import Kind, build, take_apart
from cas_engine.errors import CapsuleError, EnvironmentMismatch
from cas_engine.fingerprint import Fingerprinter

MODELS = """
    import dataclasses, enum

    K = 2

    class Model:
        def __init__(self, w): self.w = w
        def predict(self, x): return self.w * x * K

    class Kind(enum.Enum):
        A = 1

    @dataclasses.dataclass(frozen=True, slots=True)
    class Pair:
        a: int
        kind: Kind = Kind.A

    def free(x): return x + K
    """

SCRIPT = """
    import sys
    import models

    class Own:
        def __init__(self, x): self.x = x
        def twice(self): return self.x * 2 + models.K

    def work(n):
        import models as again
        return Own(n), again.Model(n), models.Kind.A

    def value():
        return {"own": Own(3), "model": models.Model(4), "kind": models.Kind.A, "pair": models.Pair(1),
                "function": models.free, "lambda": lambda x: x + models.K, "class": Own, "module": models}

    if __name__ == "__main__":
        from pathlib import Path
        from cas_engine.capsules import capsule, codec
        from cas_engine.fingerprint import Fingerprinter
        session = Fingerprinter()
        Path(sys.argv[1]).write_bytes(b"".join(codec.encode(value(), session).pieces))
        Path(sys.argv[1] + ".capsule").write_bytes(capsule.pack(work, session.of(work), session))
    """

# What is told of a stored value and of a capsule in a process of its own.
LOOK = """
    import importlib
    import json
    import sys
    from pathlib import Path

    from cas_engine.capsules import capsule, codec

    blob, *imported = sys.argv[1:]
    for name in imported:
        importlib.import_module(name)
    content = Path(blob).read_bytes()
    value, again = codec.decode(content), codec.decode(content)
    run = capsule.load(Path(blob + ".capsule").read_bytes())
    own, model, kind = run(3)
    models, script = sys.modules.get("models"), sys.modules.get("script")
    print(json.dumps({
        "values": [value["own"].twice(), value["model"].predict(2), repr(value["kind"]), repr(value["pair"]),
                   value["function"](1), value["lambda"](1), value["class"](1).twice(), value["module"].free(1)],
        "capsule": [own.twice(), model.predict(2), repr(kind)],
        "one class": [type(value["own"]) is type(again["own"]) is value["class"] is type(own),
                      type(value["model"]) is type(again["model"]) is type(model),
                      value["kind"] is again["kind"] is kind, value["pair"] == again["pair"]],
        "live": sorted(name for name, theirs, ours in [
            ("Model", getattr(models, "Model", None), type(value["model"])),
            ("Kind", getattr(models, "Kind", None), type(value["kind"])),
            ("free", getattr(models, "free", None), value["function"]),
            ("models", models, value["module"]),
            ("Own", getattr(script, "Own", None), value["class"]),
            ("work", getattr(script, "work", None), run)] if theirs is ours),
        "imported": sorted(name for name in ("models", "script") if name in sys.modules),
    }))
    """

RECORDED = {
    "values": [8, 16, "<Kind.A: 1>", "Pair(a=1, kind=<Kind.A: 1>)", 3, 3, 4, 3],
    "capsule": [8, 12, "<Kind.A: 1>"],
    "one class": [True, True, True, True],
}
ALL = ["Kind", "Model", "Own", "free", "models", "work"]


_RECORDED: dict[str, bytes] = {}


@pytest.fixture
def recorded(user: Any) -> Path:
    """A value, and beside it a capsule; their source lies in the user's folder, unchanged.

    Recorded once for all tests, by a script that ran as `__main__` in a folder that is another one now.
    """
    user.write("models.py", MODELS)
    script = user.write("script.py", SCRIPT)
    blob = Path(user.root / "blob")
    if not _RECORDED:
        user.run(script, str(blob), PYTHONHASHSEED="1")
        shutil.rmtree(user.folder / "__pycache__", ignore_errors=True)
        _RECORDED.update({name: (user.root / name).read_bytes() for name in ("blob", "blob.capsule")})
    for name, content in _RECORDED.items():
        (user.root / name).write_bytes(content)
    return blob


@pytest.fixture
def look(user: Any, recorded: Path) -> Any:
    def look(*imported: str, path: Path | None = None) -> dict[str, Any]:
        file = user.root / "look.py"
        file.write_text(textwrap.dedent(LOOK), encoding="utf-8")
        where = {"PYTHONPATH": str(path)} if path else {}
        seen: dict[str, Any] = json.loads(user.run(file, str(recorded), *imported, PYTHONHASHSEED="2", **where).out)
        return seen

    return look


def test_without_the_source_the_recorded_code_runs(look: Any) -> None:
    assert look() == {**RECORDED, "live": [], "imported": []}


def test_with_the_source_its_own_modules_are_imported_and_taken(user: Any, look: Any) -> None:
    seen = look(path=user.folder)
    # The script is not imported for this: it was `__main__`, and might do its work again.
    assert seen == {**RECORDED, "live": ["Kind", "Model", "free", "models"], "imported": ["models"]}


def test_a_script_that_is_imported_has_the_classes_that_it_recorded_as_main(user: Any, look: Any) -> None:
    seen = look("script", "models", path=user.folder)
    assert seen == {**RECORDED, "live": ALL, "imported": ["models", "script"]}


def test_where_the_source_was_edited_the_recorded_code_runs(user: Any, look: Any) -> None:
    user.write("models.py", MODELS.replace("K = 2", "K = 20"))
    user.write("script.py", SCRIPT.replace("* 2", "* 200"))
    seen = look("script", "models", path=user.folder)
    # What the edits do not reach is still the caller's own.
    assert seen == {**RECORDED, "live": ["Kind"], "imported": ["models", "script"]}


def test_edits_count_where_they_reach(user: Any, look: Any) -> None:
    user.write("script.py", SCRIPT.replace("self.x * 2", "self.x * 200"))
    seen = look("script", path=user.folder)
    assert seen == {**RECORDED, "live": ["Kind", "Model", "free", "models"], "imported": ["models", "script"]}


@pytest.mark.parametrize(
    "now",
    ["raise SystemExit(3)", "import no_such_module", "def (", "K = 1 / 0", "import script"],
    ids=["exits", "imports what is gone", "syntax error", "raises", "imports in a circle"],
)
def test_a_source_that_cannot_be_imported_any_more_does_no_harm(now: str, user: Any, look: Any) -> None:
    user.write("models.py", now)
    (user.folder / "script.py").unlink()
    assert look(path=user.folder) == {**RECORDED, "live": [], "imported": []}


def test_a_module_that_dispatches_when_it_is_imported_is_stopped(user: Any, look: Any) -> None:
    user.write(
        "models.py",
        """
        from cas_engine.capsules import live
        try:
            live.refuse_while_importing()  # as every dispatch begins
        except Exception:
            pass
        print("dispatched")
        """,
    )
    assert look(path=user.folder)["imported"] == []


def test_a_running_script_is_not_imported_a_second_time(user: Any, recorded: Path) -> None:
    # Recorded under the name `script` by somebody who imported it, looked at by the script itself.
    user.write(
        "recorder.py",
        """
        import sys, script
        from pathlib import Path
        from cas_engine.capsules import codec
        Path(sys.argv[1]).write_bytes(b"".join(codec.encode(script.Own(5)).pieces))
        """,
    )
    user.run(user.folder / "recorder.py", str(recorded))
    user.write(
        "script.py",
        SCRIPT.partition("if __name__")[0]
        + """
    print(__name__)
    from cas_engine.capsules import codec
    from pathlib import Path
    print(type(codec.decode(Path(sys.argv[1]).read_bytes())) is Own)
    """,
    )
    assert user.run(user.folder / "script.py", str(recorded)).out == "__main__\nTrue\n"


def test_recorded_bytes_are_the_same_in_every_process(user: Any, recorded: Path) -> None:
    for name, seed in [("one", "7"), ("other", "8")]:
        user.run(user.folder / "script.py", str(user.root / name), PYTHONHASHSEED=seed)
    for suffix in ("", ".capsule"):
        assert (user.root / f"one{suffix}").read_bytes() == (user.root / f"other{suffix}").read_bytes()


def test_the_header_is_read_without_loading_anything(recorded: Path) -> None:
    header = capsule.header(recorded.with_name("blob.capsule").read_bytes())
    assert (header.module, header.qualname, header.script, header.fault) == ("__main__", "work", "script", "")
    assert set(header.modules) >= {"models"}
    assert header.packages["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"script.Own", "models.Model"} <= {component.name for component in header.components}
    assert "def work(n)" in header.sources["script.work"]
    assert "models" not in sys.modules


# In one process


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Writes and imports modules of the user's; they are forgotten after the test."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def module(name: str, text: str) -> Any:
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        made.append(name)
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield module
    for name in made:
        sys.modules.pop(name, None)


def forget_classes() -> None:
    """As in another process."""
    live._own.clear()
    live._loaded.clear()


def packed(fn: Any) -> bytes:
    session = Fingerprinter()
    return capsule.pack(fn, session.of(fn), session)


def test_a_function_redefined_since_is_loaded_as_it_was(package: Any) -> None:
    module = package("redefined", "def g(n): return n + 1\ndef f(n): return g(n)")
    blob = packed(module.f)
    assert capsule.load(blob) is module.f
    module.g = lambda n: n - 1  # f is the same object, and does something else
    assert capsule.load(blob) is not module.f
    assert capsule.load(blob)(3) == 4


def test_code_loaded_by_value_leaves_the_globals_of_the_live_program_alone(package: Any) -> None:
    module = package("counting", "COUNT = 0\ndef f():\n    global COUNT\n    COUNT += 1\n    return COUNT")
    blob = packed(module.f)
    del sys.modules["counting"]
    live._unfit.add("counting")
    assert [capsule.load(blob)(), capsule.load(blob)()] == [1, 2]
    assert [capsule.load_anew(blob)[0](), capsule.load_anew(blob)[0]()] == [1, 1]
    assert module.COUNT == 0


def test_two_streams_that_hold_one_class_load_to_one_class(package: Any) -> None:
    module = package(
        "shared", "class P:\n    def go(self): return 1\ndef f(): return P()\ndef g(p): return isinstance(p, P)"
    )
    f, g, value = packed(module.f), packed(module.g), b"".join(codec.encode(module.P()).pieces)
    forget_classes()
    del sys.modules["shared"]
    live._unfit.add("shared")
    made = capsule.load(f)()
    assert type(made) is not module.P
    assert capsule.load(g)(made)
    assert type(codec.decode(value)) is type(made)


def test_threads_that_load_one_class_at_once_get_one_class(package: Any) -> None:
    module = package("raced", "class P:\n    pass\n" + "\n".join(f"def f{i}(): return P()" for i in range(8)))
    blobs = [packed(getattr(module, f"f{i}")) for i in range(8)]
    forget_classes()
    del sys.modules["raced"]
    live._unfit.add("raced")
    barrier = threading.Barrier(len(blobs))
    classes: set[type] = set()

    def load(blob: bytes) -> None:
        barrier.wait()
        classes.add(type(capsule.load(blob)()))

    threads = [threading.Thread(target=load, args=(blob,)) for blob in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(classes) == 1


def test_the_electron_of_a_name_and_its_function_are_told_apart(package: Any) -> None:
    module = package(
        "electrons",
        "from pathlib import Path\n"
        "from cas_engine.graphs.electron import electron\nfrom cas_engine.graphs.lattice import lattice\n"
        "@electron(depends_on=['a table'])\ndef f(n): return n\n@lattice\ndef whole(n): return f(n)",
    )
    session = Fingerprinter()
    declared = module.f.options.depends_on
    of_function = capsule.pack(module.f.fn, session.of(module.f.fn, declared), session)
    assert capsule.load(of_function) is module.f.fn
    assert capsule.load(packed(module.f)) is module.f
    assert capsule.load(packed(module.whole)) is module.whole


# What cannot be carried


def test_a_global_that_cannot_be_recorded_does_not_hinder_a_run_here(package: Any) -> None:
    module = package("connected", "import socket\nCONN = socket.socket()\ndef f(): return CONN.fileno() >= 0")
    try:
        blob = packed(module.f)
        assert "`CONN`" in capsule.header(blob).fault
        assert capsule.load(blob) is module.f
        del sys.modules["connected"]
        live._unfit.add("connected")
        with pytest.raises(CapsuleError, match=r"`CONN` of `connected`.*socket"):
            capsule.load(blob)
    finally:
        module.CONN.close()


def test_what_a_whole_module_holds_besides_is_left_out(package: Any) -> None:
    other = package("mixed", "import socket\nCONN = socket.socket()\ndef plus(n): return n + 1")
    try:
        package("asking", "import mixed\ndef f(n): return getattr(mixed, 'pl' + 'us')(n)")
        blob = packed(sys.modules["asking"].f)
        assert capsule.header(blob).fault == ""
        for name in ("mixed", "asking"):
            del sys.modules[name]
            live._unfit.add(name)
        assert capsule.load(blob)(1) == 2
    finally:
        other.CONN.close()


def changed(blob: bytes, **changes: object) -> bytes:
    """The capsule with another header."""
    frame = take_apart(blob)
    header = {**json.loads(bytes(frame.sections[0])), **changes}
    return b"".join(build(Kind.CAPSULE, frame.stream, [json.dumps(header).encode()], []).pieces)


def test_code_of_another_python_is_refused_plainly(package: Any) -> None:
    blob = packed(package("older", "def f(): return 'older'").f)
    del sys.modules["older"]
    live._unfit.add("older")
    with pytest.raises(EnvironmentMismatch, match=r"recorded under Python 3\.7.*\n  -> use Python 3\.7") as caught:
        capsule.load(changed(blob, python="3.7"))
    assert caught.value.differences == (("python", "3.7", ".".join(map(str, sys.version_info[:2]))),)


def test_a_missing_package_is_named_with_the_recorded_version(package: Any, tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    (site / "gone_pkg").mkdir(parents=True)
    (site / "gone_pkg" / "__init__.py").write_text("def g(): return 1")
    (site / "gone_pkg-1.2.dist-info").mkdir()
    (site / "gone_pkg-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: gone-pkg\nVersion: 1.2\n")
    (site / "gone_pkg-1.2.dist-info" / "RECORD").write_text("gone_pkg/__init__.py,,\n")
    sys.path.insert(0, str(site))
    try:
        blob = packed(package("needy", "import gone_pkg\ndef f(): return gone_pkg.g()").f)
    finally:
        sys.path.remove(str(site))
        for name in ("gone_pkg", "needy"):
            sys.modules.pop(name)
    live._unfit.add("needy")
    with pytest.raises(EnvironmentMismatch, match=r"gone_pkg") as caught:
        capsule.load(blob)
    assert caught.value.differences == (("gone-pkg", "1.2", "missing"),)


def test_a_value_of_a_class_that_is_gone_with_its_package_says_so(package: Any) -> None:
    with pytest.raises(EnvironmentMismatch, match="no_such_package"):
        codec.decode(b"\x8fcas\x01\x07\0\0" + b"cno_such_package\nThing\n.")
