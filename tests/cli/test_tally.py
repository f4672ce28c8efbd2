"""Progress counts by electron, so that 100,000 nodes are a few lines, and guesses how long the rest takes."""

from __future__ import annotations

import io
import time

from cas_engine.evaluating.events import Event, Finished, NodeFinished, NodeStarted, Planned
from cas_run.progress import Lines
from cas_run.tally import Counts, Tally
from cas_run.terminal import Stream

ID, SUB = "a" * 32, "b" * 32


def finished(index: int, electron: str, status: str, *, at: str = ID, seconds: float = 1.0) -> NodeFinished:
    return NodeFinished(at, index, f"{electron}#{index}", electron, status, "why", seconds, 0.5)


def told(*events: Event, every: bool = False) -> str:
    stream = Stream(io.StringIO())
    lines = Lines(stream, every=every)
    for event in events:
        lines(event)
    return stream.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_nodes_are_counted_by_electron() -> None:
    tally = Tally()
    tally(Planned(ID, "svm", 4, 1, 2.0))
    tally(finished(0, "load", "hit"))
    tally(NodeStarted(ID, 1, "train#1", "train"))
    tally(NodeStarted(ID, 2, "train#2", "train"))
    tally(finished(1, "train", "ran"))
    tally(finished(3, "score", "skipped"))
    assert dict(tally.electrons()) == {
        "load": Counts(hit=1),
        "train": Counts(ran=1, running=1),
        "score": Counts(skipped=1),
    }
    assert (tally.done, tally.total, tally.running, tally.over) == (3, 4, ["train"], False)
    tally(Finished(ID, "COMPLETED"))
    assert tally.over


def test_a_sublattice_adds_its_nodes_when_it_is_reached() -> None:
    tally = Tally()
    tally(Planned(ID, "outer", 2, 0, 1.0))
    tally(Planned(SUB, "inner", 10, 3, 1.0))
    tally(NodeStarted(ID, 0, "a", "a"))
    tally(finished(0, "b", "ran", at=SUB))
    tally(Finished(SUB, "COMPLETED"))
    assert (tally.dispatch_id, tally.lattice, tally.total, tally.over) == (ID, "outer", 12, False)
    assert tally.running == ["a"]


def test_the_rest_is_guessed_from_recorded_durations_then_from_the_pace() -> None:
    now = [0.0]
    tally = Tally(clock=lambda: now[0])
    tally(Planned(ID, "svm", 4, 0, 100.0))
    now[0] = 30.0
    assert tally.eta() == 70.0
    now[0] = 120.0  # longer than last time
    assert tally.eta() is None
    tally(finished(0, "train", "ran"))
    assert tally.eta() == 360.0
    for index in (1, 2, 3):
        tally(finished(index, "train", "ran"))
    assert tally.eta() is None


def test_hits_are_summed_and_each_node_that_ran_has_a_line() -> None:
    text = told(
        Planned(ID, "svm", 3, 1, 2.5),
        finished(0, "load", "hit"),
        NodeStarted(ID, 1, "train#1", "train"),
        finished(1, "train", "ran", seconds=1.25),
        finished(2, "score", "failed"),
    )
    assert text.splitlines() == [
        "svm aaaaaaaaaaaa: 3 nodes, 1 hit, 2 to run, about 2.50 s",
        "  ran       train#1                     1.25 s  why",
        "  failed    score#2                     1.00 s  why",
    ]


def test_verbose_lines_tell_hits_and_starts_too() -> None:
    text = told(finished(0, "load", "hit"), NodeStarted(ID, 1, "train#1", "train"), every=True)
    assert [line.split()[:2] for line in text.splitlines()] == [["hit", "load#0"], ["start", "train#1"]]


def test_counting_a_hundred_thousand_nodes_is_quick() -> None:
    tally = Tally()
    tally(Planned(ID, "wide", 100_000, 0, 0.0))
    began = time.perf_counter()
    for index in range(100_000):
        tally(finished(index, "step", "hit"))
    assert tally.done == 100_000
    assert time.perf_counter() - began < 5
