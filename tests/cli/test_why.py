"""Why something ran, what a change is worth, and whether results hold: told by the command, from what was recorded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .conftest import Space

HELPERS = """
OFFSETS = {"a": 1}

class Scale:
    def apply(self, x):
        return x * 2 + OFFSETS["a"]

def scale(x):
    return Scale().apply(x)
"""

WHY = """
import random
import cas_run as ct
import helpers

COUNT = 0

@ct.electron
def load(n):
    return list(range(n))

@ct.electron
def train(data, C, name="svm"):
    return [helpers.scale(x) * C for x in data if name]

@ct.electron
def noisy(n):
    return random.random()

@ct.electron
def counts(n):
    global COUNT
    COUNT += 1
    return n

@ct.lattice
def why(n: int = 3, C: float = 1.0):
    data = load(n)
    return train(data, C), train(data, 2.0), noisy(n), counts(n)
"""


@pytest.fixture
def why(space: Space) -> Space:
    """helpers.py and why.py, which has run twice: the second time after an edit of a method in helpers.py."""
    space.write("helpers.py", HELPERS)
    space.write("why.py", WHY)
    assert space.run("run", "why.py", "-q").status == 0
    edit(space, "helpers.py", "x * 2", "x * 30")
    return space


def edit(space: Space, name: str, old: str, new: str) -> None:
    file = space.folder / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_explain_shows_what_changed_how_it_is_reached_and_input_by_input_without_the_code(why: Space) -> None:
    assert "helpers.Scale.apply changed" in why.run("plan", "why.py").out
    assert why.run("run", "why.py", "-q", "-p", "C=1.5").status == 0
    for name in ("why.py", "helpers.py"):
        (why.folder / name).unlink()
    told = why.run("explain", "@last").out
    assert "-        return x * 2 + OFFSETS" in told
    assert "+        return x * 30 + OFFSETS" in told
    assert "reached by why.train -> helpers.scale -> helpers.Scale -> helpers.Scale.apply" in told
    assert "input C  changed  1.0 → 1.5" in told
    assert "3 more reused" in told
    one = why.run("explain", "@last", "train#0").out.splitlines()
    assert "  input data  unchanged  from load" in one
    both = why.run("explain", "@last", "train", "--json").json["nodes"]  # by the electron: all of its nodes
    assert [node["label"] for node in both] == ["train#0", "train#1"]
    assert [argument["what"] for argument in both[1]["inputs"]] == ["unchanged", "unchanged"]
    assert "note: why.counts writes the global COUNT" in why.run("explain", "@last", "counts").out


def test_a_table_of_globals_and_a_default_are_shown_before_and_after(why: Space) -> None:
    why.run("run", "why.py", "-q")
    edit(why, "helpers.py", '{"a": 1}', '{"a": 50}')
    edit(why, "why.py", 'name="svm"', 'name="forest"')
    assert why.run("run", "why.py", "-q").status == 0
    told = why.run("explain", "@last", "train#0").out
    assert "value helpers.OFFSETS: {'a': 1} → {'a': 50}" in told
    assert "value why.train(name=): 'svm' → 'forest'" in told


def test_an_accepted_change_is_a_hit_until_it_is_edited_further_or_taken_back(why: Space) -> None:
    first = why.run("result", "@last", "--node", "train#0", "--json").json["value"]
    why.run("run", "why.py", "-q")
    made = why.run("accept", "@last", "train#0", "--json").json
    assert (made["electron"], made["results"]) == ("train", "changed")
    assert why.run("plan", "why.py", "--check").status == 0
    assert why.run("run", "why.py", "--json").json["result"]["value"][0] == first  # what it was, not what it became
    assert made["against"][:12] in why.run("explain", "@last", "train#0").out
    assert f"accepted by {made['who']}" in why.run("show", "@last").out
    assert "x * 30" in why.run("accept", "--list").out

    edit(why, "helpers.py", "x * 30", "x * 400")
    assert "helpers.Scale.apply changed" in why.run("plan", "why.py").out
    edit(why, "helpers.py", "x * 400", "x * 30")
    assert why.run("accept", "--revoke", "no").status == 2
    assert why.run("accept", "--revoke", made["new"][:8]).status == 0
    assert why.run("run", "why.py", "--json").json["result"]["value"][0] != first
    assert why.run("accept").status == 2


def test_what_does_not_repeat_itself_is_named_by_verify_by_an_audit_and_by_every_run_without_reuse(why: Space) -> None:
    why.run("run", "why.py", "-q")
    checked = why.run("verify", "@last")
    assert checked.status == 1
    assert checked.out.startswith("noisy: different")
    assert "4 of 5 results came out as recorded" in checked.out
    assert "audit: 1 of 5 hits came out different: noisy" in why.run("run", "why.py", "-q", "--audit", "100%").err
    for words in (("run", "why.py"), ("redispatch", "@last")):
        again = why.run(*words, "--no-reuse", "-q")
        assert again.status == 0
        assert again.err.startswith("noisy: it came out different from its recorded result")
    assert "noisy: it came out different" in why.run("show", "@last").out
    trust = {one["electron"]: one for one in why.run("stats", "--json").json["trust"]}
    assert (trust["noisy"]["equal"], trust["train"]["equal"]) == (0, 4)


def test_diff_tells_how_much_results_differ_and_how_long_they_took(space: Space) -> None:
    space.write(
        "sizes.py",
        "import cas_run as ct\nimport numpy as np\n"
        "@ct.electron\ndef grid(n, k):\n    return {'a': np.arange(3) * k, 'n': n}\n"
        "@ct.electron\ndef one(n):\n    return n\n"
        "@ct.lattice\ndef sizes(n: int = 1, k: float = 1.0):\n    return grid(1, k), [one(i) for i in range(n)]\n",
    )
    space.run("run", "sizes.py", "-q")
    space.run("run", "sizes.py", "-q", "-p", "k=1.5", "-p", "n=2")
    out = space.run("diff", "@last~1", "@last").out
    assert "by at most 1 at ['a'], 2 numbers differ" in out
    assert "only in b" in out
    assert "  seconds    now" in out
    nodes = {node["label"]: node for node in space.run("diff", "@last~1", "@last", "--json").json["nodes"]}
    assert set(nodes["grid"]) >= {"cause", "amount", "seconds_a", "seconds_b"}


def test_a_plan_finds_a_damaged_blob_that_the_run_would_load(space: Space) -> None:
    space.write(
        "big.py",
        "import cas_run as ct\n"
        "@ct.electron\ndef big(n):\n    return bytes(n)\n"
        "@ct.electron\ndef size(data, k):\n    return len(data) + k\n"
        "@ct.lattice\ndef flow(k: int = 0):\n    return size(big(200_000), k)\n",
    )
    space.run("run", "big.py", "-q")
    blob = next(file for file in (space.store / "blobs").rglob("*") if file.is_file())
    blob.chmod(0o600)
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    planned = {n["label"]: n for n in space.run("plan", "big.py", "-p", "k=1", "--json").json["nodes"]}
    assert (planned["big"]["decision"], planned["big"]["reason"]) == ("miss", "its blob is damaged or gone")
    assert planned["size"]["reason"] == "input k 0 → 1"


def test_a_plan_without_reuse_says_that_every_node_runs(why: Space) -> None:
    for what in ("@last", "why.py"):
        planned = why.run("plan", what, "--no-reuse", "--json").json
        assert (planned["misses"], planned["unknown"]) == (5, 0)


def test_what_is_declared_with_depends_on_is_explained_like_what_is_reached(space: Space, tmp_path: Path) -> None:
    space.write("declared.py", "def f(x):\n    return 1\n")
    space.write("table.csv", "1\n")
    space.write(
        "dep.py",
        "import cas_run as ct\nimport declared\nfrom pathlib import Path\n"
        "@ct.electron(depends_on=[declared, Path('table.csv')])\ndef work(x):\n    return x\n"
        "@ct.lattice\ndef dep(x: int = 1):\n    return work(x)\n",
    )
    space.run("run", "dep.py", "-q")
    space.write("table.csv", "2\n")
    space.run("run", "dep.py", "-q")
    assert f"file {space.folder / 'table.csv'}: changed" in space.run("explain", "@last").out
    space.write("declared.py", "def f(x):\n    return 2\n")
    space.run("run", "dep.py", "-q")
    told = space.run("explain", "@last").out
    assert "reached by dep.work -> declared -> declared.f" in told
    assert "+    return 2" in told
    assert "table.csv" not in told  # which had changed before


def test_a_file_that_a_global_names_is_explained_as_a_file_from_another_folder_too(space: Space) -> None:
    for place, content in (("", "one"), ("moved", "one"), ("", "two"), ("moved", "three")):
        folder = space.folder / place
        folder.mkdir(exist_ok=True)
        (folder / "data.txt").write_text(content)
        (folder / "reads.py").write_text("""
