"""The examples do what README and the demo say of them: what runs, what is reused, and what comes out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# One process for them all, so that the demo runs once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path}


@pytest.fixture(scope="module")
def after_the_demo(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """A copy of the examples in which the demo has run: its store lies in `.demo/store`."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(ROOT / "examples", folder / "examples")
    subprocess.run(["bash", folder / "examples" / "demo.sh"], env=environment, check=True, timeout=300)
    return folder


def dispatches_in(folder: Path, environment: dict[str, str]) -> list[dict[str, Any]]:
    """All of them with their nodes, the oldest first."""
    environment = {**environment, "CAS_RUN_STORE": str(folder / ".demo" / "store")}

    def answer(*arguments: str) -> Any:
        command = ["cas-run", *arguments, "--json"]
        return json.loads(subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60).stdout)

    ids = [each["dispatch_id"] for each in answer("list")["dispatches"]]
    return [answer("show", dispatch_id) for dispatch_id in reversed(ids)]


def test_the_demo_runs_what_it_says_and_no_more(after_the_demo: Path, environment: dict[str, str]) -> None:
    dispatches = dispatches_in(after_the_demo, environment)
    assert {each["status"] for each in dispatches} == {"COMPLETED"}
    ran = [[node["label"] for node in each["nodes"] if node["status"] == "ran"] for each in dispatches]
    model_and_below = ["train", "compute_accuracy", "bootstrap"]
    assert ran == [
        ["load", "split", "scale", *model_and_below],  # for the first time
        [],  # the same again
        model_and_below,  # new inputs
        ["compute_accuracy"],  # replaced by compute_recall
        model_and_below,  # a forest for the SVM
        ["bootstrap"],  # the stochastic electron forced
        [],  # the same script from another file
        model_and_below,  # that file deleted, a new input
    ]


def test_the_demo_computes_what_the_parts_say(after_the_demo: Path, environment: dict[str, str]) -> None:
    scores = [each["result"]["value"]["score"] for each in dispatches_in(after_the_demo, environment)]
    first, same, other_inputs, recall, forest, resampled, *_ = scores
    assert first == same == resampled
    # 171 masses in the test part, 64 of them malignant: the accuracies and the recall are such fractions.
    masses = [score * 171 for score in (first, other_inputs, forest)] + [recall * 64]
    assert masses == pytest.approx([round(each) for each in masses])
    assert 0.9 < min(scores) < max(scores) < 1


def test_as_a_script_it_finds_what_the_command_computed(after_the_demo: Path, environment: dict[str, str]) -> None:
    # Run as __main__ or loaded by the command, from whatever folder: the code is the same.
    store = str(after_the_demo / ".demo" / "store")
    done = subprocess.run(
        [sys.executable, after_the_demo / "examples" / "svm.py"],
        env={**environment, "CAS_RUN_STORE": store},
        cwd=after_the_demo,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip().endswith("ran 0, reused 6")
