"""sf-hamilton: each call is a graph of one function, run by a driver with its cache switched on."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

driver: Any = importlib.import_module("hamilton.driver")
face: Any = importlib.import_module("cas_run")
logging.getLogger("hamilton").setLevel(logging.ERROR)


class Peer:
    options: frozenset[str] = frozenset()
    coroutines = False

    def __init__(self, store: Path, _: Path) -> None:
        self.store = store

    def electron(self, fn: Callable[..., Any], _: str, __: dict[str, Any]) -> Callable[..., Any]:
        if not isinstance(fn, FunctionType):
            raise face.NotExpressible("a node that is no function")
        signature = inspect.signature(fn)
        kinds = {parameter.kind for parameter in signature.parameters.values()}
        if kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY}:
            raise face.NotExpressible("parameters without a name")
        # Hamilton wants a type on each parameter and on the result; the source, which it hashes, stays as it is.
        fn.__annotations__ = dict.fromkeys((*signature.parameters, "return"), Any)

        def call(*args: Any, **kwargs: Any) -> Any:
            module = ModuleType(fn.__module__)
            setattr(module, fn.__name__, fn)
            builder = driver.Builder().with_modules(module).with_cache(path=str(self.store))
            bound = signature.bind(*args, **kwargs)
            return builder.build().execute([fn.__name__], inputs=dict(bound.arguments))[fn.__name__]

        return call

    def run(self, main: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return main(*args, **kwargs)

    def file(self, _: str) -> Any:
        raise face.NotExpressible("ct.File")
