"""Pickle finds what recorded code hands it, by name, with its source gone or another; the program finds no trace."""

from __future__ import annotations

import importlib
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cas_engine.capsules import capsule, live
from cas_engine.capsules.presence import within_its_program
from cas_engine.fingerprint import Fingerprinter

TEXT = """
import pickle
class Model:
    level = {level}
def dumped(wait):
    wait()
    return pickle.dumps(Model())
def there_and_back(wait):
    wait()
    found = pickle.loads(pickle.dumps(Model()))
    return found.level, type(found) is Model
"""


def nothing() -> None:
    """There is nothing to wait for."""


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """A function of the module `gone` as it was with this level; where `here` says so, another module has its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(name: str, level: int, *, here: int | None = None) -> Any:
        for written in (level, here):
            sys.modules.pop("gone", None)
            if written is None:
                live._unfit.add("gone")
                (tmp_path / "gone.py").unlink()
                break
            (tmp_path / "gone.py").write_text(TEXT.format(level=written), encoding="utf-8")
            importlib.invalidate_caches()
            module: Any = importlib.import_module("gone")
            if written == level:
                session = Fingerprinter()
                fn = getattr(module, name)
                blob = capsule.pack(fn, session.of(fn), session)
        live._own.clear()
        return within_its_program(capsule.load_anew(blob)[0])

    yield load
    sys.modules.pop("gone", None)
    live._unfit.discard("gone")


def test_what_is_pickled_comes_back_as_it_was_recorded(recorded: Callable[..., Any]) -> None:
    assert recorded("there_and_back", 1)(nothing) == (1, True)


def test_beside_another_module_of_that_name_too(recorded: Callable[..., Any]) -> None:
    assert recorded("there_and_back", 1, here=2)(nothing) == (1, True)
    assert sys.modules["gone"].Model.level == 2


def test_two_programs_at_once_find_each_their_own(recorded: Callable[..., Any]) -> None:
    functions = [recorded("there_and_back", level) for level in (1, 2)]
    both, found = threading.Barrier(2), dict[int, Any]()

    def call(at: int) -> None:
        found[at] = functions[at](both.wait)

    threads = [threading.Thread(target=call, args=(at,)) for at in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == {0: (1, True), 1: (2, True)}


def test_nothing_of_it_stays(recorded: Callable[..., Any]) -> None:
    main, finders = set(vars(sys.modules["__main__"])), list(sys.meta_path)
    blob = recorded("dumped", 1)(nothing)
    assert "gone" not in sys.modules
    assert set(vars(sys.modules["__main__"])) == main
    assert sys.meta_path == finders
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(blob)
