"""A dispatch leaves for another machine: another store, another process, and none of the code there."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import cas_run as ct
from cas_store import Store, Table

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Rounds

FLOW = """
    import numpy as np
    from helpers import Model, scale

    @ct.electron
    def load(n):
        mark("load")
        return np.arange(n * 20_000)

    @ct.electron
    def train(data, C):
        mark("train")
        return Model(scale(data.sum()), C)

    @ct.electron(stochastic=True)
    def judge(model):
        mark("judge")
        return model.score() + int.from_bytes(os.urandom(4), "big")

    @ct.lattice
    def flow(n=2, C=1.0):
        return judge(train(load(n), C))

    if __name__ == "__main__":
        show([ct.dispatch_sync(flow)().result, ct.resolve_id("@last")])
"""
HELPERS = """
    def scale(x):
        return float(x) / 1000

    class Model:
        def __init__(self, weight, C):
            self.weight, self.C = weight, C

        def score(self):
            return self.weight * self.C
"""


def cas_run(user: Any, *words: str, store: Path | None = None, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = user.environment(PYTHONWARNINGS="", **({} if store is None else {"CAS_RUN_STORE": str(store)}))
    return subprocess.run(
        [sys.executable, "-m", "cas_run", *words],
        cwd=user.root,
        env=environment,
        capture_output=True,
        timeout=60,
        **options,
    )


def test_where_the_code_is_not_all_of_it_works_on_what_came_along(user: Any) -> None:
    user.write("helpers.py", HELPERS)
    result, full = user.run(user.script(FLOW)).last
    assert cas_run(user, "export", "@last", "flow.bundle").returncode == 0
    again = cas_run(user, "export", full, "-")
    assert again.stdout == (user.root / "flow.bundle").read_bytes()
    shutil.rmtree(user.folder)
    shutil.rmtree(user.store)
    looked = cas_run(user, "import", "flow.bundle")
    assert looked.returncode == 2
    assert b"code of helpers" not in looked.stdout  # it came with the electrons, which are named
    assert b"load, train" in looked.stdout.replace(b"judge, ", b"")
    assert not user.store.exists()
    taken = cas_run(user, "import", "--trust", "-", input=again.stdout)
    assert (taken.returncode, taken.stderr) == (0, b"")
    user.ran()
    done = user.do(
        """
        show(ct.get_result(ct.redispatch("@last")(), wait=True).result)
        show(ct.get_result(ct.redispatch("@last~1")(C=2.0), wait=True).status.value)
        def judge(model):
            return model.C
        show(ct.get_result(ct.redispatch("@last", replace_electrons={"judge": judge})(), wait=True).result)
        """
    )
    assert done.shown == [result, "COMPLETED", 2.0]
    assert user.ran() == ["judge", "train"]


def test_what_was_broken_off_is_taken_up_elsewhere(user: Any, tmp_path: Path) -> None:
    """With what its parent had drawn: that was in force, and not written down yet."""
    user.write("helpers.py", HELPERS)
    script = user.script(
        FLOW.replace("show([", "first = [").replace('"@last")])', '"@last")]')
        + """
        if __name__ == "__main__":
            show(first[0])
            def scaled(data, C):
                mark("scaled")
                sys.stdin.readline()
                return Model(2.0, C)
            show(ct.redispatch(first[1], replace_electrons={"train": scaled})())
            time.sleep(60)
        """
    )
    program = user.start(script)
    program.shown()
    broken = program.shown()
    while not user.marked("scaled"):
        time.sleep(0.01)
    program.kill()
    other = tmp_path / "other"
    assert cas_run(user, "export", broken, "b.bundle").returncode == 0
    taken = cas_run(user, "import", "b.bundle", "--trust", store=other)
    assert taken.returncode == 0
    assert taken.stdout.count(b"INTERRUPTED") == 1
    assert taken.stdout.count(b"COMPLETED") == 1  # its parent, whose sample it keeps
    assert cas_run(user, "show", broken, store=other).returncode == 0
    assert cas_run(user, "export", broken, "-", store=other).stdout == (user.root / "b.bundle").read_bytes()


BAD = [
    ("export", "@last", "no/such/folder/x"),
    ("export", "ffff", "x"),
    ("export", "@last", "ffff", "x"),
    ("export", "@last", "."),
    ("export", "@last", "project/script.py"),
    ("import", "no such file", "--trust"),
    ("import", ".", "--trust"),
    ("import", "empty", "--trust"),
    ("import", "archive.tar", "--trust"),
    ("import", "archive.zip", "--trust"),
    ("import", "cut", "--trust"),
    ("import", "flipped", "--trust"),
    ("import", "longer", "--trust"),
    ("backup", "project"),
    ("backup", "store"),
    ("backup", "store/tmp"),
    ("backup", "."),
    ("backup", "empty"),
    ("backup", "no/such/folder"),
]


def test_bad_input_is_one_clear_line_and_status_3_and_changes_nothing(user: Any) -> None:
    user.write("helpers.py", HELPERS)
    user.run(user.script(FLOW))
    assert cas_run(user, "export", "@last", "bundle").returncode == 0
    whole = (user.root / "bundle").read_bytes()
    (user.root / "empty").touch()
    (user.root / "cut").write_bytes(whole[:-9])
    (user.root / "longer").write_bytes(whole + b"more")
    (user.root / "flipped").write_bytes(whole[:999] + bytes([whole[999] ^ 4]) + whole[1000:])
    for kind in ("tar", "zip"):
        shutil.make_archive(str(user.root / "archive"), kind, user.folder)
    before = _seen(user)
    for words in BAD:
        done = cas_run(user, *words, "--json")
        assert done.returncode == 3, (words, done.stderr)
        said = done.stderr.decode().splitlines()
        assert said[0].startswith("error: "), words
        assert said[1].startswith("  -> "), words
        assert len(said) == 2, words
    assert _seen(user) == before


def _seen(user: Any) -> Any:
    store = Store.open(user.store)
    with store.snapshot() as snapshot:
        rows = {table: list(snapshot.scan(table)) for table in Table}
    store.close()
    return rows, sorted(str(path) for path in user.root.rglob("*") if "live" not in path.parts)


@pytest.mark.promise("bundle")
def test_killed_anywhere_an_import_is_all_there_or_nothing(
    user: Any, tmp_path: Path, rounds: Rounds, seed: int
) -> None:
    user.write("helpers.py", HELPERS)
    _, full = user.run(user.script(FLOW.replace("20_000", "400_000"))).last
    assert cas_run(user, "export", full, "bundle").returncode == 0
    chance = random.Random(seed)
    program = """
