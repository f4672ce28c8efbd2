"""Which peers there are, where their environments lie, and what they need around them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / ".peers"
ZYGOTE = HERE.parent.parent / "tests" / "identity" / "zygote.py"


@dataclass(frozen=True, slots=True)
class Contender:
    """cas-run itself when `adapter` is empty."""

    name: str
    adapter: str = ""
    distribution: str = ""
    served: bool = False  # wants a server beside it
    settled: bool = False  # refuses a project that has moved: gets each case in one place

    @property
    def python(self) -> Path:
        return ENVIRONMENTS / self.name / "bin" / "python" if self.adapter else Path(sys.executable)

    @property
    def present(self) -> bool:
        return not self.adapter or (ENVIRONMENTS / self.name / ".complete").exists()

    @property
    def command(self) -> list[str]:
        script = [str(HERE / "stage.py"), self.adapter] if self.adapter else [str(ZYGOTE)]
        return [str(self.python), *script]

    @property
    def complaint(self) -> str:
        """Why it can't be played; empty if it can: a stage with no jobs ends well when the peer can be imported."""
        if not self.present:
            return "not installed"
        tried = subprocess.run(self.command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return tried.stderr.strip().rpartition("\n")[2] if tried.returncode else ""

    @property
    def version(self) -> str:
        ask = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
        command = [str(self.python), "-c", ask, self.distribution or self.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


CAS_RUN = Contender("cas-run")
PEERS = (
    Contender("redun", "redun_scheduler"),
    Contender("joblib", "joblib_memory"),
    Contender("mandala", "mandala_storage", "pymandala", settled=True),
    Contender("charmonium.cache", "charmonium_cache"),
    Contender("sf-hamilton", "hamilton_driver"),
    Contender("prefect", "prefect_tasks", served=True),
)

# Peers of other benchmarks: no code of Python's is in their keys, or nothing is kept, so that nothing is to judge.
ELSEWHERE = frozenset({"diskcache", "dask", "pydra", "snakemake", "ninja", "make"})


def chosen_peers(names: str) -> list[Contender]:
    """Those named, or all: `joblib,redun` or `all`. Raises ValueError for a name that is none of them."""
    if names == "all":
        return list(PEERS)
    by_name = {peer.name: peer for peer in PEERS}
    unknown = sorted(set(names.split(",")) - by_name.keys() - ELSEWHERE)
    if unknown:
        raise ValueError(f"no such peer: {', '.join(unknown)}\n  -> one of {', '.join(by_name)}")
    return [by_name[name] for name in names.split(",") if name not in ELSEWHERE]


@contextmanager
def surroundings(peer: Contender, folder: Path) -> Iterator[Mapping[str, str]]:
    """The environment variables for a peer's processes, with its server up as long as the context lasts."""
    home = folder / "home"
    home.mkdir(parents=True)
    quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}
    if peer.adapter:
        quiet |= {"HOME": str(home), "XDG_CACHE_HOME": str(home), "PREFECT_HOME": str(home)}
        quiet |= {"HAMILTON_TELEMETRY_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "CRITICAL"}
        quiet |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_UI_ENABLED": "false"}
    if not peer.served:
        yield quiet
        return
    port = free_port()
    command = [str(peer.python), "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (
        (folder / "server.log").open("wb") as log,
        subprocess.Popen(command, env={**os.environ, **quiet}, stdout=log, stderr=log) as server,
    ):
        try:
            address = f"http://127.0.0.1:{port}/api"
            wait_for(f"{address}/health", server, 120)
            yield {**quiet, "PREFECT_API_URL": address}
        finally:
            server.terminate()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for(url: str, server: subprocess.Popen[bytes], seconds: float) -> None:
    """Until the server answers; raises OSError when it ends or takes too long."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if time.monotonic() > end or server.poll() is not None:
                raise
            time.sleep(0.5)
