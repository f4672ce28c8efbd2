"""charmonium.cache: `memoize` around each function, one group in one folder, no purity assumed."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

cache: Any = importlib.import_module("charmonium.cache")
memoize: Any = importlib.import_module("charmonium.cache.memoize")
face: Any = importlib.import_module("cas_run")


class Peer:
    options: frozenset[str] = frozenset()
    coroutines = False

    def __init__(self, store: Path, _: Path) -> None:
        # Otherwise the globals and closures of functions don't count (freeze_function.py of charmonium.freeze).
        config = copy.deepcopy(memoize.DEFAULT_FREEZE_CONFIG)
        config.assume_purity = False
        # `fine_grain_persistence` makes each result last at once; the other way is to save when the process ends,
        # which a forked process does not do.
        self.group = cache.MemoizedGroup(
            obj_store=cache.DirObjStore(path=store), fine_grain_persistence=True, size="1GiB", freeze_config=config
        )

    def electron(self, fn: Callable[..., Any], _: str, __: dict[str, Any]) -> Callable[..., Any]:
        memoized: Callable[..., Any] = cache.memoize(group=self.group)(fn)
        return memoized

    def run(self, main: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return main(*args, **kwargs)

    def file(self, _: str) -> Any:
        raise face.NotExpressible("ct.File")
