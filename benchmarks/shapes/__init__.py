"""What graphs of several shapes and sizes cost: run at first, run again unchanged, and with one node more.

Contenders take turns; each run is a process of its own. All must give the value, and run as many nodes, as the limit.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness import Figure, Options, Report, json_of, measured, table_of
from benchmarks.identity.peers import Contender, surroundings
from benchmarks.processes import ask, folder, turned
from benchmarks.shapes.contenders import CONTENDERS, FLOOR, OURS, PHASES, Peer
from benchmarks.shapes.graphs import PARENTS

PLAYER = Path(__file__).with_name("player.py")
LIMIT_IS = "keys and look-ups in a loop, LMDB alone, 64 results in a synced commit"
REACH = {"cold": "≤ 100 µs", "unchanged": "< 20 ms in all", "one node more": "≤ 10 µs"}
MEMORY = "memory, cold"
# Beyond so many seconds a round is not repeated.
PATIENCE, PATIENCE_QUICK = 20.0, 2.0


@dataclass(slots=True)
class Taken:
    """What was measured: the answers of the player by contender, shape, size and phase; and what went wrong."""

    answers: dict[tuple[str, str, int, str], list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    took: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)  # the largest: nodes, seconds a round
    failed: set[tuple[str, str]] = field(default_factory=set)  # contender and shape: larger ones are not tried


def sizes(options: Options) -> Iterator[tuple[str, int]]:
    """The smallest of all shapes first, so that an interrupted run has something of each."""
    if options.quick:
        yield from ((shape, 1_000) for shape in PARENTS)
        yield from (("chain", 10_000), ("sweep", 24))
        return
    for size, small in ((100, 24), (1_000, 104), (10_000, 504), (100_000, 0), (1_000_000, 0)):
        if size > options.nodes:
            return
        yield from ((shape, size) for shape in PARENTS)
        if small:
            yield "sweep", small


def run(options: Options) -> Report:
    taken = Taken()
    with ExitStack() as stack:
        around, versions = contenders(options, stack, taken.notes)
        try:
            for shape, size in sizes(options):
                some = [
                    name
                    for name in around
                    if shape in CONTENDERS[name].shapes and not too_long(name, shape, size, options, taken)
                ]
                rounds(shape, size, some, around, options, taken)
                options.say(progress(shape, size, taken))
        except KeyboardInterrupt:
            taken.notes.append("interrupted: larger graphs, and some rounds, are missing")
    found: dict[str, Any] = {phase: figures_of(phase, taken) for phase in PHASES}
    found[MEMORY] = memory_of(taken)
    text = "\n\n".join(f"-- {part}\n{table_of(figures)}" for part, figures in found.items())
    told = [f"{name} {version}" for name, version in versions.items()] + taken.notes
    parts = {part: json_of(figures) for part, figures in found.items()}
    return Report("\n".join(["", text, *told]), {**parts, "versions": versions, "notes": taken.notes})


def contenders(
    options: Options, stack: ExitStack, notes: list[str]
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Those present and asked for, each with its environment variables; and their versions."""
    wanted = set(CONTENDERS) if options.peers == "all" else {FLOOR, OURS, *options.peers.split(",")}
    around: dict[str, dict[str, str]] = {}
    versions: dict[str, str] = {}
    for name, peer in CONTENDERS.items():
        if name not in wanted:
            continue
        if complaint := peer.complaint:
            notes.append(f"{name}: {complaint}, left out")
            continue
        home = Path(stack.enter_context(folder()))
        one = Contender(peer.environment or name, peer.environment, peer.distribution, served=peer.served)
        try:
            around[name] = dict(stack.enter_context(surroundings(one, home)))
        except OSError as error:
            notes.append(f"{name}: {error}, left out")
            continue
        if peer.environment:
            versions[name] = one.version
        if peer.note:
            notes.append(f"{name}: {peer.note}")
    return around, versions


def too_long(name: str, shape: str, size: int, options: Options, taken: Taken) -> bool:
    """Whether a peer would take longer than it is given, by what it took for the last smaller graph."""
    before, took = taken.took.get((name, shape), (size, 0.0))
    likely = took * size / before
    if name in (FLOOR, OURS) or likely <= options.seconds_each:
        return False
    if (name, shape) not in taken.failed:
        taken.failed.add((name, shape))
        taken.notes.append(f"{name}, {shape} of {size:,}: would take about {likely:,.0f} s, left out")
    return True


