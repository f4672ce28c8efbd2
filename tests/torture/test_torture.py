"""Killed, cut off from power or given errors at any point, a store keeps what it acknowledged and goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HARNESS = Path(__file__).with_name("harness.py")


@pytest.fixture
def hurt(seed: int, record_property: Any) -> Any:
    """What came of hurting stores in one way, so many times."""

    def hurt(how: str, count: int, *more: str, package: Path | None = None) -> dict[str, Any]:
        process = subprocess.run(
            [sys.executable, str(HARNESS), how, str(count), str(seed), *more],
            env={**os.environ, **({"PYTHONPATH": str(package)} if package else {})},
            capture_output=True,
            text=True,
            timeout=1400,
        )
        assert process.returncode == 0, process.stderr[-5000:]
        figures: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
        if "impossible" in figures:
            pytest.skip(figures["impossible"])
        for name, value in figures.items():
            record_property(name, value)
        return figures

    return hurt


@pytest.mark.promise("kill")
def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(hurt: Any, rounds: Any) -> None:
    assert hurt("kill", rounds(100, full=1000))["acknowledged"]


@pytest.mark.promise("once")
def test_who_waits_to_write_is_not_forgotten_when_others_that_wait_are_killed(hurt: Any, rounds: Any) -> None:
    """With LMDB's own lock alone, one or two rounds in forty never came to their end."""
    assert hurt("turns", rounds(50, full=2000))["killed"]


@pytest.mark.promise("power")
def test_nothing_acknowledged_is_lost_when_the_power_fails(hurt: Any, rounds: Any) -> None:
    assert hurt("power", rounds(300, full=5000))["bad"] == 0


@pytest.mark.promise("power")
def test_without_syncing_more_than_half_of_the_power_cuts_are_seen(hurt: Any, rounds: Any, tmp_path: Path) -> None:
    """The control: else the test before this one would prove nothing."""
    import cas_store

    package = tmp_path / "cas_store"
    package.mkdir()
    for file in Path(cas_store.__file__).parent.glob("*.py"):
        package.joinpath(file.name).write_text(file.read_text().replace("sync=self._lasting", "sync=False"))
    figures = hurt("power", rounds(150, full=1000), "--control", "--batches=48", package=tmp_path)
    assert figures["bad"] * 2 > figures["images"]


@pytest.mark.promise("full")
def test_errors_of_the_system_are_typed_and_nothing_is_lost_and_it_goes_on(hurt: Any, rounds: Any) -> None:
    assert hurt("faults", rounds(60, full=600))["turns"]
