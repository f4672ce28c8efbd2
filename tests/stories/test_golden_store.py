"""A store that was made by an earlier version, with another Python, is read, added to, and what is in it is reused.

Each format has its store in golden/, made once by golden/make.py and never again.
"""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.tar.xz"))
WITH_OBJECTS = sorted(Path(__file__).with_name("golden").glob("objects/*.tar.xz"))

READ = """
first, second = sys.argv[1:3]
results = [ct.get_result(each) for each in (first, second)]
assert [result.status for result in results] == ["COMPLETED"] * 2
values = [result.result for result in results]
assert [value[1:] for value in values] == [(bytes(range(256)) * 300, 0.25)] * 2
show([value[0] for value in values])
"""

AGAIN = """
result = ct.get_result(ct.redispatch(sys.argv[1])(), wait=True)
show([result.status, result.result[0], sorted({node.status for node in result.nodes})])
"""

NEW = """
@ct.electron
def fresh(n):
    return n + 1

@ct.lattice
def flow(n):
    return fresh(n)

show(ct.dispatch_sync(flow)(41).result)
"""


OBJECTS = """
import json
def shown(result):
    point, n = result.result
    return [str(result.status), type(point).__name__, point.x, point.mode.name, point.moved(1).x, n, result.hits]
recorded = ct.get_result(sys.argv[1])
again = ct.get_result(ct.redispatch(sys.argv[1])(n=20), wait=True)
show([shown(recorded), shown(again)])
"""


@pytest.fixture(params=GOLDEN, ids=[path.name.removesuffix(".tar.xz") for path in GOLDEN])
def told(user: Any, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the archive says is in the store, which lies where the user has theirs."""
    return unpacked(request.param, user)


def unpacked(path: Path, user: Any) -> dict[str, Any]:
    with tarfile.open(path) as archive:
        # Python 3.12 wants to be told; the first of 3.10 and 3.11 cannot be.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(user.root)
    user.store.chmod(0o700)
    for folder in ("scratch", "live", "tmp"):
        (user.store / folder).mkdir(exist_ok=True)
    found: dict[str, Any] = json.loads((user.root / "told.json").read_text())
    return found


@pytest.mark.promise("migration")
def test_what_an_earlier_version_kept_is_read_and_added_to(user: Any, told: dict[str, Any]) -> None:
    assert user.do(READ, *told["dispatches"]).last == told["totals"]
    assert user.do(NEW).last == 42
    assert user.do(READ, *told["dispatches"]).last == told["totals"]


@pytest.mark.promise("migration")
def test_what_an_earlier_version_kept_is_reused(user: Any, told: dict[str, Any]) -> None:
    if told["python"].split(".")[:2] != [str(n) for n in sys.version_info[:2]]:
        pytest.skip("functions that are gone are recorded for one Python, and this store has another's")
    assert user.do(AGAIN, told["dispatches"][0]).last == ["COMPLETED", told["totals"][0], ["hit"]]


@pytest.mark.promise("migration")
@pytest.mark.parametrize("path", WITH_OBJECTS, ids=[path.name.removesuffix(".tar.xz") for path in WITH_OBJECTS])
def test_code_and_objects_that_an_earlier_version_recorded_are_loaded(user: Any, path: Path) -> None:
    """Of an earlier layout of our own modules too, which streams name."""
    told = unpacked(path, user)
    if told["python"].split(".") != [str(n) for n in sys.version_info[:2]]:
        pytest.skip("functions that are gone are recorded for one Python, and this store has another's")
    recorded, again = user.do(OBJECTS, told["dispatch"]).last
    assert recorded == ["COMPLETED", "Point", 8, "DOWN", 7, 10, 0]
    assert again == ["COMPLETED", "Point", 18, "DOWN", 17, 20, 1]
