"""What the server does, one row each: routing, the checks before, and `/openapi.json` are all made from this table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cas_run.server import limits
from cas_run.server.messages import (
    COMPARED,
    COUNT,
    DISPATCH,
    EMPTY,
    EXPLAINED,
    ID,
    NUMBER,
    PAIRS,
    PLAN,
    REDISPATCH,
    RESULT,
    STATUS,
    TEXT,
    TEXT_OR_NULL,
    UPLOADED,
    list_of,
    object_of,
    ref,
)
from cas_run.server.schema import Schema
from cas_run.server.uploads import CODE, VALUES

if TYPE_CHECKING:
    from starlette.responses import Response

    from cas_run.server.application import Asked


@dataclass(frozen=True, slots=True)
class Parameter:
    """One of a URL. `where` is "path" or "query"."""

    name: str
    schema: Schema
    told: str
    where: str = "query"


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked for. `name` is its place in OpenAPI and in the metrics."""

    name: str
    method: str
    path: str
    scope: str
    summary: str
    answers: Mapping[int, Schema]
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    uploads: frozenset[str] = frozenset()
    media_type: str = "application/json"
    errors: tuple[int, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


Endpoint = Callable[["Asked"], Awaitable["Response"]]

_PATH_ID = Parameter("id", {"type": "string", "pattern": "^[0-9a-f]{4,32}$"}, "A dispatch.", "path")
_WAIT = Parameter(
    "wait", {"type": "number", "minimum": 0, "maximum": limits.WAIT_S}, "Seconds to wait until the dispatch is over."
)
_NODE_NAME = Parameter(
    "node", {"type": "string", "minLength": 1, "maxLength": 400}, "A node by its label, or electron."
)
_OF_ONE = "/api/v1/dispatches/{id}"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "list_dispatches",
        "GET",
        "/api/v1/dispatches",
        "read",
        "Dispatches, the newest first.",
        {200: object_of({"dispatches": list_of(ref("Dispatch")), "next_cursor": TEXT_OR_NULL})},
        (
            Parameter("lattice", {"type": "string", "maxLength": 400}, "Only those of this lattice."),
            Parameter(
                "status",
                {"enum": ["running", "completed", "failed", "cancelled", "interrupted"]},
                "Only those that are so.",
            ),
            Parameter("limit", {"type": "integer", "minimum": 1, "maximum": limits.MOST_PAGE}, "How many at most."),
            Parameter("cursor", {"type": "string", "maxLength": 200}, "The `next_cursor` of the page before."),
        ),
    ),
    Operation(
        "get_dispatch",
        "GET",
        _OF_ONE,
        "read",
        "One dispatch: its graph, what ran and why.",
        {
            200: object_of(
                {
                    **DISPATCH,
                    "nodes": list_of(ref("Node")),
                    "nodes_next": {"type": ["integer", "null"]},
                    "lattice_inputs": {"type": "object"},
                }
            )
        },
        (
            _PATH_ID,
            _WAIT,
            Parameter("nodes_from", {"type": "integer", "minimum": 0, "maximum": 2**31}, "The first node told of."),
            Parameter(
                "nodes_limit",
                {"type": "integer", "minimum": 0, "maximum": limits.MOST_NODES},
                "How many nodes at most.",
            ),
        ),
        errors=(404,),
    ),
    Operation(
        "redispatch",
        "POST",
        f"{_OF_ONE}/redispatch",
        "run",
        "Run it again: with other inputs, other electrons, or other draws.",
        {
            status: object_of(
                {
                    "dispatch_id": ID,
                    "lattice": TEXT,
                    "parent": TEXT_OR_NULL,
                    "status": STATUS,
                    "location": TEXT,
                    "events": TEXT,
                    "error": TEXT_OR_NULL,
                    "result": {"anyOf": [ref("Value"), {"type": "null"}]},
                }
            )
            for status in (202, 200)
        },
        (_PATH_ID, _WAIT),
        body=REDISPATCH,
        errors=(404, 409, 422, 429, 502, 503, 504),
    ),
    Operation(
        "plan",
        "POST",
        f"{_OF_ONE}/plan",
        "run",
        "What a redispatch would run, and why.",
        {
            200: object_of(
                {
                    "lattice": TEXT,
                    "hits": COUNT,
                    "misses": COUNT,
                    "unknown": COUNT,
                    "estimate_s": NUMBER,
                    "nodes": list_of({"type": "object"}),
                }
            )
        },
        (_PATH_ID,),
        body=PLAN,
        errors=(404, 409, 422, 429, 502, 503, 504),
    ),
    Operation(
        "cancel",
        "POST",
        f"{_OF_ONE}/cancel",
        "run",
        "Stop it.",
        {200: object_of({"dispatch_id": ID, "cancelled": {"type": "boolean"}, "status": STATUS})},
        (_PATH_ID,),
        body=EMPTY,
        errors=(404, 422),
    ),
    Operation(
        "get_result",
        "GET",
        f"{_OF_ONE}/result",
        "read",
        "What it gave, as JSON where the value is that.",
        {200: {"allOf": [ref("Value"), object_of(RESULT)]}},
        (_PATH_ID, _NODE_NAME, _WAIT),
        errors=(404, 409, 410, 429, 502, 503, 504),
    ),
    Operation(
        "get_result_bytes",
        "GET",
        f"{_OF_ONE}/result/bytes",
        "read",
        "The bytes that it is stored as.",
        {200: {"type": "string", "format": "binary"}},
        (_PATH_ID, _NODE_NAME),
        media_type="application/vnd.cas-run.blob",
        errors=(404, 409, 410),
    ),
    Operation(
        "get_logs",
        "GET",
        f"{_OF_ONE}/logs",
        "read",
        "What its electrons printed and logged, in the order of time.",
        {
            200: object_of(
                {
                    "dispatch_id": ID,
                    "status": STATUS,
                    "more": {"type": "boolean"},
                    "printed": list_of(
                        object_of(
                            {
                                "dispatch_id": ID,
                                "node": TEXT,
                                "attempt": COUNT,
                                "stream": TEXT,
                                "at": NUMBER,
                                "text": TEXT,
                                "omitted": COUNT,
                            }
                        )
                    ),
                }
            )
        },
        (
            _PATH_ID,
            _NODE_NAME,
            Parameter("since", {"type": "number", "minimum": 0}, "Only what was printed then or later: POSIX seconds."),
        ),
        errors=(404,),
    ),
    Operation(
        "explain",
        "GET",
        f"{_OF_ONE}/explain",
        "read",
        "Why its nodes ran, against the dispatch that it was made from, or the nearest earlier one of the lattice.",
        {200: object_of({"dispatch_id": ID, "against": TEXT, "nodes": list_of(EXPLAINED), "reused": COUNT})},
        (_PATH_ID, _NODE_NAME),
        errors=(404, 429, 502, 503, 504),
    ),
    Operation(
        "diff",
        "GET",
        f"{_OF_ONE}/diff/{{other}}",
        "read",
        "Two dispatches side by side.",
        {
            200: object_of(
                {
                    "a": ID,
                    "b": ID,
                    "lattice": list_of(TEXT),
                    "inputs": PAIRS,
                    "environment": PAIRS,
                    "nodes": list_of(COMPARED),
                    "result": TEXT,
                }
            )
        },
        (_PATH_ID, replace(_PATH_ID, name="other", told="Another dispatch.")),
        errors=(404, 429, 502, 503, 504),
    ),
    Operation(
        "watch",
        "GET",
        f"{_OF_ONE}/events",
        "read",
        "What happens in it, node by node, until it is over.",
        {
            200: object_of(
                {"id": TEXT, "event": {"enum": ["planned", "started", "node", "finished", "lost"]}, "data": TEXT}
            )
        },
        (_PATH_ID,),
        media_type="text/event-stream",
        errors=(404, 429),
    ),
    Operation(
        "list_lattices",
        "GET",
        "/api/v1/lattices",
        "read",
        "The lattices that have dispatches.",
        {
            200: object_of(
                {
                    "lattices": list_of(
                        object_of({"name": TEXT, "latest": ID, "status": STATUS, "started": NUMBER, "inputs": TEXT})
                    )
                }
            )
        },
    ),
    Operation(
        "get_inputs",
        "GET",
        "/api/v1/lattices/{name}/inputs",
        "read",
        "A JSON Schema of a lattice's inputs.",
        {200: object_of({"lattice": TEXT, "dispatch_id": ID, "schema": {"type": "object"}})},
        (Parameter("name", {"type": "string", "maxLength": 400}, "A lattice.", "path"),),
        errors=(404,),
    ),
    Operation(
        "list_electrons",
        "GET",
        "/api/v1/electrons",
        "read",
        "The electrons that the store knows.",
        {
            200: object_of(
                {
                    "electrons": list_of(
                        object_of(
                            {
                                "name": TEXT,
                                "fingerprint": TEXT,
                                "signature": TEXT,
                                "stochastic": {"type": "boolean"},
                                "dispatch_id": ID,
                            }
                        )
                    )
                }
            )
        },
        (Parameter("name", {"type": "string", "maxLength": 400}, "Only those of this name."),),
    ),
    Operation(
        "upload_blob",
        "POST",
        "/api/v1/blobs",
        "run",
        "Send an array or a frame, to be an input.",
        {201: UPLOADED},
        uploads=VALUES,
        errors=(507,),
    ),
    Operation(
        "upload_code",
        "POST",
        "/api/v1/code",
        "code",
        "Send a capsule, to stand in for an electron.",
        {201: UPLOADED},
        uploads=CODE,
        errors=(507,),
    ),
    Operation("openapi", "GET", "/openapi.json", "read", "This document.", {200: {"type": "object"}}),
    Operation(
        "health",
        "GET",
        "/healthz",
        "",
        "Whether it works.",
        {200: object_of({"status": {"enum": ["ok"]}, "version": TEXT})},
        errors=(503,),
    ),
    Operation("metrics", "GET", "/metrics", "read", "What it counts.", {200: TEXT}, media_type="text/plain"),
)
