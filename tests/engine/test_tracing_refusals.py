"""What cannot be done to a handle or given to an electron is refused, with its line, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.engine.workflows import give, one

import cas_run as ct
from cas_run import CasRunError

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


# Unpacking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", ["a, b = h", "[x for x in h]", "list(h)", "for x in h: pass", "f(*h)"])
def test_iterating_over_an_unknown_count_names_the_line_and_the_way_out(mark: Mark, use: str) -> None:
    lines = ["@ct.lattice", "def flow():", "    h = one()", f"    {use}", "    return h"]
    message = refusal("\n".join(lines))
    assert "flow.py:4 (flow)" in message
    assert "`one`" in message
    assert "outputs=" in message
    assert "sublattice" in message


@pytest.mark.parametrize(
    "use",
    [
        "if h: pass",
        "x = 1 if h > 0 else 2",
        "x = h and 2",
        "x = not h",
        "while h: pass",
        "assert h == 1",
        "x = 1 < h < 3",
    ],
)
def test_a_condition_on_a_handle_names_the_line_and_the_way_out(mark: Mark, use: str) -> None:
    lines = ["@ct.lattice", "def flow():", "    h = one()", "", f"    {use}", "    return h"]
    message = refusal("\n".join(lines))
    assert "flow.py:5 (flow)" in message
    assert "condition" in message
    assert "sublattice" in message


@pytest.mark.parametrize("use", ["len(h)", "int(h)", "float(h)", "range(h)", "'a' in h", "[1, 2][h]", "round(h)"])
def test_what_needs_the_value_of_a_handle_names_the_line_and_the_way_out(mark: Mark, use: str) -> None:
    message = refusal(f"@ct.lattice\ndef flow():\n    h = one()\n    return {use}\n")
    assert "flow.py:4 (flow)" in message
    assert "`one`" in message
    assert "sublattice" in message


@pytest.mark.parametrize("use", ["h.x = 1", "h['x'] = 1", "h += [1]; h[0] = 2", "del h['x']", "del h.x"])
def test_changing_a_result_names_the_line_and_the_way_out(mark: Mark, use: str) -> None:
    message = refusal(f"@ct.lattice\ndef flow():\n    h = one()\n    {use}\n    return h\n")
    assert "flow.py:4 (flow)" in message
    assert "in an electron" in message


def test_a_handle_in_text_is_refused_where_it_would_be_taken_for_its_value(mark: Mark) -> None:
    # f"{h:.2f}" would give a text with a name in it instead of a number.
    message = refusal("@ct.lattice\ndef flow():\n    h = one()\n    return give(f'{h:.2f}')\n")
    assert "flow.py:4 (flow)" in message


def test_a_handle_hidden_in_a_set_or_an_instance_is_refused(mark: Mark) -> None:
    partial = "give(functools.partial(give, h))"
    for use in ("give({h})", "give(frozenset([h]))", "give(Box(h))", "give(lambda: h)", partial):
        box = "class Box:\n    def __init__(self, x): self.x = x\n"
        message = refusal(f"import functools\n{box}@ct.lattice\ndef flow():\n    h = one()\n    return {use}\n")
        assert "`one`" in message or "`give`" in message, message


def test_a_handle_of_one_evaluation_cannot_be_used_in_another(mark: Mark) -> None:
    kept: list[Any] = []

    @ct.lattice
    def first() -> Any:
        kept.append(one())
        return kept[0]

    @ct.lattice
    def second() -> Any:
        return give(kept[0])

    ct.dispatch_sync(first)()
    with pytest.raises(CasRunError, match="another evaluation"):
        ct.dispatch(second)()


def refusal(source: str) -> str:
    """What dispatching the `flow` of this source says. Nothing of it has run."""
    namespace: dict[str, Any] = {"ct": ct, "one": one, "give": give, "f": give}
    exec(compile(source, "/somewhere/flow.py", "exec"), namespace)
    with pytest.raises(CasRunError) as refused:
        ct.dispatch(namespace["flow"])()
    assert ct.list_dispatches() == []
    return str(refused.value)


# What may be an electron ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("generator", lambda: (n for n in range(3))),
        ("TextIOWrapper", lambda: open(__file__, encoding="utf-8")),  # noqa: PTH123, SIM115 - that it is open is the point
        ("lock", lambda: __import__("threading").Lock()),
        ("generator", lambda: [1, {"deep": (n for n in range(3))}]),
        ("list_iterator", lambda: iter([1])),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_result_that_cannot_be_stored_is_an_error_that_names_the_electron(mark: Mark, name: str, value: Any) -> None:
    @ct.electron
    def produce() -> Any:
        return value()

    @ct.lattice
    def flow() -> Any:
        return produce()

    result = ct.dispatch_sync(flow)()
    if name == "list_iterator" and result.status == "COMPLETED":
        return  # iterators over lists can be stored, as they are
    assert result.status == "FAILED"
    assert "electron `produce`" in str(result.error)
    assert name in str(result.error)
    assert "->" in str(result.error)


def test_generator_functions_are_refused_by_name(mark: Mark) -> None:
    @ct.electron
    def numbers(n: int) -> Any:
        yield from range(n)

    @ct.lattice
    def flow() -> Any:
        return numbers(3)

    result = ct.dispatch_sync(flow)()
    assert result.status == "FAILED"
    assert "`numbers`" in str(result.error)
    assert "generator" in str(result.error)


@pytest.mark.parametrize("make", [lambda: __import__("threading").Lock(), lambda: (n for n in range(3))])
def test_an_argument_without_stable_content_is_refused_before_anything_runs(mark: Mark, ran: Ran, make: Any) -> None:
    @ct.electron
    def load() -> int:
        mark("load")
        return 1

    @ct.electron
    def train(data: int, model: Any) -> int:
        return data

    @ct.lattice
    def flow() -> Any:
        return train(load(), {"inner": [make()]})

    with pytest.raises(CasRunError) as refused:
        ct.dispatch(flow)()
    assert "electron `train`: its argument `model" in str(refused.value)
    assert "->" in str(refused.value)
    assert ran() == []


def test_a_call_that_does_not_bind_is_refused_with_its_line_before_anything_runs(mark: Mark) -> None:
    for call, said in [("give()", "value"), ("give(1, 2)", "2"), ("give(valeu=1)", "did you mean `value`")]:
        message = refusal(f"@ct.lattice\ndef flow():\n    a = one()\n    return {call}\n")
        assert "flow.py:4 (flow)" in message
        assert "`give`" in message
        assert said in message


def test_what_the_lattice_function_raises_comes_through(mark: Mark) -> None:
    @ct.lattice
    def flow(n: int) -> Any:
        return [1, 2, 3][n]

    with pytest.raises(IndexError):
        ct.dispatch(flow)(7)
    assert ct.list_dispatches() == []
    assert ct.dispatch_sync(flow)(1).result == 2  # and nothing is left of it
