"""The version of a distribution is the one that `importlib.metadata` tells, mostly without importing that."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cas_engine.fingerprint.versions import installed_version


def told(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def metadata(folder: Path, entry: str, version: str, file: str = "METADATA", name: str = "Some.Thing") -> None:
    (folder / entry).mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nVersion: 9 is what this text is about\n"
    (folder / entry / file).write_text(text)


def test_all_that_is_installed_here_has_the_version_that_its_metadata_say() -> None:
    names = {one.metadata["Name"] for one in importlib.metadata.distributions()}
    assert {name: installed_version(name) for name in names} == {name: told(name) for name in names}


def _wheel(there: Path) -> None:
    metadata(there, "some_thing-1.2.dist-info", "1.2")


def _egg_info(there: Path) -> None:
    metadata(there, "Some.Thing-1.3-py3.11.egg-info", "1.3", "PKG-INFO")


def _other_case(there: Path) -> None:
    metadata(there, "Some_Thing-1.4.dist-info", "1.4")


def _two(there: Path) -> None:
    metadata(there, "some_thing-1.5.dist-info", "1.5")
    metadata(there, "some_thing-1.6.dist-info", "1.6")


def _unlike_its_folder(there: Path) -> None:
    metadata(there, "some_thing-1.7.dist-info", "1.7.post3")


def _windows(there: Path) -> None:
    (there / "some_thing-1.8.dist-info").mkdir(parents=True)
    (there / "some_thing-1.8.dist-info" / "METADATA").write_bytes(b"Name: x\r\nversion:  1.8\r\n\r\nVersion: 2\r\n")


def _archive(there: Path) -> None:
    with zipfile.ZipFile(there / "all.zip", "w") as archive:
        archive.writestr("some_thing-1.9.dist-info/METADATA", "Name: some-thing\nVersion: 1.9\n\n")
    sys.path.insert(0, str(there / "all.zip"))


def _in_the_second_folder(there: Path) -> None:
    (there / "second").mkdir()
    metadata(there / "second", "some_thing-2.0.dist-info", "2.0")
    sys.path.append(str(there / "second"))


def _nowhere(there: Path) -> None:
    metadata(there, "some_thing_else-1.dist-info", "1", name="some-thing-else")
    sys.path.insert(0, str(there / "not there"))


@pytest.mark.parametrize(
    "put",
    [
        _wheel,
        _egg_info,
        _other_case,
        _two,
        _unlike_its_folder,
        _windows,
        _archive,
        _in_the_second_folder,
        _nowhere,
    ],
)
def test_wherever_the_metadata_lie(
    put: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    put(tmp_path)
    for name in ("some-thing", "Some.Thing", "some__thing"):
        assert installed_version(name) == told(name)
    assert (told("some-thing") is None) == (put is _nowhere)


def test_what_a_finder_of_somebody_else_tells_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Made(importlib.metadata.Distribution):
        def read_text(self, filename: str) -> str | None:
            return "Name: some-thing\nVersion: 3.0\n" if filename == "METADATA" else None

        def locate_file(self, path: object) -> Path:
            return Path(str(path))

    class Finder:
        def find_spec(self, *_: object) -> None:
            return None

        def find_distributions(self, context: importlib.metadata.DistributionFinder.Context) -> list[Made]:
            return [Made()] if context.name == "some-thing" else []

    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    assert installed_version("some-thing") == told("some-thing") == "3.0"


def test_the_plain_case_needs_no_parser_of_mail() -> None:
    program = (
        "import sys; from cas_engine.fingerprint.versions import installed_version; installed_version('lmdb');"
        "print('email' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_what_was_installed_from_a_folder_of_ones_own_counts_by_its_files_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "some_thing-1.2.dist-info"
    metadata(tmp_path, folder.name, "1.2")

    def installed(
        files: str, origin: str = '{"dir_info": {}, "url": "file:///home/me"}', by: str = "pip"
    ) -> str | None:
        (folder / "RECORD").write_text(files)
        (folder / "direct_url.json").write_text(origin)
        (folder / "INSTALLER").write_text(f"{by}\n")
        return installed_version("some-thing")

    listed = "some/a.py,sha256=aaa,3\nsome/b.py,sha256=bbb,4\n"
    first = installed(listed)
    assert first is not None
    assert first.startswith("1.2+")
    assert first == installed("some/b.py,sha256=bbb,4\r\nsome/a.py,sha256=aaa,3\r\n../../bin/x,sha256=ccc,5\r\n")
    assert first != installed(listed.replace("bbb", "bbc"))
    assert installed(listed, by="conda") == "1.2"
    assert installed(listed, '{"dir_info": {"editable": true}, "url": "file:///home/me"}') == "1.2"
    assert installed("some/a.py,,\n") == "1.2"
    (folder / "direct_url.json").unlink()
    assert installed_version("some-thing") == "1.2"
