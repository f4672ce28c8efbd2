"""Whatever the graph and whatever is edited in it: what ran is what a reference model predicts, and the results are
those of a store that knows nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cas_run as ct

Mark = Callable[[str], None]

OPERATIONS: dict[str, Callable[[tuple[int, ...]], int]] = {
    "total": sum,
    "parity": lambda values: sum(values) % 2,
    "largest": lambda values: max(values, default=0),
}


@ct.electron
def total(*values: int) -> int:
    _note("total", values)
    return sum(values)


@ct.electron
def parity(*values: int) -> int:
    _note("parity", values)
    return sum(values) % 2


@ct.electron
def largest(*values: int) -> int:
    _note("largest", values)
    return max(values, default=0)


def _note(name: str, values: tuple[int, ...]) -> None:
    with open(os.environ["TALLY"], "a", encoding="utf-8") as tally:  # noqa: PTH123 - as in conftest
        tally.write(f"{name}{values}\n".replace(" ", ""))


Node = tuple[str, tuple[int, ...]]  # an operation, and what it takes: inputs 0..2, then earlier nodes


@ct.lattice
def evaluate(shape: tuple[Node, ...], inputs: tuple[int, ...]) -> Any:
    electrons = {"total": total, "parity": parity, "largest": largest}
    values: list[Any] = list(inputs)
    for operation, takes in shape:
        values.append(electrons[operation](*[values[i] for i in takes]))
    return values[len(inputs) :]


@st.composite
def shapes(draw: st.DrawFn) -> tuple[Node, ...]:
    nodes: list[Node] = []
    for at in range(draw(st.integers(1, 8))):
        takes = draw(st.lists(st.integers(0, 3 + at - 1), min_size=1, max_size=3))
        nodes.append((draw(st.sampled_from(sorted(OPERATIONS))), tuple(takes)))
    return tuple(nodes)


class Model:
    """The reference: a call has run once its values were seen, whatever they came from."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def run(self, shape: tuple[Node, ...], inputs: tuple[int, ...]) -> tuple[list[int], list[str]]:
        values, ran = list(inputs), []
        for operation, takes in shape:
            arguments = tuple(values[i] for i in takes)
            call = f"{operation}{arguments}".replace(" ", "")
            if call not in self.seen:
                self.seen.add(call)
                ran.append(call)
            values.append(OPERATIONS[operation](arguments))
        return values[len(inputs) :], sorted(ran)


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=shapes(), data=st.data())
def test_what_ran_is_what_had_to_and_the_results_are_those_of_a_fresh_store(
    shape: tuple[Node, ...], data: st.DataObject
) -> None:
    numbers = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        tally = Path(folder) / "tally"
        patch.setenv("TALLY", str(tally))
        model = Model()
        inputs = data.draw(numbers)
        parent = ""
        for step in range(3):
            if parent and data.draw(st.booleans()):
                start = ct.redispatch(parent, store=Path(folder) / "store")
                dispatch_id = start(inputs=inputs, shape=shape)
            else:
                dispatch_id = ct.dispatch(evaluate, store=Path(folder) / "store")(shape, inputs)
            result = ct.get_result(dispatch_id, wait=True, store=Path(folder) / "store")
            ran = sorted(tally.read_text().splitlines()) if tally.exists() else []
            tally.unlink(missing_ok=True)
            expected, had_to = model.run(shape, inputs)
            assert result.result == expected, (step, shape, inputs)
            assert set(ran) == set(had_to), (step, shape, inputs)
            parent = dispatch_id
            inputs = data.draw(numbers)
            shape = data.draw(st.one_of(st.just(shape), shapes()))
