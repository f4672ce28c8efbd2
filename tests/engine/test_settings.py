"""What is set once for all: the environment counts before the file, and a file that is not understood is refused."""

from __future__ import annotations

import pwd
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from cas_engine.bookkeeping.location import open_store
from cas_engine.bookkeeping.settings import choice, setting
from cas_engine.errors import BadOption, NoHome
from cas_store import Verify
from cas_store.errors import StoreRefused


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CAS_RUN_STORE", "CAS_RUN_AUDIT", "CAS_RUN_VERIFY", "CAS_RUN_COMPRESS"):
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


@pytest.mark.parametrize(
    "written", ["{}", "  {}  ", '"{}"', "'{}'", "{} # of this machine", "{}\t; of this machine", "{}\r"]
)
def test_a_value_is_what_it_is_meant_to_be(config: Path, written: str) -> None:
    config.write_bytes(b"\xef\xbb\xbf[cas-run]\nstore = " + written.format("/a#1/b;c's").encode() + b"\n")
    assert setting("store") == "/a#1/b;c's"


@pytest.mark.parametrize("text", ["[cas-run]\nstor = x\n", "store = x\n", "[cas-run\n"])
def test_a_file_that_is_not_understood_is_refused_by_name(config: Path, text: str) -> None:
    config.write_text(text)
    with pytest.raises(BadOption, match=r"config\.ini"):
        setting("store")


def test_how_blobs_are_verified_and_kept_is_set_for_a_store_when_it_is_opened(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("zstandard" if sys.version_info < (3, 14) else "compression.zstd")
    with open_store(tmp_path / "store") as store:
        assert (store.verify, store.compress) == (Verify.BOOT, False)
    config.write_text("[cas-run]\nverify = Always\ncompress = zstd\n")
    with open_store(tmp_path / "store") as store:
        assert (store.verify, store.compress) == (Verify.ALWAYS, True)
    monkeypatch.setenv("CAS_RUN_VERIFY", "process")
    monkeypatch.setenv("CAS_RUN_COMPRESS", "no")
    with open_store(tmp_path / "store") as store:
        assert (store.verify, store.compress) == (Verify.PROCESS, False)


@pytest.mark.parametrize(("name", "known"), [("verify", "`always`"), ("compress", "`zstd`")])
@pytest.mark.usefixtures("config")
def test_a_choice_that_is_not_known_is_refused_with_those_that_are(
    name: str, known: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CAS_RUN_{name.upper()}", "sometimes")
    with pytest.raises(BadOption, match=f"`{name} = sometimes`.*\n.*{known}"):
        open_store(tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_who_has_no_home_needs_none_where_all_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> NoReturn:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "CAS_RUN_CONFIG", "CAS_RUN_STORE", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    with open_store(tmp_path / "store") as store:
        assert store.path == tmp_path / "store"
    with pytest.raises(NoHome, match="set HOME; or name what is to be used: CAS_RUN_STORE"):
        open_store()
    monkeypatch.setenv("CAS_RUN_AUDIT", "sometimes")
    with pytest.raises(BadOption, match="CAS_RUN_CONFIG"):
        choice("audit", ["no"])
    monkeypatch.setenv("HOME", "/dev/null")
    assert setting("store") is None


def test_a_home_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreRefused, match="~nobody-here/store: there is no such home"):
        open_store("~nobody-here/store")
    assert not any(tmp_path.iterdir())
