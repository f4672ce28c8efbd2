"""What users do with real processes: the next day, elsewhere, two at once, interrupted, killed, the script gone."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest

WORKFLOW = """
@ct.electron
def load(n):
    mark("load")
    return {"numbers": set(range(n)), "name": "data"}

@ct.electron
def scale(data, by):
    mark("scale")
    return tuple(sorted(x * by for x in data["numbers"]))

@ct.electron(stochastic=True)
def draw(data):
    mark("draw")
    return os.urandom(8).hex()

@ct.lattice
def flow(n=3, by=2):
    data = load(n)
    return scale(data, by), draw(data)
"""

SLOW = """
@ct.electron
def first():
    mark("first")
    return 1

@ct.electron
def slow(n):
    mark("slow")
    while not os.path.exists(os.environ["TALLY"] + ".gate"):
        time.sleep(0.01)
    return n + 1

@ct.electron
def last(n):
    mark("last")
    return n + 1

@ct.lattice
def flow():
    return last(slow(first()))
"""

AGAIN = """
result = ct.get_result(ct.redispatch(sys.argv[1])(), wait=True)
show([result.status, result.result])
"""


def open_gate(user: Any) -> None:
    (user.root / "tally.gate").touch()


def test_an_unchanged_dispatch_runs_nothing_anywhere(user: Any) -> None:
    script = user.script(WORKFLOW + "show(ct.dispatch_sync(flow)().result)\n")
    first = user.run(script).last
    assert user.ran() == ["draw", "load", "scale"]
    elsewhere = user.root / "elsewhere"
    elsewhere.mkdir()
    assert user.run(script, cwd=elsewhere, PYTHONHASHSEED="1").last == first
    assert user.run(script, PYTHONHASHSEED="2").last == first
    # Imported as a module, the code is the same as run as a script.
    user.write("caller.py", "import script\n")
    assert user.run(user.folder / "caller.py").last == first
    assert user.ran() == []


def test_the_recorded_code_runs_when_the_script_is_edited_and_when_it_is_gone(user: Any) -> None:
    user.write("helpers.py", "def twice(x):\n    return 2 * x\n")
    body = "from helpers import twice\n" + WORKFLOW.replace("x * by", "twice(x) * by")
    script = user.script(body + "show(ct.dispatch_sync(flow)().dispatch_id)\n")
    dispatch_id = user.run(script).last
    user.ran()
    again = "show(ct.get_result(ct.redispatch(sys.argv[1])(by=3), wait=True).result[0])\n"
    user.write("helpers.py", "def twice(x):\n    return 1000 * x\n")
    user.script(WORKFLOW.replace("x * by", "0"))
    assert user.do(again, dispatch_id).last == [0, 6, 12]
    assert user.ran() == ["scale"]
    script.unlink()
    (user.folder / "helpers.py").unlink()
    assert user.do(again.replace("by=3", "by=4"), dispatch_id).last == [0, 8, 16]
    assert user.ran() == ["scale"]


def test_a_script_that_ends_while_a_dispatch_runs_waits_for_it(user: Any) -> None:
    script = user.script(SLOW + "show(ct.dispatch(flow)())\n")
    program = user.start(script)
    dispatch_id = program.shown()
    time.sleep(0.3)
    open_gate(user)
    assert program.end().code == 0
    assert user.ran() == ["first", "last", "slow"]
    assert user.do("show(ct.get_result(sys.argv[1]).result)", dispatch_id).last == 3


@pytest.mark.parametrize(
    "then",
    [
        "ct.get_result(dispatch_id, wait=True)\n",
        "time.sleep(60)\n",
        "pass\n",
    ],
    ids=["waiting", "sleeping", "at the end"],
)
def test_ctrl_c_cancels_cleanly_and_a_redispatch_takes_up(user: Any, eventually: Any, then: str) -> None:
    script = user.script(SLOW + "dispatch_id = ct.dispatch(flow)()\nshow(dispatch_id)\n" + then)
    program = user.start(script)
    dispatch_id = program.shown()
    eventually(lambda: user.marked("slow"))
    time.sleep(0.2)
    program.interrupt()
    program.end(15)
    open_gate(user)
    assert user.ran() == ["first", "slow"]
    assert user.do("show(ct.get_result(sys.argv[1]).status)", dispatch_id).last == "CANCELLED"
    assert user.do(AGAIN, dispatch_id).last == ["COMPLETED", 3]
    assert user.ran() == ["last", "slow"]


def test_after_kill_the_status_is_interrupted_and_a_redispatch_takes_up(user: Any, eventually: Any) -> None:
    program = user.start(user.script(SLOW + "show(ct.dispatch(flow)())\n"))
    dispatch_id = program.shown()
    eventually(lambda: user.marked("slow"))
    time.sleep(0.2)
    program.kill()
    open_gate(user)
    user.ran()
    asked = "result = ct.get_result(sys.argv[1], wait=True)\nshow([result.status, result.result])\n"
    assert user.do(asked, dispatch_id).last == ["INTERRUPTED", None]
    assert user.do(AGAIN, dispatch_id).last == ["COMPLETED", 3]
    assert user.ran() == ["last", "slow"]


def test_another_process_waits_and_another_cancels(user: Any, eventually: Any) -> None:
    program = user.start(user.script(SLOW + "show(ct.dispatch(flow)())\n"))
    dispatch_id = program.shown()
    eventually(lambda: user.marked("slow"))
    waits = user.script("show(0)\nshow(ct.get_result(sys.argv[1], wait=True).status)\n", "waits.py")
    waiting = user.start(waits, dispatch_id)
    waiting.shown()
    began = time.monotonic()
    assert user.do("show(ct.cancel(sys.argv[1]))", dispatch_id).last is True
    assert waiting.shown() == "CANCELLED"
    assert time.monotonic() - began < 5  # a second, and what a busy machine takes to start Python
    open_gate(user)
    program.end()


def test_a_redispatch_while_the_parent_runs_joins_its_nodes(user: Any, eventually: Any) -> None:
    program = user.start(user.script(SLOW + "show(ct.dispatch(flow)())\n"))
    dispatch_id = program.shown()
    eventually(lambda: user.marked("slow"))
    joins = user.script("started = ct.redispatch(sys.argv[1])()\nshow(0)\n" + AGAIN, "joins.py")
    joining = user.start(joins, dispatch_id)
    joining.shown()
    open_gate(user)
    assert joining.end().last == ["COMPLETED", 3]
    assert program.end().code == 0
    assert user.ran() == ["first", "last", "slow"]


def test_two_processes_at_once_compute_each_electron_once(user: Any) -> None:
    script = user.script(
        """
        @ct.electron
        def work(n):
            mark(f"work{n}")
            time.sleep(0.05)
            return n

        @ct.lattice
        def flow():
            return [work(n) for n in range(12)]

        show(0)
        sys.stdin.readline()
        show(ct.dispatch_sync(flow)().result)
        """.replace("\n        ", "\n")
    )
    programs = [user.start(script) for _ in range(2)]
    for program in programs:
        program.shown()
    for program in programs:
        program.tell()
    assert [program.end().last for program in programs] == [list(range(12))] * 2
    assert user.ran() == sorted(f"work{n}" for n in range(12))


def test_an_executor_of_the_users_is_there_until_the_dispatch_is_over(user: Any) -> None:
    for kind in ("ThreadPoolExecutor", "ProcessPoolExecutor"):
        script = user.script(
            f"from concurrent.futures import {kind}\n"
            + SLOW.replace('"first"', f'"{kind}"')
            + "if __name__ == '__main__':\n"
            + f"    pool = {kind}(2)\n"
            + "    show(ct.dispatch(flow, executor=pool)())\n"
        )
        open_gate(user)
        dispatch_id = user.run(script).last
        asked = "result = ct.get_result(sys.argv[1])\nshow([result.status, result.result, result.error])\n"
        assert user.do(asked, dispatch_id).last == ["COMPLETED", 3, None]


def test_without_room_at_the_end_a_dispatch_is_written_down_as_soon_as_there_is_some(user: Any) -> None:
    script = user.script(
        """
        import resource

        def room(size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

        @ct.electron
        def work(n):
            return n

        @ct.electron
        def fill(*ns):
            if "FULL" in os.environ:
                time.sleep(0.5)  # by now the others are durable
                room(1)  # byte of a file
            return len(ns)

        @ct.lattice
        def flow(n):
            return fill(*[work(i) for i in range(n)])

        for n in (2, 6000):  # whose outcome lies in a row, and in files
            os.environ["FULL"] = "1"
            id = ct.dispatch(flow, executor="inline")(n)
            for _ in range(2):  # while it runs, perhaps; and when it has ended for sure
                try:
                    ct.get_result(id, wait=True)
                except ct.StoreError as error:
                    show(type(error).__name__)
            show(ct.get_result(id).status)
            room(resource.RLIM_INFINITY)
            del os.environ["FULL"]
            result = ct.get_result(ct.redispatch(id)(), wait=True)
            while ct.get_result(id).status == "RUNNING":
                time.sleep(0.1)
            # The last one may have been on its way to the disk.
            show([ct.get_result(id).status, result.hits >= n, result.hits + result.ran - n])
        """.replace("\n        ", "\n")
    )
    full = ["StoreFull", "StoreFull", "RUNNING"]
    assert user.run(script).shown == [*full, ["FAILED", True, 1], *full, ["FAILED", True, 1]]


def test_a_system_that_gives_no_more_is_told_as_that(user: Any) -> None:
    script = user.script(
        """
        import resource

        @ct.electron
        def one():
            return 1

        @ct.lattice
        def flow():
            return one()

        ct.dispatch_sync(flow)()
        files = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        try:
            show(ct.dispatch_sync(flow, executor="process", reuse_previous_results=False)().error)
        except ct.CasRunError as error:
            show(str(error))
        """.replace("\n        ", "\n")
    )
    said = user.run(script).last
    assert "Too many open files" in said
    assert "report it" not in said


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="starts no thread once the main one has ended")
def test_a_thread_that_outlives_the_main_one_may_dispatch(user: Any) -> None:
    script = user.script(
        """
        @ct.electron
        def one(x):
            return x + 1

        @ct.lattice
        def flow(x):
            return one(one(x))

        def work():
            threading.main_thread().join()
            for executor in ("thread", "inline", "process"):
                show(ct.dispatch_sync(flow, executor=executor, reuse_previous_results=False)(1).result)

        threading.Thread(target=work).start()
        """.replace("\n        ", "\n")
    )
    assert user.run(script).shown == [3, 3, 3]
