"""Plays projects of the corpus in a peer's environment: the zygote of tests/identity behind a peer's face.

A script, run by the peer's own Python: `stage.py ADAPTER`. Jobs and answers are JSON lines, as the zygote's.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
ZYGOTE = HERE.parent.parent / "tests" / "identity" / "zygote.py"


def by_path(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(adapter_name: str) -> None:
    face: Any = by_path(HERE / "face.py", "cas_run")
    adapter: Any = by_path(HERE / "adapters" / f"{adapter_name}.py", "the_adapter")
    zygote: Any = by_path(ZYGOTE, "the_zygote")
    # A peer takes its store when a function is decorated, before the zygote hands it to dispatch_sync.
    played = zygote.play

    def play(job: dict[str, Any]) -> dict[str, Any]:
        sys.stdin = io.StringIO("y\n" * 1000)  # whether a change asks for a recomputation (mandala): it does
        if job["store"] is not None:
            store = Path(job["store"])
            store.mkdir(exist_ok=True)
            face.begin(adapter.Peer(store, Path(job["folder"])))
        answer: dict[str, Any] = played(job)
        return answer

    zygote.play = play
    for name in zygote.HEAVY:
        with suppress(ImportError):
            importlib.import_module(name)
    answers = io.TextIOWrapper(os.fdopen(os.dup(1), "wb"), encoding="utf-8", line_buffering=True)
    os.dup2(2, 1)  # what a peer prints is no answer
    for line in sys.stdin:
        answers.write(json.dumps(zygote.answer_of(json.loads(line))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
