"""A file counts by its content, and no way to change it goes unnoticed; unchanged, it is not read again."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

import pytest

from cas_engine.errors import Undigestible
from cas_engine.values import Digester, File, files
from cas_engine.values.pieces import Refusal

digest = Digester(lambda thing, where: bytes(16)).digest


def aged(path, seconds=10):
    """Make it look as if it had been written a while ago."""
    then = time.time_ns() - seconds * 10**9
    os.utime(path, ns=(then, then))
    return path


class Reader:
    """Reads files through stamps that are told otherwise, and counts how often."""

    def __init__(self, told=lambda stamp: stamp):
        self.count = 0
        self.readings = files.Readings(lambda path: told(files.stamp_of(path)), self.read)

    def read(self, path):
        self.count += 1
        return files.digest_content(path)

    def digest(self, path):
        return self.readings.digest(str(path))


def without_ctime(stamp):
    """Nobody can make a real ctime old. What remains is the trust in mtime, inode and size."""
    return stamp._replace(ctime_ns=0)


def coarse(stamp):
    """As FAT tells it: in steps of 2 s."""
    tick = 2 * 10**9
    return stamp._replace(mtime_ns=stamp.mtime_ns // tick * tick, ctime_ns=stamp.ctime_ns // tick * tick)


def test_a_file_counts_by_content_not_by_name_or_place(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b.txt").write_bytes(b"content")
    (tmp_path / "c").write_bytes(b"contents")
    assert digest(File(tmp_path / "a")) == digest(File(tmp_path / "folder" / "b.txt"))
    assert digest(File(tmp_path / "a")) != digest(File(tmp_path / "c"))
    assert digest(File(tmp_path / "a")) != digest(b"content")
    assert digest(File(tmp_path / "a")) != digest(tmp_path / "a")


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_every_byte_of_a_file_of_any_size_counts(tmp_path, size):
    content = bytearray(os.urandom(size))
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(content)
    assert digest(File(tmp_path / "a")) == digest(File(tmp_path / "b"))
    if size:
        content[-1] ^= 1
        (tmp_path / "b").write_bytes(content)
        assert digest(File(tmp_path / "a")) != digest(File(tmp_path / "b"))


def test_a_same_size_edit_right_after_is_seen(tmp_path):
    path = tmp_path / "a"
    for i in range(100):
        path.write_bytes(b"%4d" % i)
        one = digest(File(path))
        path.write_bytes(b"%4d" % (i + 1))
        assert digest(File(path)) != one


def test_a_same_size_edit_within_a_tick_of_a_coarse_clock_is_seen(tmp_path):
    path, reader = tmp_path / "a", Reader(coarse)
    for i in range(20):
        path.write_bytes(b"%4d" % i)
        one = reader.digest(path)
        path.write_bytes(b"%4d" % (i + 1))
        assert reader.digest(path) != one


def test_an_edit_that_puts_the_old_time_back_is_seen(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    aged(path)
    before = path.stat()
    one = digest(File(path))
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert digest(File(path)) != one


def test_another_file_moved_to_its_place_is_seen(tmp_path):
    path, other, reader = tmp_path / "a", tmp_path / "b", Reader(without_ctime)
    path.write_bytes(b"one")
    other.write_bytes(b"two")
    then = time.time_ns() - 10**10
    for file in (path, other):
        os.utime(file, ns=(then, then))
    one = reader.digest(path)
    other.rename(path)
    assert reader.digest(path) != one


def test_an_unchanged_file_is_read_once(tmp_path):
    path, reader = tmp_path / "a", Reader(without_ctime)
    path.write_bytes(b"content")
    aged(path)
    assert len({reader.digest(path) for _ in range(5)}) == 1
    assert reader.count == 1


def test_a_file_that_was_just_written_is_read_again(tmp_path):
    path, reader = tmp_path / "a", Reader()
    path.write_bytes(b"content")
    reader.digest(path)
    reader.digest(path)
    assert reader.count == 2


def test_a_time_in_the_future_is_not_trusted(tmp_path):
    path, reader = tmp_path / "a", Reader(without_ctime)
    path.write_bytes(b"content")
    aged(path, seconds=-3600)
    reader.digest(path)
    reader.digest(path)
    assert reader.count == 2


def test_a_file_that_keeps_changing_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"")

    def written_meanwhile(name):
        with path.open("ab") as file:
            file.write(b"more")
        return files.digest_content(name)

    with pytest.raises(Refusal, match="being written"):
        files.Readings(files.stamp_of, written_meanwhile).digest(str(path))


def test_a_file_that_changes_once_while_it_is_read_is_read_again(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    edits = [b"other"]

    def edited_meanwhile(name):
        read = files.digest_content(name)
        if edits:
            path.write_bytes(edits.pop())
        return read

    read = files.Readings(files.stamp_of, edited_meanwhile).digest(str(path))
    assert read == files.digest_content(str(path))


def test_what_cannot_be_read_is_refused_with_its_path(tmp_path):
    with pytest.raises(Undigestible, match="No such file") as caught:
        digest({"data": File(tmp_path / "none")}, "inputs")
    assert caught.value.where == 'inputs["data"]'
    assert str(tmp_path / "none") in str(caught.value)
    with pytest.raises(Undigestible, match="folder"):
        digest(File(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Undigestible, match="pipe"):
        digest(File(tmp_path / "pipe"))


def test_a_file_is_a_path_that_stays_where_it_was_meant(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"content")
    monkeypatch.chdir(tmp_path)
    file = File("a")
    monkeypatch.chdir("/")
    assert Path(file).read_bytes() == b"content"
    with open(file, "rb") as opened:  # noqa: PTH123 - that open takes it is what is tested
        assert opened.read() == b"content"
    assert file == File(tmp_path / "a") == pickle.loads(pickle.dumps(file))
    assert repr(file) == f"File({str(tmp_path / 'a')!r})"
    assert len({file, File(tmp_path / "a")}) == 1
