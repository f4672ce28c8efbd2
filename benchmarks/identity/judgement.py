"""Stale, wasted or right: what a case says of an engine that answered so. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.identity.runner import Case, names_in

KINDS = {
    "fine": "ran what the case says, and nothing else",
    "allowed": "as the case allows, with a reason",
    "stale": "gave another value than plain Python gives",
    "unseen": "the edit was not seen, and the value happens to be the same",
    "wasted": "ran what depends on nothing that changed",
    "error": "raised",
    "n/a": "has no words for what the case is about",
}
Answer = Mapping[str, Any]


def out_of_scope(case: Case) -> str:
    """Why the case says nothing about anything but cas-run; empty if it does."""
    if case.header("how", 1, "") == "capsule":
        return "a redispatch of recorded code"
    if case.fails:
        return "an error that cas-run promises"
    texts = [side[1] for file in case.files for side in (file.before, file.after) if side is not None]
    if any("__cas_digest__" in text for text in texts):
        return "__cas_digest__"
    return ""


def verdict(case: Case, first: Answer, second: Answer, truth: Answer) -> tuple[str, str]:
    """The kind of KINDS and what happened, from the runs before and after the edit and the true value after it."""
    for which, answer in (("first", first), ("second", second), ("plain", truth)):
        expected = (which, case.headers.get("first")) == ("first", "fails")
        said = str(answer.get("error", ""))
        if said.startswith("NotExpressible"):
            return "n/a", said
        if said and not expected:
            return "error", f"{which} run: {said}"
    known = {*second["ran"], *second["hit"]}
    ran = tuple(second["ran"])
    runs = tuple(name for name in case.runs if name in known)  # an operator on a handle is nobody else's task
    told = f"ran {' '.join(ran) or 'nothing'}, expected {' '.join(runs) or 'nothing'}"
    if second["value"] != truth["value"]:
        return "stale", f"{told}; value {second['value']}, true value {truth['value']}"
    if ran != runs and ran == case.allowed:
        return "allowed", told
    if Counter(runs) - Counter(ran):
        return "unseen", told
    if ran != runs:
        return "wasted", told
    return "fine", ""


def verdict_on_rerun(case: Case, kind: str, said: str, third: Answer) -> tuple[str, str]:
    """The same project once more in another folder, under the first hash seed: nothing is left to do."""
    if "error" in third:
        return "error", f"third run: {third['error']}"
    ran = tuple(third["ran"])
    if Counter(ran) - Counter(names_in(case.headers.get("again", ""))) and (kind, ran) != ("allowed", case.allowed):
        return "wasted", f"unedited, elsewhere, under another hash seed: ran {' '.join(ran)}"
    return kind, said
