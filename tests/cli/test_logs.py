"""`cas-run logs`: what electrons printed, while they run and afterwards; and where they run."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

Space = Any  # the fixture's own

TALKS = """
import os, sys, time
import cas_run as ct

@ct.electron
def talk(n):
    print("out", n)
    print("err", n, file=sys.stderr)
    return os.getpid()

@ct.lattice
def flow():
    return [talk(n) for n in range(2)]
"""

STUCK = """
import os, sys, time
import cas_run as ct

@ct.electron
def stuck():
    print("pid", os.getpid())
    while True:
        time.sleep(0.1)

@ct.lattice
def flow():
    return stuck()
"""


def test_what_electrons_print_is_shown_node_by_node(space: Space) -> None:
    space.write("talks.py", TALKS)
    done = space.run("run", "talks.py", "--json")
    assert sorted(line for line in done.err.splitlines() if line[:3] in ("out", "err")) == [
        "err 0",
        "err 1",
        "out 0",
        "out 1",
    ]
    shown = space.run("logs", "@last").out.splitlines()
    assert sorted(shown) == ["talk#0 | err 0", "talk#0 | out 0", "talk#1 | err 1", "talk#1 | out 1"]
    assert sorted(space.run("logs", "@last", "talk#1").out.splitlines()) == ["err 1", "out 1"]
    found = space.run("logs", "@last", "talk#0", "--json").json
    assert found["dispatch_id"] == done.json["dispatch_id"]
    assert {(one["node"], one["stream"], one["text"]) for one in found["printed"]} == {
        ("talk#0", "stdout", "out 0\n"),
        ("talk#0", "stderr", "err 0\n"),
    }
    assert space.run("logs", "@last", "walk").status == 4
    space.run("run", "talks.py")
    reused = space.run("logs", "@last", "talk#1")
    assert (reused.status, reused.out) == (0, "")
    assert done.json["dispatch_id"][:12] in reused.err
    space.run("run", "talks.py")
    again = space.run("logs", "@last")
    assert (again.status, again.out) == (0, "")
    assert again.err.startswith("nothing ran there")


def test_the_command_runs_electrons_in_processes_unless_told_otherwise(space: Space) -> None:
    space.write("talks.py", TALKS)
    one = space.run("run", "talks.py", "--workers", "1", "--json").json["result"]["value"]
    assert one[0] == one[1]
    here = space.run("run", "talks.py", "--no-reuse", "--executor", "thread", "--json").json["result"]["value"]
    assert here[0] == here[1]
    refused = space.run("run", "talks.py", "--no-reuse", env=space.environment(CAS_RUN_WORKERS="none"))
    assert refused.status == 2
    assert "workers" in refused.err


def test_cancel_from_elsewhere_and_ctrl_c_stop_what_runs(space: Space) -> None:
    space.write("stuck.py", STUCK)
    for way in ("cancel", "interrupt"):
        process = space.start("run", "stuck.py", "--no-reuse")
        pid = 0
        while not pid:
            line = process.stderr.readline()
            pid = int(line.split()[1]) if line.startswith("pid") else 0
        followed = space.start("logs", "-f", "@last", "-q")
        assert followed.stdout.readline() == f"pid {pid}\n"
        asked = time.monotonic()
        if way == "cancel":
            assert space.run("cancel", "@last").status == 0
        else:
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        followed.communicate(timeout=20)
        assert process.returncode == (1 if way == "cancel" else 130)
        assert "Traceback" not in err
        assert not _is_there(pid)
        assert time.monotonic() - asked < 15


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_call_that_goes_on_printing_when_the_command_ends_does_not_break_it(space: Space) -> None:
    space.write(
        "loud.py",
        """
import cas_run as ct

@ct.electron(timeout=0.2)
def for_ever(n):
    while True:
        print("y" * 20_000)

@ct.lattice
def loud():
    return [for_ever(n) for n in range(4)]
""",
    )
    done = space.run("run", "loud.py", "--executor", "thread", "--json")
    assert done.status == 1
    assert done.json["status"] == "FAILED"
    assert "Fatal Python error" not in done.err
