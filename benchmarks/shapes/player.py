"""One contender runs one shape of one size, in a process of its own. A script, run by the contender's own Python.

    player.py CONTENDER SHAPE SIZE FOLDER

Answers with the seconds from opening what is kept in FOLDER until it is closed again, imports not counted: of the wall
clock, and of the processor, all threads and all processes that were waited for. Besides with the largest resident size
of the process in bytes, the value, and how many nodes ran, where the contender tells.
"""

from __future__ import annotations

import gc
import importlib
import json
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import memory
from benchmarks.shapes.contenders import CONTENDERS


def processor() -> float:
    waited_for = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + waited_for.ru_utime + waited_for.ru_stime


if __name__ == "__main__":
    name, shape, size, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    play = getattr(importlib.import_module(f"benchmarks.shapes.{CONTENDERS[name].room}"), CONTENDERS[name].function)
    if shape == "sweep":
        for module in ("datasets", "model_selection", "preprocessing", "svm"):
            importlib.import_module(f"sklearn.{module}")
    ready = play(shape, size, folder)
    gc.collect()
    used, start = processor(), time.perf_counter()
    value, ran = ready()
    seconds, cpu = time.perf_counter() - start, processor() - used
    print(json.dumps({"seconds": seconds, "cpu": cpu, "largest": memory.peak(), "value": value, "ran": ran}))
