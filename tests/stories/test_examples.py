"""The examples do what README and the demo say of them: what runs, what is reused, and what comes out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
DATA_STEPS = {"load", "split", "scale"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One store for this file: the first run is what the redispatches start from."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "CAS_RUN_STORE": str(tmp_path_factory.mktemp("examples") / "store")}


def cas_run(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        ["cas-run", *arguments, "--json"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def first(environment: dict[str, str]) -> dict[str, Any]:
    return cas_run(environment, "run", "examples/svm.py:svm", "-p", "C=1.0", "-p", "gamma=0.7")


def what_ran(dispatch: dict[str, Any]) -> set[str]:
    assert {node["status"] for node in dispatch["nodes"]} <= {"ran", "hit"}
    return {node["electron"] for node in dispatch["nodes"] if node["status"] == "ran"}


def test_the_first_run_runs_everything(first: dict[str, Any]) -> None:
    assert what_ran(first) == DATA_STEPS | {"train", "compute_accuracy", "bootstrap"}


def test_the_same_again_runs_nothing(environment: dict[str, str], first: dict[str, Any]) -> None:
    again = cas_run(environment, "redispatch", first["dispatch_id"])
    assert what_ran(again) == set()


def test_new_inputs_reuse_the_data_steps(environment: dict[str, str], first: dict[str, Any]) -> None:
    other = cas_run(environment, "redispatch", first["dispatch_id"], "-p", "C=1.5", "-p", "gamma=0.8")
    assert what_ran(other) == {"train", "compute_accuracy", "bootstrap"}


def test_another_measure_runs_alone(environment: dict[str, str], first: dict[str, Any]) -> None:
    replacement = "compute_accuracy=examples/metrics.py:compute_recall"
    other = cas_run(environment, "redispatch", first["dispatch_id"], "--replace", replacement)
    assert what_ran(other) == {"compute_recall"}


def test_another_model_reuses_the_data_steps(environment: dict[str, str], first: dict[str, Any]) -> None:
    other = cas_run(
        environment, "redispatch", first["dispatch_id"], "--replace", "train=examples/models.py:train_forest"
    )
    assert what_ran(other) == {"train_forest", "compute_accuracy", "bootstrap"}


def test_another_sample_runs_the_stochastic_step(environment: dict[str, str], first: dict[str, Any]) -> None:
    other = cas_run(environment, "redispatch", first["dispatch_id"], "--recompute", "stochastic")
    assert what_ran(other) == {"bootstrap"}


def test_the_example_runs_as_a_script(environment: dict[str, str], first: dict[str, Any]) -> None:
    # After the command, in the same store: run as __main__ or loaded by the command, the code is the same.
    script = [sys.executable, "examples/svm.py"]
    done = subprocess.run(script, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "ran 0, reused 6" in done.stdout
    assert first["dispatch_id"] not in done.stdout


@pytest.mark.slow
def test_the_demo_runs_and_shows_what_was_reused(tmp_path: Path, environment: dict[str, str]) -> None:
    # In a copy: the demo makes its store beside itself.
    copy = tmp_path / "examples"
    copy.mkdir()
    for file in (ROOT / "examples").glob("*.*"):
        (copy / file.name).write_bytes(file.read_bytes())
    done = subprocess.run(
        ["bash", copy / "demo.sh"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("$ cas-run redispatch") == 6