import cas_run as ct
from pathlib import Path

DATA = ct.File(Path(__file__).parent / "data.txt")

@ct.electron
def read():
    return open(DATA).read()

@ct.lattice
def reads():
    return read()
""")
        planned = space.run("plan", str(folder / "reads.py")).out
        assert space.run("run", str(folder / "reads.py"), "-q").status == 0
        told = space.run("explain", "@last").out
        if (place, content) == ("moved", "one"):
            assert "1 hit" in planned
        elif content != "one":
            assert f"the file {folder / 'data.txt'} changed" in planned
            assert f"file {folder / 'data.txt'}: changed" in told


def test_inputs_are_shown_as_they_were_without_loading_their_classes(space: Space) -> None:
    space.write(
        "seen.py",
        "import cas_run as ct\nimport dataclasses, datetime, enum\n"
        "class Model:\n"
        "    def __init__(self, size):\n"
        "        self.size, self.inner = size, [Kind(size)]\n"
        "class Kind(enum.Enum):\n    SMALL = 1\n    LARGE = 2\n"
        "@ct.electron\ndef work(model, day):\n    return 1\n"
        "@ct.lattice\ndef seen(size: int = 1):\n    return work(Model(size), datetime.date(2025, 1, size))\n",
    )
    space.run("run", "seen.py", "-q")
    space.run("run", "seen.py", "-q", "-p", "size=2")
    (space.folder / "seen.py").write_text("raise SystemExit('imported')")
    told = space.run("explain", "@last").out
    assert "input model  changed  Model(size=1, inner=[Kind(1)]) → Model(size=2, inner=[Kind(2)])" in told
    assert "input day  changed  2025-01-01 → 2025-01-02" in told


def test_nodes_complete(why: Space) -> None:
    assert shutil.which("bash") or pytest.skip("no shell")
    env = why.environment(_CAS_RUN_COMPLETE="bash_complete", COMP_WORDS="cas-run explain @last tr", COMP_CWORD="3")
    offered = why.run(env=env).out
    assert "train#0" in offered
    assert "train#1" in offered
