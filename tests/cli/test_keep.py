"""A store is kept small from the command line: told where its bytes are, what would go, and what went."""

from __future__ import annotations

from typing import Any

import pytest

Space = Any  # the fixture's own

FLOW = """
import cas_run as ct

@ct.electron
def big(n):
    return bytes([n]) * 200_000

@ct.electron
def size(data, k):
    return len(data) + k

@ct.lattice
def keep(n: int = 1, k: int = 0):
    return size(big(n), k)
"""


def refused(space: Space, status: int, *words: str) -> dict[str, Any]:
    done = space.run(*words, "--json")
    assert done.status == status
    error: dict[str, Any] = done.json["error"]
    return error


@pytest.fixture
def keep(space: Space) -> Space:
    space.write("keep.py", FLOW)
    for n in (1, 2):
        space.run("run", "keep.py", "-q", "-p", f"n={n}", "-p", f"k={n}")
    return space


def test_du_tells_each_byte_once_and_stats_what_it_was_good_for(keep: Space) -> None:
    du = keep.run("du", "--json").json
    for sums in (du["kinds"], du["lattices"]):
        assert sum(one["bytes"] for one in sums) == du["bytes"]
        assert sum(one["blobs"] for one in sums) == du["blobs"]
    assert {one["name"] for one in du["kinds"]} >= {"results", "code", "manifests"}
    assert du["electrons"][0]["electron"] == "big"
    assert du["electrons"][0]["results"] == 2
    assert 200_000 < du["evictable_bytes"] < 201_000
    stats = keep.run("stats", "--json").json
    assert (stats["entries"], stats["evicted"], stats["bytes"]) == (4, 0, du["bytes"])
    assert stats["lattices"][0]["hit_rate"] == 0.0
    assert "gc would free" in keep.run("du").out
    assert "the biggest: big" in keep.run("stats").out


def test_gc_does_what_its_dry_run_said_and_a_redispatch_brings_it_back(keep: Space) -> None:
    would = keep.run("gc", "--max-size", "0", "--dry-run", "--json").json
    done = keep.run("gc", "--max-size", "0", "--json").json
    assert done | {"dry_run": True, "rows": 0} == would
    assert (done["evicted"], done["over"] > 0) == (2, True)
    assert keep.run("du", "--json").json["bytes"] == done["bytes_after"]
    first = keep.run("list", "--json").json["dispatches"][1]["dispatch_id"]
    lost = refused(keep, 1, "result", first)
    assert (lost["kind"], lost["exit_status"]) == ("ResultEvicted", 1)
    assert first[:12] in lost["advice"]
    shown = keep.run("show", first, "--json").json
    assert "evicted" in shown["result"]["error"]
    assert keep.run("show", first).status == 0
    planned = keep.run("plan", first, "--json").json
    assert [node["reason"] for node in planned["nodes"]] == ["its result was evicted"] * 2
    again = keep.run("redispatch", first, "--json").json
    assert (again["ran"], again["result"]["value"]) == (2, 200_001)
    assert keep.run("result", first).out == "200001\n"  # one blob, whoever brings it back


def test_pins_are_kept_listed_and_taken_back(keep: Space) -> None:
    keep.run("pin", "@last~1")
    (pinned,) = keep.run("pin", "--json").json["pinned"]
    assert keep.run("gc", "--max-size", "0", "--json").json["evicted"] == 0
    assert "pinned" in refused(keep, 2, "rm", "@last~1")["message"]
    assert keep.run("unpin", pinned[:8], "--json").json == {"unpinned": [pinned]}
    assert keep.run("gc", "--max-size", "0", "--json").json["evicted"] == 2
    assert "2 results of it were evicted before" in keep.run("pin", pinned).err


def test_what_is_asked_for_wrongly_changes_nothing(keep: Space) -> None:
    before = keep.run("du", "--json").json
    for words, status in (
        (("gc", "--max-size", "20 zebras"), 2),
        (("gc", "--older-than", "30"), 2),
        (("gc", "--keep-last", "-1"), 2),
        (("pin", "ffffffff"), 3),
        (("unpin", "ffffffff"), 3),
        (("du", "--store", "nowhere"), 3),
    ):
        assert refused(keep, status, *words)["advice"]
    assert keep.run("du", "--json").json == before


def test_a_budget_in_the_config_is_kept_without_being_asked(keep: Space) -> None:
    config = keep.write("config.ini", "[cas-run]\nmax-size = 500kB\n")
    for n in range(3, 8):
        done = keep.run(
            "run", "keep.py", "--json", "-p", f"n={n}", env=keep.environment(CAS_RUN_CONFIG=str(config))
        ).json
        assert done["result"]["value"] == 200_000
    assert keep.run("du", "--json").json["bytes"] < 500_000
    assert keep.run("result", "@last").out == "200000\n"
    wrong = keep.run("run", "keep.py", env=keep.environment(CAS_RUN_MAX_SIZE="much"))
    assert (wrong.status, "`max-size = much` (CAS_RUN_MAX_SIZE or" in wrong.err) == (2, True), wrong.err


def test_of_an_empty_store_there_is_a_line_or_two(space: Space) -> None:
    home = space.environment(XDG_DATA_HOME=str(space.home / "data"))
    del home["CAS_RUN_STORE"]
    for command in ("du", "stats"):
        done = space.run(command, env=home)
        assert (done.status, done.out.strip()) == (0, done.out.rstrip("\n")), done
        assert "0 B in 0 blobs" in done.out
