"""Fresh processes that measure something in themselves and answer with a line of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

NOTHING: Mapping[str, str] = {}


@contextmanager
def folder() -> Iterator[Path]:
    """Where TMPDIR says: on the disk that is to be measured."""
    with TemporaryDirectory(prefix="cas-run-bench-") as made:
        yield Path(made)


def ask(
    script: Path,
    *words: object,
    python: str | Path = sys.executable,
    also: Mapping[str, str] = NOTHING,
    seconds: float | None = None,
) -> Any:
    """What a script answers, run in a process of its own; its last line counts. Raises RuntimeError.

    `also`: environment variables besides. Who takes longer than `seconds` is stopped, which raises RuntimeError too.
    """
    command = [str(python), str(script), *map(str, words)]
    environment = {**surroundings(), **also}
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{script.name} took more than {seconds:.0f} s") from None
    if ended.returncode:
        raise RuntimeError(f"{script.name} failed: {ended.stderr.strip().rpartition(chr(10))[2]}")
    return json.loads(ended.stdout.splitlines()[-1])


def ask_at_once(script: Path, words: Sequence[object], processes: int) -> list[Any]:
    """The same of several processes, which begin together: each says that it is ready, and waits for a line."""
    command = [sys.executable, str(script), *map(str, words)]
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=surroundings())
            )
            for _ in range(processes)
        ]
        for process in started:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError(f"{' '.join(command)} ended before it was ready")
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(process.communicate()[0]) for process in started]


def surroundings() -> dict[str, str]:
    """As a user has it: compiled modules are kept, whatever the one who measures has set."""
    own = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CAS_RUN_CONFIG": os.devnull}
    return {**os.environ, **own, "PYTHONDONTWRITEBYTECODE": ""}


def turned(names: Sequence[str], by: int) -> list[str]:
    """Another begins in each round: whoever comes after one that syncs nothing must not pay for it always."""
    by %= len(names) or 1
    return [*names[by:], *names[:by]]
