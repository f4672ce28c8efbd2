"""The verbs that commands use, over a server: what it can do without this machine's files."""

from __future__ import annotations

import math
import typing
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from cas_run.client import Client, Events, Unreachable, Upload
from cas_run.elsewhere import RemoteResult
from cas_run.ids import is_full
from cas_run.refusals import ServerRefused, told_as_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cas_engine.calling.printed import Printed
    from cas_engine.evaluating.events import Event, Observer
    from cas_engine.plans.compared import Diff
    from cas_engine.plans.explained import Explanation
    from cas_engine.plans.planned import Plan
    from cas_run.arguments import Input
    from cas_run.backend import Call, Edits, How

T = TypeVar("T")
CODE = "application/vnd.cas-run.capsule"


class Remote:
    """A server elsewhere; what runs, runs there. Loads no more of the engine than its words for events."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._seen: dict[str, dict[str, Any]] = {}  # what `resolve` was told, for whoever asks next
        self._observers: dict[str, tuple[Observer, str]] = {}  # with the name of the lattice

    @classmethod
    def at(cls, url: str, token: str | None = None, **options: Any) -> Remote:
        """The server at an address; the options are those of a client."""
        with told_as_ours():
            return cls(Client(url, token, **options))

    def resolve(self, text: str) -> str:
        text = text if text.startswith("@") else text.lower()
        if is_full(text):
            return text
        told = self._asked(text)
        full: str = told["dispatch_id"]
        self._seen[full] = told
        return full

    def dispatches(
        self, limit: int | None, lattice: str | None = None, status: str | None = None
    ) -> list[RemoteResult]:
        if status == "pending":  # nothing ever is
            return []
        with told_as_ours():
            found = self.client.list(lattice=lattice, status=status, limit=limit)
            return [RemoteResult(self.client, told) for told in found]

    def result(self, dispatch_id: str) -> RemoteResult:
        seen = self._seen.pop(dispatch_id) if dispatch_id in self._seen else self._asked(dispatch_id)
        return RemoteResult(self.client, seen)

    def finished(self, dispatch_id: str) -> RemoteResult:
        """Waits; whoever observes the dispatch is told what happens meanwhile."""
        watched = self._observers.pop(dispatch_id, None)
        with told_as_ours():
            if watched is not None:
                observer, lattice = watched
                _observe(self.client.events(dispatch_id), dispatch_id, lattice, observer)
            self.client.dispatch(dispatch_id).wait()
        return self.result(dispatch_id)

    def inputs(self, dispatch_id: str) -> tuple[str, tuple[Input, ...]]:
        told = self._seen.get(dispatch_id) or self._asked(dispatch_id)
        return told["lattice"], inputs_of(told["lattice_inputs"])

    def redispatch(self, dispatch_id: str, edits: Edits, call: Call, how: How, observer: Observer | None) -> str:
        if how.executor or how.audit:
            raise ServerRefused("where electrons run, and what is audited, is the server's\n  -> leave that out")
        with told_as_ours():
            started = self.client.redispatch(dispatch_id, **self._asking(dispatch_id, edits, call))
        if observer is not None:
            self._observers[started.id] = observer, started.lattice
        return started.id

    def plan(self, dispatch_id: str, edits: Edits, call: Call) -> Plan:
        from cas_engine.plans.planned import Plan, PlannedNode

        with told_as_ours():
            told = self.client.plan(dispatch_id, **self._asking(dispatch_id, edits, call))
        return Plan(told["lattice"], tuple(made_of(PlannedNode, node) for node in told["nodes"]))

    def cancel(self, dispatch_id: str) -> bool:
        with told_as_ours():
            return self.client.cancel(dispatch_id)

    def logs(self, dispatch_id: str, node: str | None, *, follow: bool) -> Iterator[Printed]:
        from cas_engine.calling.printed import Printed

        with told_as_ours():
            for told in self.client.logs(dispatch_id, node, follow=follow):
                yield made_of(Printed, told)

    def explain(self, dispatch_id: str, node: str | None) -> Explanation:
        from cas_engine.plans.explained import Argument, Change, Explanation, NodeExplanation

        with told_as_ours():
            told = self.client.explain(dispatch_id, node)

        def explained(one: Mapping[str, Any]) -> NodeExplanation:
            changes = [made_of(Change, {**change, "route": tuple(change["route"])}) for change in one["changes"]]
            inputs = [made_of(Argument, argument) for argument in one["inputs"]]
            names = {name: tuple(one[name]) for name in ("unresolved", "warnings")}
            return made_of(NodeExplanation, {**one, **names, "inputs": tuple(inputs), "changes": tuple(changes)})

        return made_of(Explanation, {**told, "nodes": tuple(map(explained, told["nodes"]))})

    def diff(self, one: str, other: str) -> Diff:
        from cas_engine.plans.compared import Diff, NodeDiff

        with told_as_ours():
            told = self.client.diff(one, other)
        pairs = {name: {k: tuple(pair) for k, pair in told[name].items()} for name in ("inputs", "environment")}
        nodes = tuple(made_of(NodeDiff, node) for node in told["nodes"])
        return made_of(Diff, {**told, **pairs, "lattice": tuple(told["lattice"]), "nodes": nodes})

    def replacement(self, target: str) -> Callable[..., object] | str:
        """A function of a file here, whose code is sent; or the name of an electron that the server's store knows."""
        if ":" not in target and not target.endswith(".py"):
            return target
        from cas_run.loading import load_callable

        return load_callable(target)

    def _asked(self, text: str) -> dict[str, Any]:
        with told_as_ours():
            return self.client.get(text, nodes=False)

    def _asking(self, dispatch_id: str, edits: Edits, call: Call) -> dict[str, Any]:
        inputs = {name: _sendable(value) for name, value in call.kwargs.items()}
        if call.args:
            inputs |= self._by_name(dispatch_id, call.args, inputs)
        return {
            "inputs": inputs or None,
            "replace_electrons": {name: _electron(name, by) for name, by in edits.replace.items()} or None,
            "recompute": edits.recompute,
            "reuse_previous_results": edits.reuse,
        }

    def _by_name(self, dispatch_id: str, args: Sequence[Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """A server takes inputs by name: those by position have the names of the parameters that stand there."""
        who, inputs = self.inputs(dispatch_id)
        names = [one.name for one in inputs if one.takes_one]
        if len(args) > len(names):
            takes = f"it takes {', '.join(f'`{name}`' for name in names) or 'none'}"
            raise ServerRefused(f"lattice `{who}` is given {len(args)} inputs by position\n  -> {takes}")
        found = dict(zip(names, map(_sendable, args), strict=False))
        twice = [name for name in found if name in given]
        if twice:
            raise ServerRefused(f"lattice `{who}` is given `{twice[0]}` twice\n  -> by position or by name")
        return found


def made_of(cls: type[T], told: Mapping[str, Any]) -> T:
    """A value from what a server tells of it, which may be more in later versions."""
    return cls(**{field.name: told[field.name] for field in fields(cls)})  # type: ignore[arg-type]


def _observe(events: Events, dispatch_id: str, lattice: str, observer: Observer) -> None:
    """Tell what happens. A stream that can't be had, or breaks for good, is no reason to give up waiting."""
    try:
        for event in events:
            known = _event_of(dispatch_id, lattice, event.kind, event.data)
            if known is not None:
                observer(known)
    except Unreachable:
        pass
    finally:
        events.close()


def _event_of(dispatch_id: str, lattice: str, kind: str, told: Mapping[str, Any]) -> Event | None:
    from cas_engine.evaluating.events import Finished, NodeFinished, NodeStarted, Planned

    match kind:
        case "planned":
            return Planned(dispatch_id, lattice, told["total"], told["hits"], told["estimate_s"])
        case "started":
            return NodeStarted(dispatch_id, told["index"], told["label"], told["electron"])
        case "node":
            node = (told[name] for name in ("index", "label", "electron", "status", "reason", "seconds", "saved_s"))
            return NodeFinished(dispatch_id, *node)
        case "finished":
            return Finished(dispatch_id, told["status"])
    return None


def _sendable(value: object) -> object:
    """What JSON has no number for goes as the word for it, which a parameter annotated `float` takes."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _electron(name: str, by: Callable[..., object] | str) -> str | Upload:
    """What stands in: a name or fingerprint as it is, a function as its code."""
    if isinstance(by, str):
        return by
    if not callable(by):
        raise ServerRefused(
            f"replace_electrons: what is given for `{name}` is a {type(by).__name__}\n"
            "  -> the name or fingerprint of an electron that the server knows, or a function"
        )
    from cas_engine.capsules import capsule
    from cas_engine.fingerprint import Fingerprinter

    session = Fingerprinter()
    return Upload(capsule.pack(by, session.of(by), session), CODE)


# The inputs of a lattice, from their JSON Schema -----------------------------------------------------------------


def inputs_of(schema: Mapping[str, Any]) -> tuple[Input, ...]:
    """The parameters as what is typed for them is read; the server has the last word on what they take."""
    import inspect

    from cas_run.arguments import Input

    required = schema.get("required", ())
    named = [
        Input(name, annotation_of(one), inspect.Parameter.POSITIONAL_OR_KEYWORD, name in required)
        for name, one in schema.get("properties", {}).items()
    ]
    if schema.get("additionalProperties"):
        named.append(Input("others", typing.Any, inspect.Parameter.VAR_KEYWORD, required=False))
    return tuple(named)


_SIMPLE: Mapping[str, Any] = {"integer": int, "string": str, "boolean": bool, "null": None}


def annotation_of(schema: Mapping[str, Any]) -> Any:
    """An annotation that takes what the schema takes, and is no narrower."""
    if "anyOf" in schema:
        members = tuple(map(annotation_of, schema["anyOf"]))
        return typing.Union[members]  # noqa: UP007 - a value here, of as many members as there are
    if schema.get("enum"):
        return typing.Literal[tuple(schema["enum"])]
    if schema.get("type") == "number":
        return float if schema.get("x-float") else typing.Any
    kind = schema.get("type")
    return _SIMPLE.get(kind, typing.Any) if isinstance(kind, str) else typing.Any
