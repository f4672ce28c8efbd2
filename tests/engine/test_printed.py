"""What electrons print and log is kept with their node, wherever they run, and goes with their dispatch."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cas_run as ct
from cas_engine.calling import printed

Mark = Callable[[str], None]


@ct.electron
def talk(n: int) -> int:
    print("out", n)
    print("err", n, file=sys.stderr)
    print("no end of line", n, end="")
    return n


def run(lattice: Any, *args: Any, executor: str) -> Any:
    result = ct.get_result(ct.dispatch(lattice, executor=executor)(*args), wait=True, timeout=60)
    assert result.status == "COMPLETED", result.error
    return result


def texts(dispatch_id: str, node: str | None = None, stream: str = "stdout") -> str:
    return "".join(one.text for one in ct.logs(dispatch_id, node) if one.stream == stream)


@pytest.mark.parametrize("executor", ["process", "thread", "inline"])
def test_each_node_has_what_it_printed(mark: Mark, capsys: pytest.CaptureFixture[str], executor: str) -> None:
    @ct.lattice
    def flow() -> Any:
        return [talk(n) for n in range(3)]

    before = sys.stdout
    result = run(flow, executor=executor)
    for n in range(3):
        assert texts(result.dispatch_id, f"talk#{n}") == f"out {n}\nno end of line {n}"
        assert texts(result.dispatch_id, f"talk#{n}", "stderr") == f"err {n}\n"
    assert len(texts(result.dispatch_id, "talk").split("out")) == 4
    assert sys.stdout is before
    shown = capsys.readouterr()
    # All of it is shown; threads may come between each other's pieces of a line, as they always do.
    assert sorted(shown.err) == sorted("".join(f"err {n}\n" for n in range(3)))
    assert sorted(shown.out) == sorted("".join(f"out {n}\nno end of line {n}" for n in range(3)))
    # What is reused prints nothing, and those who run it do not hear of it.
    assert list(ct.logs(run(flow, executor=executor).dispatch_id)) == []
    with pytest.raises(ct.NotFound, match="did you mean `talk`"):
        ct.logs(result.dispatch_id, "tlak")


def test_of_a_worker_process_there_is_what_others_print_too(mark: Mark) -> None:
    @ct.electron
    def noisy(n: int) -> int:
        import ctypes
        import threading

        os.system(f"echo from a shell {n}")
        os.write(2, b"to the descriptor %d \xff\n" % n)
        ctypes.CDLL(None).printf(b"from C %d\n", n)
        thread = threading.Thread(target=print, args=("from a thread", n))
        thread.start()
        thread.join()
        return n

    @ct.lattice
    def flow() -> Any:
        return [noisy(n) for n in range(2)]

    result = run(flow, executor="process")
    for n in range(2):
        lines = texts(result.dispatch_id, f"noisy#{n}").splitlines()
        assert sorted(lines) == [f"from C {n}", f"from a shell {n}", f"from a thread {n}"]
        assert texts(result.dispatch_id, f"noisy#{n}", "stderr") == f"to the descriptor {n} �\n"


@pytest.mark.parametrize("executor", ["process", "thread"])
def test_records_go_to_the_logging_of_the_program_and_are_kept(
    mark: Mark, caplog: pytest.LogCaptureFixture, executor: str
) -> None:
    @ct.electron
    def work(n: int) -> int:
        import logging

        logging.getLogger("mine").debug("not asked for")
        logging.getLogger("mine").info("working on %d", n)
        try:
            int("told")
        except ValueError:
            logging.getLogger("other").exception("it went wrong")
        return n

    @ct.lattice
    def flow() -> Any:
        return work(7)

    with caplog.at_level(logging.INFO, "mine"):
        result = run(flow, executor=executor)
    kept = texts(result.dispatch_id, stream="log")
    assert kept == "INFO mine: working on 7\nERROR other: it went wrong\n"
    assert [(one.name, one.getMessage()) for one in caplog.records] == [
        ("mine", "working on 7"),
        ("other", "it went wrong"),
    ]
    assert "invalid literal for int" in caplog.text


@pytest.mark.parametrize("executor", ["process", "thread"])
def test_of_much_there_is_the_beginning_and_the_end(mark: Mark, executor: str) -> None:
    @ct.electron
    def flood() -> None:
        for n in range(40_000):
            print(f"line {n:06}")

    @ct.lattice
    def flow() -> Any:
        return flood()

    result = run(flow, executor=executor)
    pieces = list(ct.logs(result.dispatch_id))
    whole = 40_000 * 12
    assert sum(len(one.text) for one in pieces) + sum(one.omitted for one in pieces) == whole
    assert printed.LIMIT < sum(len(one.text) for one in pieces) < 3 * printed.LIMIT
    assert pieces[0].text.startswith("line 000000\n")
    assert pieces[-1].text.endswith("line 039999\n")
    assert sum(one.omitted > 0 for one in pieces) == 1


def test_each_try_and_what_failed_or_was_killed_are_there(mark: Mark, take_number: Callable[[], int]) -> None:
    @ct.electron(retries=1)
    def fails() -> None:
        print("number", take_number())
        raise ValueError

    @ct.electron
    def killed() -> None:
        print("last words", flush=True)
        os._exit(1)

    @ct.electron(timeout=0.5)
    def late() -> None:
        import time

        print("begun", flush=True)
        time.sleep(30)

    @ct.lattice
    def flow() -> Any:
        return fails(), killed(), late()

    result = ct.dispatch_sync(flow, executor="process")()
    tries = [(one.attempt, one.text) for one in ct.logs(result.dispatch_id, "fails")]
    assert tries == [(0, "number 1\n"), (1, "number 2\n")]
    assert texts(result.dispatch_id, "killed") == "last words\n" * 2
    assert texts(result.dispatch_id, "late") == "begun\n"


def test_what_sublattices_print_is_found_through_them(mark: Mark) -> None:
    @ct.electron
    @ct.lattice
    def inner(n: int) -> Any:
        return [talk(n), talk(n + 1)]

    @ct.lattice
    def flow() -> Any:
        return inner(10), inner(20)

    result = run(flow, executor="process")
    found = {(one.node, one.text.splitlines()[0]) for one in ct.logs(result.dispatch_id) if "out" in one.text}
    labels = [(f"inner#{i}/talk#{j}", f"out {10 * (i + 1) + j}") for i in range(2) for j in range(2)]
    assert found == set(labels)
    assert "out 21" in texts(result.dispatch_id, "inner#1")
    assert "out 10" not in texts(result.dispatch_id, "inner#1")
    ct.remove(result.dispatch_id)
    assert list((Path(os.environ["CAS_RUN_STORE"]) / "logs").iterdir()) == []


def test_a_log_is_followed_from_another_process_until_the_dispatch_is_over(user: Any) -> None:
    script = user.script(
        """
        @ct.electron
        def talk():
            for n in range(3):
                print("word", n)
                while not os.path.exists(os.environ["TALLY"] + f".{n}"):
                    time.sleep(0.01)
            print("end")

        @ct.lattice
        def flow():
            return talk()

        dispatch_id = ct.dispatch(flow, executor="process")()
        show(dispatch_id)
        ct.get_result(dispatch_id, wait=True)
        """
    )
    reader = user.script(
        """
        for one in ct.logs(sys.argv[1], follow=True):
            show(one.text)
        """,
        "reader.py",
    )
    program = user.start(script)
    dispatch_id = program.shown()
    follower = user.start(reader, dispatch_id)
    for n in range(3):
        assert follower.shown() == f"word {n}\n"
        (user.root / f"tally.{n}").touch()
    done = follower.end()
    assert done.shown == ["end\n"]
    assert program.end().code == 0