import os, sys, cas_run as ct
from cas_store import Store
store = Store.open(os.environ["CAS_RUN_STORE"])
take = ct.import_bundle
print("begun", flush=True)
take("bundle", trust=True, store=store)
"""
    took = 0.0  # the first one is not killed
    for i in range(rounds(6, full=300)):
        other = tmp_path / f"other {i}"
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=user.root,
            env=user.environment(CAS_RUN_STORE=str(other)),
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            began = time.monotonic()
            if i:
                time.sleep(chance.random() * took)
                process.kill()
            process.wait()
            took = took or time.monotonic() - began
        store = Store.open(other)
        with store.snapshot() as snapshot:
            counts = [len(list(snapshot.scan(table))) for table in (Table.DISPATCHES, Table.TIMELINE, Table.RECORDS)]
            records = [row[16:32] for _, row in snapshot.scan(Table.RECORDS)]
        assert counts in ([0, 0, 0], [1, 1, 3])
        assert i or counts[0]
        assert store.find_missing(records) == set()
        assert list((other / "tmp").iterdir()) == []
        # Taken up, it is all there.
        assert ct.import_bundle(user.root / "bundle", trust=True, store=store).imported
        assert ct.get_result(full, store=store).status is ct.Status.COMPLETED
        store.close()
        shutil.rmtree(other)
