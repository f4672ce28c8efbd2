"""What fails is told with the user's own frames, is never taken for a result, and costs only what hangs on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.engine.workflows import again

import cas_run as ct

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


def statuses(result: ct.Result) -> dict[str, str]:
    return {node.label: node.status for node in result.nodes}


def parse(text: str) -> int:
    return int(text)


@pytest.fixture
def flow(mark: Mark) -> Any:
    """load → number (fails on "x") → double → report; and aside, which hangs on load alone."""

    @ct.electron
    def load(text: str) -> str:
        mark("load")
        return text

    @ct.electron
    def number(text: str) -> int:
        mark("number")
        return parse(text)

    @ct.electron
    def double(n: int) -> int:
        mark("double")
        return 2 * n

    @ct.electron
    def aside(text: str) -> str:
        mark("aside")
        return text.upper()

    @ct.electron
    def report(n: int, text: str) -> str:
        mark("report")
        return f"{n} {text}"

    @ct.lattice
    def flow(text: str = "x") -> Any:
        loaded = load(text)
        return report(double(number(loaded)), aside(loaded))

    return flow


def test_independent_branches_finish_and_dependants_are_skipped(flow: Any, ran: Ran) -> None:
    result = ct.dispatch_sync(flow)()
    assert ran() == ["aside", "load", "number"]
    assert (result.status, result.result) == ("FAILED", None)
    assert (result.ran, result.failed, result.skipped, result.hits) == (2, 1, 2, 0)
    assert statuses(result) == {
        "load": "ran",
        "number": "failed",
        "double": "skipped",
        "aside": "ran",
        "report": "skipped",
    }
    assert "number" in result.node("double").reason
    assert result.node("aside").result == "X"
    assert result.node("number").result is None


def test_the_traceback_holds_the_users_frames_alone(flow: Any) -> None:
    result = ct.dispatch_sync(flow)()
    error = str(result.node("number").error)
    assert error.startswith("Traceback (most recent call last):")
    assert error.endswith("ValueError: invalid literal for int() with base 10: 'x'")
    assert "in number" in error
    assert "in parse" in error
    assert "return int(text)" in error  # the source line
    assert error.count("File ") == 2
    assert error in str(result.error)
    assert "electron `number` failed" in str(result.error)


def test_the_cause_of_an_error_is_told_too(mark: Mark) -> None:
    @ct.electron
    def work() -> None:
        try:
            parse("y")
        except ValueError as error:
            raise RuntimeError("no number") from error

    @ct.lattice
    def flow() -> Any:
        return work()

    error = str(ct.dispatch_sync(flow)().error)
    assert "ValueError: invalid literal" in error
    assert "direct cause" in error
    assert "RuntimeError: no number" in error
    assert "cas_engine" not in error


def test_a_failure_is_never_taken_for_a_result(flow: Any, ran: Ran) -> None:
    ct.dispatch_sync(flow)()
    ran()
    second = ct.dispatch_sync(flow)()
    assert (second.status, ran()) == ("FAILED", ["number"])
    third = again(second.dispatch_id)()
    assert (third.status, ran()) == ("FAILED", ["number"])
    assert third.hits == 2


def test_a_repair_by_replacement_runs_only_what_is_missing(flow: Any, mark: Mark, ran: Ran) -> None:
    failed = ct.dispatch_sync(flow)()
    ran()

    def number(text: str) -> int:
        mark("repaired")
        return len(text)

    repaired = again(failed.dispatch_id, {"number": number})()
    assert repaired.result == "2 X"
    assert ran() == ["double", "repaired", "report"]
    assert ct.get_result(failed.dispatch_id).status == "FAILED"
    assert ct.get_result(failed.dispatch_id).result is None


def test_a_repair_by_other_inputs_and_by_changed_surroundings(flow: Any, mark: Mark, ran: Ran, tmp_path: Path) -> None:
    failed = ct.dispatch_sync(flow)()
    assert again(failed.dispatch_id)("7").result == "14 7"

    @ct.electron
    def read() -> str:
        mark("read")
        return (tmp_path / "table").read_text()

    @ct.electron
    def after(text: str) -> str:
        mark("after")
        return text

    @ct.lattice
    def reading() -> Any:
        return after(read())

    failed = ct.dispatch_sync(reading)()
    assert "FileNotFoundError" in str(failed.error)
    (tmp_path / "table").write_text("there now")
    ran()
    assert again(failed.dispatch_id)().result == "there now"
    assert ran() == ["after", "read"]


def test_many_failures_are_all_told(mark: Mark) -> None:
    @ct.electron
    def work(n: int) -> int:
        if n % 2:
            raise ValueError(f"odd: {n}")
        return n

    @ct.lattice
    def flow() -> Any:
        return [work(n) for n in range(6)]

    result = ct.dispatch_sync(flow)()
    assert (result.ran, result.failed) == (3, 3)
    for n in (1, 3, 5):
        assert f"electron `work#{n}` failed" in str(result.error)
        assert f"ValueError: odd: {n}" in str(result.error)


def test_equal_calls_fail_once(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def work(n: int) -> int:
        mark("work")
        raise ValueError("no")

    @ct.lattice
    def flow() -> Any:
        return [work(1), work(1)]

    result = ct.dispatch_sync(flow)()
    assert ran() == ["work"]
    assert statuses(result) == {"work#0": "failed", "work#1": "skipped"}


def test_a_failing_parent_of_many_skips_the_whole_cone_and_no_more(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def root(n: int) -> int:
        if n == 0:
            raise ValueError("no root")
        return n

    @ct.electron
    def step(*above: int) -> int:
        mark("step")
        return sum(above)

    @ct.lattice
    def flow() -> Any:
        bad, good = root(0), root(1)
        a, b = step(bad, good), step(good)
        c = step(a, b)
        return [c, step(b, b), step(c, a)]

    result = ct.dispatch_sync(flow)()
    assert [node.status for node in result.nodes] == [
        "failed",
        "ran",
        "skipped",
        "ran",
        "skipped",
        "ran",
        "skipped",
    ]
    assert ran() == ["step", "step"]


@pytest.mark.parametrize("error", ["SystemExit(3)", "KeyboardInterrupt()", "GeneratorExit()", "BaseException('x')"])
def test_whatever_an_electron_raises_is_its_failure(mark: Mark, error: str) -> None:
    @ct.electron
    def work() -> None:
        raise eval(error)

    @ct.electron
    def aside() -> int:
        return 1

    @ct.lattice
    def flow() -> Any:
        return [work(), aside()]

    for executor in ("thread", "inline"):
        result = ct.dispatch_sync(flow, executor=executor)()
        assert result.status == "FAILED"
        assert statuses(result)["work"] == "failed"
        assert error.partition("(")[0] in str(result.error)


def test_an_error_that_cannot_be_shown_is_told_all_the_same(mark: Mark) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even a text")

    @ct.electron
    def work() -> None:
        raise Odd

    @ct.lattice
    def flow() -> Any:
        return work()

    result = ct.dispatch_sync(flow)()
    assert result.status == "FAILED"
    assert "Odd" in str(result.error)


@pytest.mark.parametrize("executor", ["inline", "process"])
def test_an_error_however_long_is_told_by_its_beginning_and_its_end(mark: Mark, executor: str) -> None:
    @ct.electron
    def long() -> None:
        raise ValueError("first" + "x" * 3_000_000 + "last")

    @ct.electron
    def tried_often() -> None:
        error = None
        for number in range(3000):
            following = ValueError(f"try {number}")
            following.__context__ = error
            error = following
        raise error or ValueError

    @ct.electron
    def among_many(number: int) -> None:
        raise ValueError("y" * 5000)

    @ct.lattice
    def flow(many: int) -> Any:
        return [long(), tried_often(), *[among_many(n) for n in range(many)]]

    result = ct.dispatch_sync(flow, executor=executor)(30)
    assert result.failed == 32
    errors = [str(node.error) for node in result.nodes]
    assert "ValueError: firstxxx" in errors[0]
    assert errors[0].endswith("xxxlast")
    assert "characters ...]" in errors[0]
    assert errors[1].startswith("ValueError: try 0\n")
    assert errors[1].endswith("ValueError: try 2999")
    # All lists read what is told of a dispatch as a whole.
    assert sum(map(len, errors)) > len(str(result.error)) > 50_000
    assert str(result.error).endswith("more have failed; each node has its own error")


def test_a_value_that_cannot_be_loaded_again_fails_the_node_that_wants_it(mark: Mark) -> None:
    class Broken:
        def __init__(self) -> None:
            self.x = 1

        def __setstate__(self, state: Any) -> None:
            raise ValueError("cannot be loaded")

    @ct.electron
    def make() -> Any:
        return Broken()

    @ct.electron
    def use(broken: Any) -> int:
        return 1

    @ct.lattice
    def flow() -> Any:
        return use(make())

    result = ct.dispatch_sync(flow)()
    assert result.status == "FAILED"
    assert "cannot be loaded" in str(result.error)


def test_a_dispatch_that_failed_says_so_to_whoever_waits(flow: Any) -> None:
    dispatch_id = ct.dispatch(flow)()
    result = ct.get_result(dispatch_id, wait=True, timeout=30)
    assert result.status == "FAILED"
    assert "ValueError" in str(result.error)


def test_waiting_has_an_end(mark: Mark, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    @ct.electron
    def work() -> int:
        import time

        while not gate.exists():
            time.sleep(0.005)
        return 1

    @ct.lattice
    def flow() -> Any:
        return work()

    dispatch_id = ct.dispatch(flow)()
    with pytest.raises(TimeoutError, match=dispatch_id[:12]):
        ct.get_result(dispatch_id, wait=True, timeout=0.05)
    running = ct.get_result(dispatch_id)
    assert (running.status, running.result) == ("RUNNING", None)
    gate.touch()
    assert ct.get_result(dispatch_id, wait=True).result == 1


def test_cancelling_keeps_what_had_finished(mark: Mark, ran: Ran, tmp_path: Path, eventually: Any) -> None:
    gate = tmp_path / "gate"

    @ct.electron
    def first() -> int:
        mark("first")
        return 1

    @ct.electron
    def slow(n: int) -> int:
        import time

        mark("slow")
        while not gate.exists():
            time.sleep(0.005)
        return n + 1

    @ct.electron
    def last(n: int) -> int:
        mark("last")
        return n + 1

    @ct.lattice
    def flow() -> Any:
        return last(slow(first()))

    dispatch_id = ct.dispatch(flow)()
    eventually(lambda: "slow" in (tmp_path / "tally").read_text() if (tmp_path / "tally").exists() else False)
    assert ct.cancel(dispatch_id)
    result = ct.get_result(dispatch_id, wait=True, timeout=20)
    assert (result.status, result.result) == ("CANCELLED", None)
    assert statuses(result) == {"first": "ran", "slow": "cancelled", "last": "cancelled"}
    assert not ct.cancel(dispatch_id)  # it is over
    gate.touch()
    ran()
    assert again(dispatch_id)().result == 3
    assert ran() == ["last", "slow"]
    assert ct.get_result(dispatch_id).status == "CANCELLED"


def test_a_call_that_fails_because_it_was_cancelled_is_cancelled(tmp_path: Path) -> None:
    told = tmp_path / "id"

    @ct.electron(executor="inline")
    def interrupted() -> int:
        import time

        while not told.exists():
            time.sleep(0.005)
        ct.cancel(told.read_text())
        time.sleep(0.1)  # until it is time to look around again
        message = "the connection was closed"
        raise OSError(message)

    @ct.lattice
    def flow() -> Any:
        return interrupted()

    dispatch_id = ct.dispatch(flow)()
    (tmp_path / "half").write_text(dispatch_id)
    (tmp_path / "half").rename(told)
    result = ct.get_result(dispatch_id, wait=True, timeout=20)
    assert (result.status, result.node("interrupted").status) == ("CANCELLED", "cancelled")


def test_a_dispatch_that_is_over_cannot_be_cancelled(flow: Any) -> None:
    for result in (ct.dispatch_sync(flow)(), ct.dispatch_sync(flow)("1")):
        assert not ct.cancel(result.dispatch_id)
        assert ct.get_result(result.dispatch_id).status == result.status


def test_a_running_dispatch_cannot_be_removed(mark: Mark, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    @ct.electron
    def work() -> int:
        import time

        while not gate.exists():
            time.sleep(0.005)
        return 1

    @ct.lattice
    def flow() -> Any:
        return work()

    dispatch_id = ct.dispatch(flow)()
    with pytest.raises(ct.CasRunError, match="is running"):
        ct.remove(dispatch_id)
    gate.touch()
    ct.get_result(dispatch_id, wait=True)
    ct.remove(dispatch_id)
    assert ct.list_dispatches() == []
