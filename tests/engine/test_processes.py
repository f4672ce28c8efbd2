"""Worker processes make calls as threads do, and besides can be stopped, may die, and hold no data in the program."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cas_run as ct
from cas_engine.executors.pool import shared_pool

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]

FACTOR = 3


@ct.electron(executor="process")
def where(n: int) -> int:
    return os.getpid()


def run(lattice: Any, *args: Any, **options: Any) -> Any:
    return ct.get_result(ct.dispatch(lattice, executor="process", **options)(*args), wait=True, timeout=60)


def test_calls_run_in_other_processes_which_are_used_again(mark: Mark) -> None:
    @ct.lattice
    def flow(n: int) -> Any:
        return [where(i) for i in range(n)]

    first = set(ct.dispatch_sync(flow)(8).result)
    again = set(ct.dispatch_sync(flow)(20).result)
    assert os.getpid() not in first | again
    assert len(first | again) <= shared_pool().limit


def test_values_and_code_travel(mark: Mark, ran: Ran) -> None:
    import numpy as np

    offset = {"by": 1}

    class Point:
        def __init__(self, x: float) -> None:
            self.x = x

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Point) and self.x == other.x

        __hash__ = None  # type: ignore[assignment]

    @ct.electron
    def make(n: int) -> Any:
        mark("make")
        return {"big": np.full(50_000, n), "small": [n, "text", None], "point": Point(n)}

    @ct.electron
    def use(made: Any, more: Any) -> Any:
        mark("use")
        made["big"] += 1  # writable, and nobody else's
        return made["big"], made["point"], made["small"], float(more.sum()) * FACTOR + offset["by"]

    @ct.lattice
    def flow(more: Any) -> Any:
        made = make(7)
        return use(made, more), use(made, more + 1)

    more = np.ones(100_000)
    result = run(flow, more)
    assert result.status == "COMPLETED", result.error
    big, point, small, total = result.result[0]
    assert (big[0], len(big), point, small, total) == (8, 50_000, Point(7), [7, "text", None], 300_001.0)
    assert ran() == ["make", "use", "use"]
    # What ran there is known here, and the other way round.
    assert ct.dispatch_sync(flow, executor="thread")(more).ran == 0
    assert ran() == []


def test_results_are_the_same_as_in_threads(mark: Mark) -> None:
    @ct.electron(stochastic=True)
    def draw(n: int) -> Any:
        import random

        return random.Random(ct.seed()).random() + n

    @ct.electron
    def grow(n: int, onto: list[int] = []) -> list[int]:  # noqa: B006
        onto.append(n)
        return onto

    @ct.lattice
    def flow() -> Any:
        return [draw(1), draw(1)], [grow(i) for i in range(4)]

    result = run(flow)
    assert result.result[1] == [[0], [1], [2], [3]]
    again = ct.redispatch(result.dispatch_id, recompute="all", executor="thread")
    drawn = ct.get_result(again(), wait=True).result
    assert drawn[1] == result.result[1]
    assert drawn[0] != result.result[0]


def test_the_surroundings_are_those_of_the_program(mark: Mark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "only_there.py").write_text("VALUE = 42\n")
    run_once = ct.lattice(lambda: where(99))
    ct.dispatch_sync(run_once)()  # the workers have started by now
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_WORD", "said later")
    monkeypatch.syspath_prepend(str(tmp_path / "beside"))

    @ct.electron
    def look() -> Any:
        import only_there  # type: ignore[import-not-found]

        found = str(Path.cwd()), os.environ.get("A_WORD"), only_there.VALUE
        os.environ["A_WORD"] = "changed by a call"
        os.chdir("/")
        return found

    @ct.electron
    def look_again(before: Any) -> Any:
        return str(Path.cwd()), os.environ.get("A_WORD")

    @ct.lattice
    def flow() -> Any:
        found = look()
        return found, [look_again(found)]

    result = run(flow)
    assert result.result == ((str(tmp_path), "said later", 42), [(str(tmp_path), "said later")])


def test_a_call_that_ran_out_of_time_is_stopped(mark: Mark, tmp_path: Path, eventually: Any) -> None:
    @ct.electron(timeout=0.3)
    def stuck() -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        while True:
            time.sleep(0.01)

    @ct.electron
    def aside(n: int) -> int:
        return n

    @ct.lattice
    def flow() -> Any:
        return stuck(), [aside(n) for n in range(20)]

    # Also where nothing is said of executors: a thread could not be stopped.
    result = ct.get_result(ct.dispatch(flow)(), wait=True, timeout=60)
    assert (result.ran, result.failed) == (20, 1)
    assert "timeout=0.3" in str(result.error)
    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: not _is_there(pid))


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


WAYS = {
    "os._exit(5)": "status 5",
    "os.kill(os.getpid(), 9)": "SIGKILL",
    "faulthandler._sigsegv()": "SIGSEGV",
    "os.closerange(3, 1 << 20)": "has closed files that it had not opened",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_worker_that_dies_costs_its_electron_one_more_try_and_no_other_anything(
    mark: Mark, ran: Ran, way: str, capfd: pytest.CaptureFixture[str]
) -> None:
    @ct.electron
    def die() -> None:
        import faulthandler  # noqa: F401

        mark("die")
        exec(way)

    @ct.electron
    def aside(n: int) -> int:
        mark("aside")
        return n

    @ct.lattice
    def flow() -> Any:
        return [aside(n) for n in range(10)], die(), [aside(n) for n in range(10, 20)]

    result = run(flow)
    assert (result.ran, result.failed) == (20, 1)
    assert ran() == ["aside"] * 20 + ["die"] * 2
    assert "electron `die`" in str(result.error)
    assert WAYS[way] in str(result.error)
    assert "cas_engine" not in capfd.readouterr().err


def test_a_worker_that_was_killed_once_is_no_failure(mark: Mark, take_number: Callable[[], int]) -> None:
    @ct.electron
    def unlucky() -> int:
        number = take_number()
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    @ct.lattice
    def flow() -> Any:
        return unlucky()

    assert run(flow).result == 2


def test_what_a_call_has_started_ends_with_its_worker(mark: Mark, tmp_path: Path, eventually: Any) -> None:
    @ct.electron(timeout=0.5)
    def start() -> None:
        import subprocess

        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (tmp_path / "pid").write_text(str(child.pid))
        child.wait()

    @ct.lattice
    def flow() -> Any:
        return start()

    assert run(flow).failed == 1
    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: not _is_there(pid))


def test_a_call_that_breaks_into_the_talk_of_its_worker_harms_nobody_for_long(mark: Mark) -> None:
    @ct.electron
    def vandal() -> int:
        import stat

        for descriptor in [int(one.name) for one in Path("/dev/fd").iterdir()]:
            try:
                if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    os.write(descriptor, b"\0\0\0\x08not JSON")
            except OSError:
                continue
        return 1

    @ct.lattice
    def flow(vandals: int) -> Any:
        return [vandal() for _ in range(vandals)], where(0)

    assert run(flow, 1).status == "FAILED"
    assert run(flow, 0).status == "COMPLETED"


def test_what_a_call_leaves_behind_in_its_worker_is_no_matter_to_the_next(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def untidy(how: str) -> Any:
        import resource
        import signal
        import sys
        import threading

        if how == "recursion":
            sys.setrecursionlimit(80)
        elif how == "alarm":
            signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        elif how == "streams":
            del sys.stderr
        elif how == "thread":
            threading.Thread(target=time.sleep, args=(60,)).start()
        else:
            hard = resource.getrlimit(getattr(resource, how))[1]
            resource.setrlimit(getattr(resource, how), (4, hard))
            return b"a large result, which goes into a file" * 3000
        return how

    @ct.electron
    def tidy(number: int) -> int:
        mark("tidy")
        time.sleep(0.1)

        def deep(left: int) -> int:
            return deep(left - 1) if left else number

        return deep(200)

    @ct.lattice
    def mess(how: str) -> Any:
        return untidy(how)

    @ct.lattice
    def work(number: int) -> Any:
        return tidy(number)

    pool = shared_pool()
    for number, how in enumerate(
        ["recursion", "alarm", "streams", "thread", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_AS"]
    ):
        done = run(mess, how)
        assert done.status == "COMPLETED" or how == "RLIMIT_AS", done.error
        workers = list(pool._workers)
        done = run(work, number)
        assert (done.status, done.result) == ("COMPLETED", number), (how, done.error)
        assert pool._workers == workers or how == "RLIMIT_AS"
    assert set(ran()) == {"tidy"}


def test_a_forked_child_that_comes_back_from_the_call_as_well_gives_no_result(mark: Mark) -> None:
    @ct.electron
    def twice() -> str:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        return "parent" if child else "child"

    @ct.lattice
    def flow() -> Any:
        return twice()

    assert run(flow).result == "parent"


def test_cancelling_stops_what_runs(mark: Mark, tmp_path: Path, eventually: Any) -> None:
    @ct.electron
    def first() -> int:
        return 1

    @ct.electron
    def stuck(n: int) -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        while True:
            time.sleep(0.01)

    @ct.lattice
    def flow() -> Any:
        return stuck(first())

    dispatch_id = ct.dispatch(flow, executor="process")()
    eventually((tmp_path / "pid").exists)
    ct.cancel(dispatch_id)
    result = ct.get_result(dispatch_id, wait=True, timeout=20)
    assert [node.status for node in result.nodes] == ["ran", "cancelled"]
    pid = int((tmp_path / "pid").read_text() or 0)
    eventually(lambda: not _is_there(pid))


def test_short_calls_behind_a_long_one_are_made_by_others(mark: Mark, tmp_path: Path) -> None:
    if shared_pool().limit < 2:
        pytest.skip("one worker")
    gate = tmp_path / "gate"

    @ct.electron
    def step(n: int) -> int:
        deadline = time.monotonic() + 30
        if n == 60:
            gate.touch()
        while n == 40 and not gate.exists():  # usually short, and this time it waits for one that comes later
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return n

    @ct.lattice
    def flow() -> Any:
        return [step(n) for n in range(61)]

    assert run(flow).result == list(range(61))


def test_a_call_that_was_recalled_finds_its_code_in_the_same_worker_later(user: Any) -> None:
    script = user.script(
        """
        @ct.electron
        def quick(n):
            return n

        @ct.electron
        def other(n, seconds):
            if seconds:
                os.mkdir(f"other-{n}")
                time.sleep(seconds)
            return os.getpid()

        @ct.lattice
        def quickly(start):
            return [quick(start + n) for n in range(20)]

        @ct.lattice
        def others(start, count, seconds):
            return [other(start + n, seconds) for n in range(count)]

        def wait_for(name):
            while not os.path.exists(name):
                time.sleep(0.01)

        def run(lattice, *args):
            return ct.dispatch_sync(lattice, executor="process")(*args)

        os.environ["CAS_RUN_WORKERS"] = "1"
        run(quickly, 0)
        first = run(others, 0, 1, 0).result
        os.environ["CAS_RUN_WORKERS"] = "2"
        ct.dispatch(others, executor="process")(10, 1, 3.0)
        wait_for("other-10")  # which keeps the first worker busy to the end
        second = run(others, 20, 20, 0).result
        ct.dispatch(others, executor="process")(50, 1, 0.4)
        wait_for("other-50")  # which makes the second one late
        done = run(quickly, 100)
        show([len({*first, *second}), done.status, sorted({node.to_json()["tries"] for node in done.nodes})])
        """
    )
    assert user.run(script).last == [2, "COMPLETED", [1]]


def test_what_cannot_be_recorded_runs_in_this_process(mark: Mark) -> None:
    numbers = (n for n in range(10))

    @ct.electron(ignore=["n"])
    def following(n: int) -> int:
        next(numbers)
        return os.getpid()

    @ct.lattice
    def flow() -> Any:
        return following(0)

    result = run(flow)
    assert result.result == os.getpid()
    (said,) = ct.logs(result.dispatch_id)
    assert "runs in a thread" in said.text
    assert "generator" in said.text


def test_a_damaged_input_is_computed_again(mark: Mark, ran: Ran, tmp_path: Path) -> None:
    import numpy as np

    @ct.electron
    def make() -> Any:
        mark("make")
        return np.arange(100_000)

    @ct.electron
    def use(made: Any, by: int) -> int:
        mark("use")
        return int(made.sum()) * by

    @ct.lattice
    def flow(by: int) -> Any:
        return use(make(), by)

    expected = run(flow, 1).result
    for file in (tmp_path / "store" / "blobs").rglob("*"):
        if file.is_file():
            file.chmod(0o600)
            content = bytearray(file.read_bytes())
            content[-9] ^= 1
            file.write_bytes(content)
    assert ran() == ["make", "use"]
    assert run(flow, 2).result == 2 * expected
    assert ran() == ["make", "use"]


def test_an_array_that_is_passed_on_is_stored_once(mark: Mark, tmp_path: Path) -> None:
    import numpy as np

    @ct.electron
    def make() -> Any:
        return np.arange(200_000)

    @ct.electron
    def wrap(made: Any) -> Any:
        return {"it": made}

    @ct.lattice
    def flow() -> Any:
        return wrap(make())

    run(flow)
    files = [file for file in (tmp_path / "store" / "blobs").rglob("*") if file.is_file()]
    assert len(files) == 1
    assert list((tmp_path / "store" / "tmp").iterdir()) == []


def test_no_worker_is_started_for_hits(user: Any) -> None:
    script = user.script(
        """
        @ct.electron
        def work(n):
            mark("work")
            return n

        @ct.lattice
        def flow(n):
            return [work(i) for i in range(n)]

        import cas_engine.executors.pool as pools
        ct.dispatch_sync(flow, executor="process")(3)
        show(len(pools.shared_pool()._workers))
        """
    )
    assert user.run(script).last > 0  # and the script has no `if __name__ == "__main__"`
    assert user.run(script).last == 0
    assert user.ran() == ["work"] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they see it when their call is over")
def test_workers_end_with_their_program_however_it_ends(user: Any, eventually: Any) -> None:
    script = user.script(
        """
        @ct.electron
        def stuck(n):
            import subprocess

            started = subprocess.Popen(["sleep", "60"])
            forked = os.fork()
            if not forked:
                time.sleep(60)
            show([os.getpid(), started.pid, forked])
            mark("stuck")
            sum(iter(int, 1))  # in C, for ever

        @ct.lattice
        def flow():
            return stuck(1)

        ct.dispatch_sync(flow, executor="process")()
        """
    )
    program = user.start(script)
    pids = program.shown()
    assert all(map(_is_there, pids))
    program.kill()
    eventually(lambda: not any(map(_is_there, pids)))
    program = user.start(script)
    pids = program.shown()
    program.interrupt()
    done = program.end()
    eventually(lambda: not any(map(_is_there, pids)))
    assert done.err.count("Traceback") == 1  # the program's own


def test_a_pool_of_one_does_not_wait_for_itself(user: Any) -> None:
    script = user.script(
        """
        @ct.electron
        def leaf(n):
            return n + 1

        @ct.electron
        @ct.lattice
        def inside(n):
            return leaf(leaf(n))

        @ct.electron
        def dispatching(n):
            return ct.dispatch_sync(inside.fn)(n).result

        @ct.lattice
        def flow():
            return [inside(i) for i in range(4)], [dispatching(i + 10) for i in range(4)]

        show(ct.dispatch_sync(flow, executor="process")().result)
        """
    )
    assert user.run(script, CAS_RUN_WORKERS="1").last == [[2, 3, 4, 5], [12, 13, 14, 15]]


def test_what_one_program_computes_others_wait_for(user: Any, eventually: Any) -> None:
    work = """
        @ct.electron
        def slow(n):
            mark(f"slow{n}")
            while not os.path.exists(os.environ["TALLY"] + ".gate"):
                time.sleep(0.01)
            return n

        @ct.electron
        def total(parts):
            mark("total")
            return sum(parts)

        @ct.lattice
        def flow():
            return total([slow(n) for n in range(2)])
        """
    program = user.script(
        work
        + """
        dispatch_id = ct.dispatch(flow, executor="process")()
        show(dispatch_id)
        show(ct.get_result(dispatch_id, wait=True).result)
        """
    )
    again = user.script(
        """
        child = ct.redispatch(sys.argv[1], executor="process")()
        show(child)
        show(ct.get_result(child, wait=True).result)
        """,
        "again.py",
    )
    first = user.start(program)
    dispatch_id = first.shown()
    eventually(lambda: user.marked("slow0") and user.marked("slow1"))
    others = [user.start(program), user.start(again, dispatch_id), user.start(again, dispatch_id)]
    for other in others:
        other.shown()
    time.sleep(0.3)  # they have claimed what there is to claim, which is nothing
    (user.root / "tally.gate").touch()
    assert [program.shown() for program in (first, *others)] == [1] * 4
    assert [program.end().code for program in (first, *others)] == [0] * 4
    assert user.ran() == ["slow0", "slow1", "total"]


def test_what_a_script_defines_is_the_same_when_it_is_imported(user: Any) -> None:
    flow = """
        import cas_run as ct

        class Model:
            def __init__(self, n):
                self.n = n

        @ct.electron
        def build(n):
            return Model(n)

        @ct.electron
        def read(model, again):
            return isinstance(model, Model)

        @ct.lattice
        def main(again):
            return read(build(3), again)

        if __name__ == "__main__":
            print(ct.dispatch_sync(main, executor="process")(0).result)
        """
    assert user.run(user.write("flow.py", flow)).out == "True\n"
    caller = 'import flow\nprint(flow.ct.dispatch_sync(flow.main, executor="process")(1).result)\n'
    assert user.run(user.write("caller.py", caller)).out == "True\n"


def test_a_forked_child_has_workers_of_its_own_and_leaves_its_parents_alone(user: Any) -> None:
    script = user.script(
        """
        @ct.electron
        def process(n):
            return os.getpid()

        @ct.lattice
        def flow(n):
            return process(n)

        before = ct.dispatch_sync(flow, executor="process")(0).result
        child = os.fork()
        if child == 0:
            show(ct.dispatch_sync(flow, executor="process")(1).result != before)
            sys.exit()  # with all that is done at the end of a program
        os.waitpid(child, 0)
        show(ct.dispatch_sync(flow, executor="process")(2).result == before)
        """
    )
    # From 3.12 on Python warns of forks beside threads.
    assert user.run(script, CAS_RUN_WORKERS="1", PYTHONWARNINGS="ignore::DeprecationWarning").shown == [True, True]


def test_a_forked_child_finds_no_lock_of_ours_taken(user: Any) -> None:
    """What another thread holds at the moment of a fork stays with the parent: a child that waits for it never ends."""
    script = user.script(
        """
        import importlib, pkgutil, warnings
        import cas_engine, cas_run, cas_store
        from cas_store import forks

        warnings.simplefilter("ignore")  # Python 3.12 warns of forking with threads, which is what is done here
        modules = [
            importlib.import_module(found.name)
            for package in (cas_store, cas_engine)
            for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
        ]
        kind = type(threading.Lock())
        locks = {
            f"{module.__name__}.{name}": value
            for module in modules
            for name, value in vars(module).items()
            if type(value) is kind and module is not forks
        }

        def hold():
            for lock in locks.values():
                lock.acquire()
            held.set()
            time.sleep(60)

        held = threading.Event()
        threading.Thread(target=hold, daemon=True).start()
        held.wait()
        reading, writing = os.pipe()
        if os.fork() == 0:
            taken = [name for name, lock in locks.items() if not lock.acquire(blocking=False)]
            os.write(writing, json.dumps(taken).encode())
            os._exit(0)
        os.wait()
        show([len(locks), json.loads(os.read(reading, 10_000))])
        os._exit(0)
        """
    )
    count, taken = user.run(script).last
    assert count >= 8
    assert taken == []