def rounds(
    shape: str, size: int, names: list[str], around: dict[str, dict[str, str]], options: Options, taken: Taken
) -> None:
    """The limit begins, whose values and counts are the right ones; then they take turns."""
    patience = PATIENCE_QUICK if options.quick else PATIENCE
    most = (1 if shape == "sweep" else 2) if options.quick else 3 if size > 10_000 else 5
    going = list(names)
    for number in range(min(most, options.rounds)):
        for name in turned(going, number):
            if (name, shape) in taken.failed:
                continue
            try:
                took = play(name, shape, size, around[name], options, taken)
            except RuntimeError as error:
                taken.failed.add((name, shape))
                taken.notes.append(f"{name}, {shape} of {size:,}: {error}")
                continue
            taken.took[name, shape] = size, took
            if took > patience and name not in (FLOOR, OURS):
                going.remove(name)


def play(name: str, shape: str, size: int, around: dict[str, str], options: Options, taken: Taken) -> float:
    """All phases, each in a new process, in one new folder. Gives the seconds that they took."""
    peer: Peer = CONTENDERS[name]
    took = 0.0
    with folder() as made:
        for phase in peer.phases:
            nodes = size + (0 if phase != "one node more" else 2 if shape == "sweep" else 1)
            answer = ask(
                PLAYER, name, shape, nodes, made, python=peer.python, also=around, seconds=options.seconds_each
            )
            check(name, phase, answer, taken.answers.get((FLOOR, shape, size, phase), [answer])[0])
            taken.answers.setdefault((name, shape, size, phase), []).append(answer)
            took += answer["seconds"]
    return took


def check(name: str, phase: str, answer: dict[str, Any], right: dict[str, Any]) -> None:
    """Raises RuntimeError: what is wrong or runs more than it must is not measured."""
    if answer["value"] not in (None, right["value"]):
        raise RuntimeError(f"{name}, {phase}, gave {answer['value']} and not {right['value']}")
    if answer["ran"] not in (None, right["ran"]):
        raise RuntimeError(f"{name}, {phase}, ran {answer['ran']} nodes and not {right['ran']}")


def figures_of(phase: str, taken: Taken) -> list[Figure]:
    figures = []
    for (name, shape, size, of), answers in sorted_by_shape(taken):
        limit = taken.answers.get((FLOOR, shape, size, phase))
        if of != phase or name == FLOOR or not limit:
            continue
        seconds, cpu = ([each[column] for each in answers] for column in ("seconds", "cpu"))
        least = [each["seconds"] for each in limit]
        reach = REACH[phase] if name == OURS and shape != "sweep" else ""
        what = f"{shape}: {name}"
        figures.append(measured(what, "µs a node", seconds, 1e6 / size, least, LIMIT_IS, reach, size, cpu))
    return figures


def memory_of(taken: Taken) -> list[Figure]:
    """What a process that runs all for the first time takes at most, with all that it imports."""
    return [
        measured(f"{shape}: {name}", "MB", [each["largest"] for each in answers], 1e-6, nodes=size)
        for (name, shape, size, phase), answers in sorted_by_shape(taken)
        if phase == "cold"
    ]


def sorted_by_shape(taken: Taken) -> list[tuple[tuple[str, str, int, str], list[dict[str, Any]]]]:
    order = {name: number for number, name in enumerate((*PARENTS, "sweep", *CONTENDERS))}
    return sorted(taken.answers.items(), key=lambda item: (order[item[0][1]], order[item[0][0]], item[0][2]))


def progress(shape: str, size: int, taken: Taken) -> str:
    """A line while it goes on: the medians of the phases, in microseconds a node."""
    parts = []
    for name in CONTENDERS:
        medians = [
            f"{statistics.median(each['seconds'] for each in answers) * 1e6 / size:,.1f}"
            for phase in PHASES
            for answers in [taken.answers.get((name, shape, size, phase))]
            if answers
        ]
        if medians:
            parts.append(f"{name} {' / '.join(medians)}")
    return f"{shape} of {size:,}: " + "; ".join(parts)
