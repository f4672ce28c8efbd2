"""`cas-run doctor` says what is wrong and what was done; every command notes damage that it came upon."""

from __future__ import annotations

import os

import pytest

from .conftest import Space

BIG = """
import cas_run as ct

@ct.electron
def big(n):
    return bytes(n)

@ct.electron
def size(content):
    return len(content)

@ct.lattice
def flow(n: int = 100_000):
    return size(big(n)), big(n)
"""


@pytest.fixture
def ran(space: Space) -> Space:
    space.write("big.py", BIG)
    assert space.run("run", "-q", "big.py").status == 0
    return space


def test_a_damaged_blob_is_told_mended_and_computed_again(ran: Space) -> None:
    assert ran.run("doctor").status == 0
    (file,) = ran.store.glob("blobs/*/*")
    file.chmod(0o600)
    with file.open("r+b") as opened:
        opened.write(b"damage")
    file.chmod(0o400)
    found = ran.run("doctor")
    assert found.status == 3
    assert f"blob {file.name}: its bytes do not have its digest" in found.out
    assert "--repair" in found.out
    told = ran.run("doctor", "--json", "--sample", "100%")
    assert (told.status, [each["kind"] for each in told.json["findings"]]) == (3, ["blob"])
    done = ran.run("run", "--json", "big.py")
    assert done.status == 0
    assert f"damaged: blobs {file.name}" in done.err
    assert "cas-run doctor" in done.err
    assert done.json["ran"] >= 1
    after = ran.run("doctor", "--repair", "--json")
    assert (after.status, after.json["findings"]) == (0, [])
    assert after.json["quarantine"][0]["what"] == f"blob {file.name}"


def test_a_damaged_file_of_rows_is_refused_by_each_command_and_mended(ran: Space) -> None:
    file = ran.store / "durable" / "data.mdb"
    content = bytearray(file.read_bytes())
    for at in range(8192, len(content), 4096):
        content[at + 12 : at + 16] = os.urandom(4)
    file.write_bytes(content)
    for words in (["list"], ["run", "big.py"], ["show", "@last"], ["result", "@last"], ["plan", "big.py"], ["stats"]):
        refused = ran.run(*words)
        assert refused.status == 3, (words, refused)
        assert refused.err.startswith("error: ")
        assert "-> `cas-run doctor --repair`" in refused.err
        assert refused.err.count("\n") == 2
    mended = ran.run("doctor", "--repair")
    assert "made anew" in mended.out
    assert ran.run("run", "-q", "big.py").status == 0
    assert ran.run("doctor", "--repair").status in (0, 3)
    assert "mended" not in ran.run("doctor", "--repair").out


def test_bad_input_is_one_line_and_a_next_step(space: Space) -> None:
    for words, status in ((["--store", "nowhere"], 3), (["--sample", "lots"], 2), (["--store", "big.py"], 3)):
        refused = space.run("doctor", *words)
        assert refused.status == status, refused
        assert refused.err.count("\n") == 2
        assert "-> " in refused.err
    assert "sample='lots'" in space.run("doctor", "--sample", "lots").err  # not by the name of another option
    assert not space.store.exists()
