"""`export`, `import`, `backup` and `compact` as scripts see them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Space


def test_export_and_import_say_what_went_where(space: Space) -> None:
    full = space.run("run", "-q", "flow.py").out.strip()
    out = space.run("export", full[:8], "flow.bundle", "--json").json
    assert out == {
        "file": "flow.bundle",
        "dispatches": [full],
        "inner": 0,
        "records": 3,
        "blobs": out["blobs"],
        "evicted": 0,
        "size": (space.folder / "flow.bundle").stat().st_size,
    }
    looked = space.run("import", "flow.bundle", "--store", "other", "--json")
    assert looked.status == 2
    assert set(looked.json) == {"error", "bundle"}
    assert looked.json["error"]["kind"] == "TrustNeeded"
    assert not (space.folder / "other").exists()
    taken = space.run("import", "flow.bundle", "--trust", "--store", "other", "--json")
    assert taken.status == 0
    assert taken.json == {**looked.json["bundle"], "imported": True}
    assert {code["name"] for code in taken.json["code"]} == {"flow", "load", "total", "draw"}
    assert taken.json["new_records"] == 3
    shown = space.run("show", full, "--store", "other", "--json").json
    assert shown == space.run("show", full, "--json").json


def test_what_a_bundle_names_cannot_steer_the_terminal(space: Space) -> None:
    space.write("evil.py", 'import cas_run as ct\n@ct.electron(name="a\\x1b[2Jb")\ndef a(): return 1\n'
                "@ct.lattice\ndef flow(x: str = ''): return a()\n")  # fmt: skip
    space.run("run", "-q", "evil.py", "-p", "x=\x1b[31mred")
    space.run("export", "@last", "evil.bundle")
    looked = space.run("import", "evil.bundle", "-v")
    assert looked.status == 2
    assert "\x1b" not in looked.out


def test_a_bundle_goes_to_a_pipe_and_never_beside_an_answer(space: Space) -> None:
    space.run("run", "-q", "flow.py")
    assert space.run("export", "@last", "-", "--json").status == 2
    piped = subprocess.run(
        space.command("export", "@last", "-"), env=space.environment(), capture_output=True, check=True, timeout=60
    )
    space.run("export", "@last", "x")
    named = subprocess.run(
        space.command("export", "@last", "/dev/stdout"), env=space.environment(), capture_output=True, timeout=60
    )
    assert named.stdout == piped.stdout
    assert piped.stdout == (space.folder / "x").read_bytes()


def test_a_backup_is_told_and_can_be_asked_as_any_store(space: Space) -> None:
    full = space.run("run", "-q", "flow.py").out.strip()
    done = space.run("backup", "copy", "--json")
    assert done.status == 0
    assert set(done.json) == {"path", "copied", "kept", "removed", "missing", "size"}
    assert space.run("list", "-q", "--store", "copy").out.split() == [full]
    assert space.run("backup", "copy").status == 0


def test_compacting_tells_how_much_it_gave_back(space: Space) -> None:
    space.run("run", "-q", "flow.py")
    done = space.run("compact", "--json")
    assert done.status == 0
    assert done.json["before"] >= done.json["after"] > 0
    assert space.run("list", "-q").status == 0
