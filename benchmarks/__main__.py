"""`python -m benchmarks`: runs the benchmarks, prints what they found, and writes it as JSON if asked."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from benchmarks import charts, comparison
from benchmarks.harness import Options, Report, machine

BENCHMARKS = {  # name: the module whose `run(options)` gives a Report; imported only when it is run
    "engine": "benchmarks.engine",
    "fingerprint": "benchmarks.fingerprint",
    "identity": "benchmarks.identity",
    "redispatch": "benchmarks.redispatch",
    "server": "benchmarks.server",
    "shapes": "benchmarks.shapes",
    "start": "benchmarks.start",
    "store": "benchmarks.store",
    "workers": "benchmarks.workers",
}

CHARTS = Path("docs", "benchmarks")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What cas-run costs and gets right.")
    parser.add_argument("--quick", action="store_true", help="a part of the cases, fewer repetitions")
    parser.add_argument("--only", metavar="NAME", action="append", choices=sorted(BENCHMARKS), help="this one")
    parser.add_argument(
        "--peers",
        metavar="NAMES",
        nargs="?",
        const="all",
        default="",
        help="the peers too: all that benchmarks/peers/setup made, or some: joblib,redun",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write what was found")
    parser.add_argument("--compare", metavar="FILE", type=Path, help="show what --json wrote earlier beside it")
    parser.add_argument(
        "--charts",
        metavar="FOLDER",
        nargs="?",
        const=CHARTS,
        type=Path,
        help=f"draw cost against the size of the graph (default {CHARTS}); wants the extra bench",
    )
    parser.add_argument("--lanes", type=int, default=2, help="projects of the corpus side by side (default 2)")
    parser.add_argument("--seconds", type=float, help="the most that one peer may take (default 300; 25 with --quick)")
    parser.add_argument("--nodes", type=int, default=100_000, help="of the largest graph (default 100,000)")
    parser.add_argument("--rounds", type=int, default=5, help="of each graph, at most (default 5)")
    asked = parser.parse_args()
    options = Options(
        quick=asked.quick,
        peers=asked.peers,
        lanes=asked.lanes,
        seconds_each=asked.seconds or (25.0 if asked.quick else 300.0),
        nodes=asked.nodes,
        rounds=asked.rounds,
    )
    earlier = json.loads(asked.compare.read_text(encoding="utf-8")) if asked.compare else None
    here = machine()
    print(", ".join(f"{name} {value}" for name, value in here.items()))
    found = {}
    for name in asked.only or BENCHMARKS:
        print(f"\n== {name}", flush=True)
        report: Report = importlib.import_module(BENCHMARKS[name]).run(options)
        print(report.text, flush=True)
        found[name] = report.found
        if asked.json:  # after each, so that an interrupted run leaves what it has
            text = json.dumps({"machine": here, "benchmarks": found}, indent=1)
            asked.json.write_text(text + "\n", encoding="utf-8")
    if asked.charts:
        for file in charts.draw(found, here, asked.charts):
            print(f"wrote {file}")
    if earlier is not None:
        print(f"\n== beside {asked.compare}, of {earlier['machine']['date']}")
        print(comparison.text_of(earlier, here, found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
