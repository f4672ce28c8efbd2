"""Where calls run: in the coordinating thread, in threads, in worker processes, or in an executor of the user's."""

from __future__ import annotations

from concurrent.futures import Executor

from cas_engine.executors.foreign import Foreign
from cas_engine.executors.jobs import Answer, Died, Done, Inputs, Job, Report, Runner, called, finished
from cas_engine.executors.threads import Inline, Staying, Threads, shared_threads

__all__ = [
    "Answer",
    "Died",
    "Done",
    "Inline",
    "Inputs",
    "Job",
    "Report",
    "Runner",
    "Staying",
    "Threads",
    "called",
    "finished",
    "runner_for",
    "shared_threads",
]


def runner_for(choice: str | Executor | None) -> Runner:
    """The runner that an executor option names."""
    if isinstance(choice, Executor):
        return Foreign(choice)
    if choice == "process":
        from cas_engine.executors.pool import shared_pool

        return shared_pool()
    return Inline() if choice == "inline" else shared_threads()
