"""What is set once for all: the environment counts before the file, and a file that is not understood is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cas_engine.errors import BadOption
from cas_engine.location import open_store
from cas_engine.settings import setting


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CAS_RUN_STORE", "CAS_RUN_AUDIT"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "config.ini"
    monkeypatch.setenv("CAS_RUN_CONFIG", str(path))
    return path


@pytest.mark.usefixtures("config")
def test_without_a_file_nothing_is_set() -> None:
    assert setting("store") is None


def test_the_file_names_the_store(config: Path, tmp_path: Path) -> None:
    config.write_text(f"[cas-run]\nstore = {tmp_path / 'here'}\n")
    with open_store() as store:
        assert store.path == tmp_path / "here"


def test_the_environment_counts_before_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("[cas-run]\naudit = 1%\n")
    assert setting("audit") == "1%"
    monkeypatch.setenv("CAS_RUN_AUDIT", "5%")
    assert setting("audit") == "5%"


@pytest.mark.parametrize("text", ["[cas-run]\nstor = x\n", "store = x\n", "[cas-run\n"])
def test_a_file_that_is_not_understood_is_refused_by_name(config: Path, text: str) -> None:
    config.write_text(text)
    with pytest.raises(BadOption, match=r"config\.ini"):
        setting("store")
