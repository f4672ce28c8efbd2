"""Who is measured on the shapes: where each is at home, and what it has no words for."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.identity.peers import ENVIRONMENTS
from benchmarks.shapes.graphs import PARENTS

ALL = frozenset({*PARENTS, "sweep"})
PHASES = ("cold", "unchanged", "one node more")


@dataclass(frozen=True, slots=True)
class Peer:
    """`environment`: whose Python, ours when empty."""

    room: str  # the module of this folder
    function: str
    environment: str = ""
    distribution: str = ""
    shapes: frozenset[str] = ALL
    phases: tuple[str, ...] = PHASES
    served: bool = False  # wants a server beside it
    note: str = ""

    @property
    def python(self) -> Path:
        return ENVIRONMENTS / self.environment / "bin" / "python" if self.environment else Path(sys.executable)

    @property
    def complaint(self) -> str:
        """Why it can't be played; empty if it can."""
        if self.environment and not (ENVIRONMENTS / self.environment / ".complete").exists():
            return f"not installed (benchmarks/peers/setup {self.environment})"
        return "not installed" if self.function == "make" and shutil.which("make") is None else ""


FLOOR = "floor"
OURS = "cas-run"
WITHOUT_SWEEP = frozenset(PARENTS)
COMMANDS = "the whole process, a `touch` for each node"

CONTENDERS = {
    FLOOR: Peer("floor", "floor"),
    OURS: Peer("callers", "cas_run"),
    "joblib": Peer("callers", "joblib", "joblib"),
    "diskcache": Peer("callers", "diskcache", "diskcache", note="no code in its keys"),
    "redun": Peer("callers", "redun", "redun"),
    "mandala": Peer("callers", "mandala", "mandala", "pymandala"),
    "prefect": Peer("callers", "prefect", "prefect", served=True),
    "dask": Peer("callers", "dask", "dask", phases=("cold",), note="keeps nothing"),
    "sf-hamilton": Peer("builders", "hamilton", "sf-hamilton", shapes=WITHOUT_SWEEP),
    "pydra": Peer("builders", "pydra", "pydra", shapes=frozenset({"chain", "grid"})),
    "snakemake": Peer("builders", "snakemake", "snakemake", shapes=WITHOUT_SWEEP, note=COMMANDS),
    "ninja": Peer("builders", "ninja", "ninja", shapes=WITHOUT_SWEEP, note=COMMANDS),
    "make": Peer("builders", "make", shapes=WITHOUT_SWEEP, note=COMMANDS),
}
