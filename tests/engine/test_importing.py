"""Values and code that are loaded side by side import the packages that they need, each of them once and whole."""

from __future__ import annotations

import io
import pickle
import sys
import threading
from pathlib import Path

import pytest

from cas_engine.modules.importing import Unpickler


def test_a_part_of_a_package_waits_for_the_package_that_another_thread_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "slowly"
    package.mkdir()
    # The package imports its part only once the other thread has asked for that too.
    (package / "__init__.py").write_text(
        "import threading, builtins\n"
        "builtins.slowly_began.set()\n"
        "builtins.slowly_goes_on.wait(10)\n"
        "from slowly.part import Thing, last\n"
    )
    (package / "part.py").write_text("class Thing:\n    pass\nimport slowly\nlast = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    began, goes_on = threading.Event(), threading.Event()
    monkeypatch.setattr("builtins.slowly_began", began, raising=False)
    monkeypatch.setattr("builtins.slowly_goes_on", goes_on, raising=False)
    stream = b"cslowly.part\nThing\n."
    found: list[object] = []

    def load(of: bytes) -> None:
        try:
            found.append(Unpickler(io.BytesIO(of)).load())
        except BaseException as error:  # noqa: BLE001 - that is the question
            found.append(error)

    first = threading.Thread(target=load, args=(b"cslowly\nThing\n.",))
    second = threading.Thread(target=load, args=(stream,))
    first.start()
    assert began.wait(10)
    second.start()
    second.join(0.2)  # it waits for the package now; nothing tells when
    goes_on.set()
    first.join(10)
    second.join(10)
    try:
        assert [getattr(one, "__name__", one) for one in found] == ["Thing", "Thing"]
        assert pickle.loads(stream) is found[0]
    finally:
        for name in ("slowly", "slowly.part"):
            sys.modules.pop(name, None)
