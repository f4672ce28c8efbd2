"""What a user may say about an electron, checked where it is said. Pure."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields

from cas_engine.errors import BadOption
from cas_engine.graphs.omission import parsed
from cas_engine.graphs.signatures import Signature

EXECUTORS = ("inline", "thread", "process")
ExecutorChoice = str | Executor | None
RetryOn = tuple[type[BaseException], ...] | Callable[[BaseException], object]  # after which exceptions to try again


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one electron. `timeout` and `retry_delay` in seconds; `outputs` is the count of values that
    unpacking gives.
    """

    name: str
    stochastic: bool
    version: str | None
    depends_on: tuple[object, ...]
    ignore: tuple[str, ...]
    executor: ExecutorChoice
    retries: int
    retry_delay: float
    retry_on: RetryOn | None
    timeout: float | None
    outputs: int | None


_BEFORE_PAUSES = ("name", "stochastic", "version", "depends_on", "ignore", "executor", "retries", "timeout", "outputs")


def _set_state(self: Options, state: Sequence[object]) -> None:
    # What is pickled is the values in their order; that of a capsule may be from before there were pauses.
    names = [field.name for field in fields(Options)]
    found = dict(zip(_BEFORE_PAUSES, state, strict=True)) if len(state) == len(_BEFORE_PAUSES) else None
    for name, value in (found or dict(zip(names, state, strict=True))).items():
        object.__setattr__(self, name, value)
    if found is not None:
        object.__setattr__(self, "retry_delay", 0.0)
        object.__setattr__(self, "retry_on", None)


Options.__setstate__ = _set_state  # type: ignore[attr-defined]  # 3.10 would replace one of the class


def checked_options(
    *,
    name: str,
    stochastic: object,
    version: object,
    depends_on: object,
    ignore: object,
    executor: ExecutorChoice,
    retries: object,
    retry_delay: object = 0.0,
    retry_on: object = None,
    timeout: object,
    outputs: object,
    signature: Signature | None = None,
) -> Options:
    """The options, or BadOption saying which one of which electron is wrong and what it takes."""

    def refuse(option: str, value: object, takes: str) -> BadOption:
        return BadOption(f"electron `{name}`: {option}={value!r} is not {takes}\n  -> give {takes}")

    if not isinstance(stochastic, bool):
        raise refuse("stochastic", stochastic, "True or False")
    if version is not None and not isinstance(version, (str, int, float)):
        raise refuse("version", version, "a text or a number")
    if isinstance(ignore, str) or not isinstance(ignore, Sequence) or not all(isinstance(i, str) for i in ignore):
        raise refuse("ignore", ignore, "a list of parameter names")
    for entry in ignore:
        _check_ignored(f"electron `{name}`: ignore={ignore!r}", entry, signature)
    if isinstance(depends_on, (str, bytes)) or not isinstance(depends_on, Sequence):
        depends_on = (depends_on,)
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        raise refuse("retries", retries, "a whole number from 0")
    if not isinstance(retry_delay, (int, float)) or isinstance(retry_delay, bool) or not 0 <= retry_delay < math.inf:
        raise refuse("retry_delay", retry_delay, "a number of seconds from 0")
    if timeout is not None and (not isinstance(timeout, (int, float)) or isinstance(timeout, bool) or not timeout > 0):
        raise refuse("timeout", timeout, "a number of seconds above 0")
    if outputs is not None and (not isinstance(outputs, int) or isinstance(outputs, bool) or outputs < 1):
        raise refuse("outputs", outputs, "a whole number from 1")
    return Options(
        name=name,
        stochastic=stochastic,
        version=None if version is None else f"{type(version).__name__}:{version}",
        depends_on=tuple(depends_on),
        ignore=tuple(ignore),
        executor=checked_executor(executor, f"electron `{name}`"),
        retries=retries,
        retry_delay=float(retry_delay),
        retry_on=_checked_retry_on(name, retry_on),
        timeout=None if timeout is None else float(timeout),
        outputs=outputs,
    )


def _checked_retry_on(name: str, retry_on: object) -> RetryOn | None:
    """A class of exceptions as a tuple of it, a list as a tuple."""
    if retry_on is None:
        return None
    kinds = retry_on if isinstance(retry_on, (tuple, list)) else (retry_on,)
    if kinds and all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        return tuple(kinds)
    if callable(retry_on) and not isinstance(retry_on, type):
        return retry_on
    takes = "a class of exceptions, several of them, or a function of the exception that says whether to try again"
    raise BadOption(f"electron `{name}`: retry_on={retry_on!r} is not {takes}\n  -> retry_on=(ConnectionError,)")


def _check_ignored(said: str, entry: str, signature: Signature | None) -> None:
    path = parsed(entry)
    if path is None:
        raise BadOption(
            f"{said}: {entry!r} is no parameter and no path in one\n"
            '  -> write it as the function would: "model", "model.verbose", "config[\'log\']"'
        )
    if signature is None or not signature.known or any(p.kind == "**" for p in signature.parameters):
        return
    names = [p.name for p in signature.parameters]
    if path[0] not in names:
        near = difflib.get_close_matches(path[0], names, n=1) or names
        listed = ", ".join(f"`{one}`" for one in near)
        raise BadOption(
            f"{said}: it has no parameter `{path[0]}`\n"
            f"  -> {f'did you mean {listed}?' if names else 'take it out: it has no parameters'}"
        )


def checked_share(given: object, what: str) -> float:
    """A share, from 0 to 1, given so or as "1%". Raises BadOption, which says of what option."""
    text = given[:-1] if isinstance(given, str) and given.endswith("%") else given
    try:
        share = float(text) / (100 if text is not given else 1)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        share = -1.0
    if isinstance(given, bool) or not 0 <= share <= 1:
        raise BadOption(f'{what}={given!r} is not a share\n  -> give a number from 0 to 1, or a text such as "1%"')
    return share


def checked_executor(executor: ExecutorChoice, who: str) -> ExecutorChoice:
    """The executor as given, or BadOption naming those there are."""
    if executor is None or isinstance(executor, Executor) or executor in EXECUTORS:
        return executor
    names = ", ".join(f'"{name}"' for name in EXECUTORS)
    raise BadOption(f"{who}: there is no executor {executor!r}\n  -> {names}, or a concurrent.futures.Executor")
