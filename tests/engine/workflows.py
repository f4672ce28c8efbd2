"""What tests of several files dispatch with: the plainest electrons, a run and a redispatch that are waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cas_run as ct


@ct.electron
def one() -> Any:
    return 1


@ct.electron
def give(value: Any) -> Any:
    return value


@ct.electron
def total(values: Any) -> Any:
    return sum(values)


def run(lattice_function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of a lattice made of this function."""
    result = ct.dispatch_sync(ct.lattice(lattice_function))(*args, **kwargs)
    assert result.status == "COMPLETED", result.error
    return result.result


def again(dispatch_id: str, *args: Any, **kwargs: Any) -> Callable[..., ct.Result]:
    """Redispatch, and wait."""
    start = ct.redispatch(dispatch_id, *args, **kwargs)
    return lambda *a, **k: ct.get_result(start(*a, **k), wait=True)
