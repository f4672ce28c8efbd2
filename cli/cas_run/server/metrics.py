"""What the server counts, as Prometheus reads it."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts since the server began."""

    def __init__(self) -> None:
        self.began = time.time()
        self._answers: Counter[tuple[str, int]] = Counter()
        self._under_way = 0
        self._histograms: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}
        self.dispatches: Counter[str] = Counter()
        self.streams = 0

    def begin(self) -> float:
        """A request comes."""
        self._under_way += 1
        return time.perf_counter()

    def end(self, began: float, operation: str, status: int) -> None:
        """It was answered."""
        seconds = time.perf_counter() - began
        self._under_way -= 1
        self._answers[operation, status] += 1
        found = self._histograms.get(operation)
        if found is None:
            found = self._histograms[operation] = [0] * (len(_BOUNDS) + 1)
        found[bisect_left(_BOUNDS, seconds)] += 1
        self._seconds[operation] = self._seconds.get(operation, 0.0) + seconds

    def text(self, gauges: Iterable[tuple[str, str, float]]) -> str:
        """All of it; `gauges` are names, what they tell, and values, of whoever knows them."""
        lines: list[str] = []

        def head(name: str, kind: str, told: str) -> None:
            lines.extend((f"# HELP cas_run_{name} {told}", f"# TYPE cas_run_{name} {kind}"))

        head("http_requests_total", "counter", "Requests answered.")
        for (operation, status), count in sorted(self._answers.items()):
            lines.append(f'cas_run_http_requests_total{{operation="{operation}",status="{status}"}} {count}')
        head("http_request_seconds", "histogram", "Seconds from the first to the last byte of an answer.")
        for operation, counts in sorted(self._histograms.items()):
            so_far = 0
            for bound, count in zip((*map(str, _BOUNDS), "+Inf"), counts, strict=True):
                so_far += count
                lines.append(f'cas_run_http_request_seconds_bucket{{operation="{operation}",le="{bound}"}} {so_far}')
            lines.append(f'cas_run_http_request_seconds_sum{{operation="{operation}"}} {self._seconds[operation]:.6f}')
            lines.append(f'cas_run_http_request_seconds_count{{operation="{operation}"}} {so_far}')
        head("dispatches_total", "counter", "Dispatches that were started here and are over, by status.")
        for ending, count in sorted(self.dispatches.items()):
            lines.append(f'cas_run_dispatches_total{{status="{ending.lower()}"}} {count}')
        own = (
            ("http_requests_in_flight", "Requests under way.", self._under_way),
            ("event_streams", "Event streams open.", self.streams),
            ("start_time_seconds", "When the server began, since 1970.", self.began),
        )
        for name, told, value in (*own, *gauges):
            head(name, "gauge", told)
            lines.append(f"cas_run_{name} {value:g}" if name != "start_time_seconds" else f"cas_run_{name} {value:.3f}")
        return "\n".join(lines) + "\n"
