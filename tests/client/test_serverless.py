"""docs/how-to/serverless.md is true: its programs are run as they stand there, where nothing is installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.client.conftest import PYTHON, Served, cas_run_in

import cas_run.client

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "how-to" / "serverless.md").read_text(encoding="utf-8")
HERE = """
import json, sys
import handler

class Context:
    aws_request_id = sys.argv[1]

print(json.dumps(getattr(handler, sys.argv[2])(json.loads(sys.argv[3]), Context())))
"""


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^<!-- {re.escape(name)} -->\n```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    """A server with a support vector machine that has run once, and its id."""
    folder = tmp_path_factory.mktemp("platform")
    shutil.copy(ROOT / "examples" / "svm.py", folder / "svm.py")
    svm = cas_run_in(folder, "run", "-q", "svm.py:svm", "-p", "C=1.0").strip()
    (folder / "svm.py").unlink()
    token = cas_run_in(folder, "token", "new", "--scope", "run", "--name", "lambda").strip()
    served = Served(folder, "--workers", "1")
    served.token = token
    yield served, svm
    served.stop()


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a function: a virtual environment of the oldest Python here with nothing in it, and two files."""
    folder = tmp_path_factory.mktemp("function")
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (program,) = blocks("handler.py", "python")
    (look,) = re.findall(r"^```python\n(def look.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(program.splitlines()) <= 10
    (folder / "handler.py").write_text(program + look, encoding="utf-8")
    (folder / "here.py").write_text(HERE, encoding="utf-8")
    shutil.copy(cas_run.client.__file__, folder / "client.py")
    return folder


def environment(served: Served, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "CAS_RUN_SERVER": served.url, "CAS_RUN_TOKEN": served.token, **more}


def called(function: Path, served: Served, request_id: str, name: str, event: Any) -> Any:
    python = function / "venv" / "bin" / "python"
    there = subprocess.run([python, "-c", "import cas_run"], cwd=function, capture_output=True, text=True)
    assert "No module named 'cas_run'" in there.stderr
    done = subprocess.run(
        [python, "here.py", request_id, name, json.dumps(event)],
        cwd=function,
        env=environment(served),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_the_handler_runs_a_workflow_of_scikit_learn_with_nothing_installed(
    platform: tuple[Served, str], function: Path
) -> None:
    served, svm = platform
    event = {"id": svm, "inputs": {"C": 1.5, "gamma": 0.8}}
    answer = called(function, served, "request-1", "handler", event)
    for _ in range(10):
        if answer["status"] != "RUNNING":
            break
        answer = called(function, served, "", "look", {"id": answer["id"]})
    assert answer["status"] == "COMPLETED"
    assert answer["result"]["score"] == pytest.approx(0.9532163742690059)
    again = called(function, served, "request-1", "handler", event)  # Lambda repeats an event: nothing new runs
    assert again == answer
    listed = [one["dispatch_id"] for one in served.client().list()]
    assert listed == [answer["id"], svm]
    told = served.client().get(answer["id"])
    assert {node["label"]: node["status"] for node in told["nodes"]} | {"bootstrap": ""} == {
        "load": "hit",
        "split": "hit",
        "scale": "hit",
        "train": "ran",
        "compute_accuracy": "ran",
        "bootstrap": "",
    }


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_lines_of_curl_work(platform: tuple[Served, str], tmp_path: Path) -> None:
    served, svm = platform
    redispatch, result = blocks("curl", "bash")

    def run(line: str, **variables: str) -> Any:
        done = subprocess.run(
            ["bash", "-euc", line], env=environment(served, **variables), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    first = run(redispatch, ID=svm, KEY="order-4711")
    value = run(result, NEW=first["dispatch_id"])["value"]
    assert set(value) == {"score", "spread"}
    again = run(redispatch, ID=svm, KEY="order-4711")
    assert (again["dispatch_id"], again["result"]["value"]) == (first["dispatch_id"], value)


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node")
def test_the_javascript_works(platform: tuple[Served, str], tmp_path: Path) -> None:
    served, svm = platform
    (program,) = blocks("redispatch.mjs", "javascript")
    call = (
        f"\nconsole.log(JSON.stringify(await redispatch({svm!r}, {{ C: 1.5 }})));\n"
        f"await redispatch({svm!r}, {{ D: 1.5 }}).catch((error) => console.log(error.message));\n"
    )
    (tmp_path / "redispatch.mjs").write_text(program + call, encoding="utf-8")
    done = subprocess.run(
        [shutil.which("node") or "", "redispatch.mjs"],
        cwd=tmp_path,
        env=environment(served),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    value, refusal = done.stdout.splitlines()
    assert set(json.loads(value)) == {"score", "spread"}
    assert "D" in refusal


def test_the_page_is_linked_and_its_links_lead_somewhere() -> None:
    assert "docs/how-to/serverless.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / "how-to" / link).exists(), link
