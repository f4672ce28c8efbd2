"""What was recorded with other packages: reused without them, run with those that are here, refused before it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FLOW = """
import needed

@ct.electron
def load(n):
    mark("load")
    return list(range(n))

@ct.electron
def train(values, C):
    mark("train")
    return needed.fit(values) * C

@ct.lattice
def flow(n=3, C=1.0):
    return train(load(n), C)

result = ct.dispatch_sync(flow, executor="process")()
show([result.dispatch_id, result.result])
"""

AGAIN = """
inputs, recompute = json.loads(sys.argv[2])
try:
    child = ct.redispatch(sys.argv[1], executor="process", recompute=recompute)
    result = ct.get_result(child(*inputs), wait=True)
    why = str(ct.explain(result.dispatch_id))
    show([result.status, result.result, {n.label: n.status for n in result.nodes}, why])
except ct.CasRunError as error:
    show(str(error))
"""


def install(site: Path, version: str, code: str) -> str:
    (site / "needed").mkdir(parents=True)
    (site / "needed" / "__init__.py").write_text(code)
    information = site / f"needed_things-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: needed-things\nVersion: {version}\n")
    (information / "RECORD").write_text("needed/__init__.py,,\n")
    return str(site)


def test_a_package_that_is_missing_or_another_is_found_before_anything_runs(user: Any) -> None:
    old = install(user.root / "old" / "site-packages", "1.7.1", "def fit(values): return sum(values)\n")
    new = install(user.root / "new" / "site-packages", "1.8.0", "def fit(values): return sum(values) + 1\n")
    dispatch_id, result = user.run(user.script(FLOW), PYTHONPATH=old).last
    assert (result, user.ran()) == (3.0, ["load", "train"])
    elsewhere = user.root / "elsewhere"
    elsewhere.mkdir()
    again = elsewhere / "again.py"
    again.write_text("import json, os, sys\nimport cas_run as ct\ndef show(v): print(json.dumps(v))\n" + AGAIN)

    def redispatch(*inputs: float, recompute: str | None = None, **environment: str) -> Any:
        return user.run(again, dispatch_id, json.dumps([inputs, recompute]), cwd=elsewhere, **environment).last

    # Without it, what was computed with it is there all the same,
    status, value, nodes, _ = redispatch()
    assert (status, value, nodes) == ("COMPLETED", 3.0, {"load": "hit", "train": "hit"})
    # what needs it is refused before anything runs,
    said = redispatch(recompute="all")
    assert "electron `train` needs needed-things 1.7.1, which is not installed here" in said
    assert "pip install needed-things==1.7.1" in said
    assert "needed-things: recorded 1.7.1, here missing" in redispatch(5, 2.0)
    assert user.ran() == []
    # and another version is another key.
    status, value, nodes, why = redispatch(PYTHONPATH=new)
    assert (status, value, nodes) == ("COMPLETED", 4.0, {"load": "hit", "train": "ran"})
    assert "1.7.1" in why
    assert "1.8.0" in why
    assert user.ran() == ["train"]
