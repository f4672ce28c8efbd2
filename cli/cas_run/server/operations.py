"""What the server does, one row each: routing, the checks before, and `/openapi.json` are all made from this table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cas_run.server import limits
from cas_run.server.schema import Schema
from cas_run.server.uploads import CODE, VALUES

if TYPE_CHECKING:
    from starlette.responses import Response

    from cas_run.server.application import Asked

_TEXT: Schema = {"type": "string"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer"}
_ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}


def _object(properties: Mapping[str, Schema], *, all_of_them: bool = True, **more: Any) -> Schema:
    made = {"type": "object", "properties": dict(properties), **more}
    return {**made, "required": list(properties)} if all_of_them else made


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_NODE = {
    "index": _COUNT,
    "label": _TEXT,
    "electron": _TEXT,
    "replaced_by": _TEXT_OR_NULL,
    "status": {"enum": ["pending", "running", "hit", "ran", "failed", "skipped", "cancelled"]},
    "reason": _TEXT,
    "seconds": _NUMBER,
    "saved_s": _NUMBER,
    "key": _TEXT,
    "value_digest": _TEXT,
    "size": _COUNT,
    "stochastic": {"type": "boolean"},
    "dispatch": _TEXT_OR_NULL,
    "error": _TEXT_OR_NULL,
    "warning": _TEXT_OR_NULL,
    "tries": _COUNT,
}
_STATUS: Schema = {"enum": ["RUNNING", "COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED"]}
_DISPATCH = {
    "dispatch_id": _ID,
    "lattice": _TEXT,
    "status": _STATUS,
    "error": _TEXT_OR_NULL,
    "inputs": {"type": "object", "additionalProperties": _TEXT},
    "parent": _TEXT_OR_NULL,
    "replaced": {"type": "object", "additionalProperties": _TEXT},
    "recompute": _list(_TEXT),
    "reuse_previous_results": {"type": "boolean"},
    "node_count": _COUNT,
    "hits": _COUNT,
    "ran": _COUNT,
    "failed": _COUNT,
    "skipped": _COUNT,
    "seconds": _NUMBER,
    "saved_s": _NUMBER,
    "started": _NUMBER,
    "finished": {"type": ["number", "null"]},
}
_VALUE: Schema = _object(
    {
        "type": _TEXT_OR_NULL,
        "preview": _TEXT_OR_NULL,
        "value": {},
        "shape": _list(_COUNT),
        "error": _TEXT,
    },
    all_of_them=False,
    required=["type", "preview"],
)
COMPONENTS: Mapping[str, Schema] = {
    "Dispatch": _object(_DISPATCH),
    "Node": _object({**_NODE, "parents": _list(_COUNT)}),
    "Value": _VALUE,
    "Error": _object(
        {
            "error": _object(
                {
                    "kind": _TEXT,
                    "message": _TEXT,
                    "advice": _TEXT_OR_NULL,
                    "exit_status": _COUNT,
                    "fields": _list(_object({"name": _TEXT, "message": _TEXT})),
                },
                all_of_them=False,
                required=["kind", "message", "advice", "exit_status"],
            )
        }
    ),
}

# Bodies: these are what requests are checked against.
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 200}
_NAMES: Schema = {"type": "array", "items": _NAME, "maxItems": 1000}
_EDITS: Mapping[str, Schema] = {
    "inputs": {"type": "object", "maxProperties": 1000},
    "replace_electrons": {
        "type": "object",
        "maxProperties": 1000,
        "additionalProperties": {
            "anyOf": [
                _NAME,
                _object({"$capsule": {"type": "string", "pattern": "^[0-9a-f]{32}$"}}, additionalProperties=False),
            ]
        },
    },
    "recompute": {
        "anyOf": [
            {"enum": ["stochastic", "all"]},
            {"type": "array", "items": _NAME, "maxItems": 1000},
            {"type": "null"},
        ]
    },
    "reuse_previous_results": {"type": "boolean"},
}
PLAN: Schema = _object(_EDITS, all_of_them=False, additionalProperties=False)
REDISPATCH: Schema = _object({**_EDITS, "idempotency_key": _NAME}, all_of_them=False, additionalProperties=False)
EMPTY: Schema = _object({}, all_of_them=False, additionalProperties=False)


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
_EVENTS = ["planned", "started", "node", "finished", "lost"]
_OF_ONE = "/api/v1/dispatches/{id}"
_UPLOADED = _object({"id": _TEXT, "media_type": _TEXT, "size": _COUNT, "expires": _NUMBER})
_RESULT = {"dispatch_id": _ID, "node": _TEXT_OR_NULL, "status": _TEXT, "size": _COUNT, "download": _TEXT_OR_NULL}
_EXPLAINED = _object(
    {
        "label": _TEXT,
        "status": _TEXT,
        "reason": _TEXT,
        "cause": _TEXT,
        "inputs": _list(_object({"name": _TEXT, "what": _TEXT, "now": _TEXT, "before": _TEXT})),
        "changes": _list(_object({"kind": _TEXT, "name": _TEXT, "what": _TEXT, "route": _list(_TEXT), "diff": _TEXT})),
        "accepted": _TEXT,
        "unresolved": _list(_TEXT),
        "warnings": _list(_TEXT),
    }
)
_COMPARED = _object(
    {
        "label": _TEXT,
        "cause": _TEXT,
        "result": {"enum": ["equal", "changed", "only in a", "only in b", "missing"]},
        "amount": _TEXT,
        "seconds_a": _NUMBER,
        "seconds_b": _NUMBER,
    }
)
_PAIRS: Schema = {"type": "object", "additionalProperties": _list(_TEXT_OR_NULL)}

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "list_dispatches",
        "GET",
        "/api/v1/dispatches",
        "read",
        "Dispatches, the newest first.",
        {200: _object({"dispatches": _list(_ref("Dispatch")), "next_cursor": _TEXT_OR_NULL})},
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
            200: _object(
                {
                    **_DISPATCH,
                    "nodes": _list(_ref("Node")),
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
            status: _object(
                {
                    "dispatch_id": _ID,
                    "lattice": _TEXT,
                    "parent": _TEXT_OR_NULL,
                    "status": _STATUS,
                    "location": _TEXT,
                    "events": _TEXT,
                    "error": _TEXT_OR_NULL,
                    "result": {"anyOf": [_ref("Value"), {"type": "null"}]},
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
            200: _object(
                {
                    "lattice": _TEXT,
                    "hits": _COUNT,
                    "misses": _COUNT,
                    "unknown": _COUNT,
                    "estimate_s": _NUMBER,
                    "nodes": _list({"type": "object"}),
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
        {200: _object({"dispatch_id": _ID, "cancelled": {"type": "boolean"}, "status": _STATUS})},
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
        {200: {"allOf": [_ref("Value"), _object(_RESULT)]}},
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
            200: _object(
                {
                    "dispatch_id": _ID,
                    "status": _STATUS,
                    "more": {"type": "boolean"},
                    "printed": _list(
                        _object(
                            {
                                "dispatch_id": _ID,
                                "node": _TEXT,
                                "attempt": _COUNT,
                                "stream": _TEXT,
                                "at": _NUMBER,
                                "text": _TEXT,
                                "omitted": _COUNT,
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
        {200: _object({"dispatch_id": _ID, "against": _TEXT, "nodes": _list(_EXPLAINED), "reused": _COUNT})},
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
            200: _object(
                {
                    "a": _ID,
                    "b": _ID,
                    "lattice": _list(_TEXT),
                    "inputs": _PAIRS,
                    "environment": _PAIRS,
                    "nodes": _list(_COMPARED),
                    "result": _TEXT,
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
            200: _object(
                {"id": _TEXT, "event": {"enum": ["planned", "started", "node", "finished", "lost"]}, "data": _TEXT}
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
            200: _object(
                {
                    "lattices": _list(
                        _object({"name": _TEXT, "latest": _ID, "status": _STATUS, "started": _NUMBER, "inputs": _TEXT})
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
        {200: _object({"lattice": _TEXT, "dispatch_id": _ID, "schema": {"type": "object"}})},
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
            200: _object(
                {
                    "electrons": _list(
                        _object(
                            {
                                "name": _TEXT,
                                "fingerprint": _TEXT,
                                "signature": _TEXT,
                                "stochastic": {"type": "boolean"},
                                "dispatch_id": _ID,
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
        {201: _UPLOADED},
        uploads=VALUES,
        errors=(507,),
    ),
    Operation(
        "upload_code",
        "POST",
        "/api/v1/code",
        "code",
        "Send a capsule, to stand in for an electron.",
        {201: _UPLOADED},
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
        {200: _object({"status": {"enum": ["ok"]}, "version": _TEXT})},
        errors=(503,),
    ),
    Operation("metrics", "GET", "/metrics", "read", "What it counts.", {200: _TEXT}, media_type="text/plain"),
)


def openapi(version: str) -> dict[str, Any]:
    """The whole table, as OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "cas-run", "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": COMPONENTS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    always = [400, 401, 403, 405, 408, 414, 421, 431, 500, 503]
    if operation.method == "POST":
        always += [413, 415]
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {
            str(status): {"description": "Done.", "content": {operation.media_type: {"schema": schema}}}
            for status, schema in operation.answers.items()
        },
    }
    for status in sorted({*always, *operation.errors}):
        content = {"application/json": {"schema": _ref("Error")}}
        told["responses"][str(status)] = {"description": "See docs/server.md.", "content": content}
    told["parameters"] = [
        {
            "name": one.name,
            "in": one.where,
            "required": one.where == "path",
            "description": one.told,
            "schema": one.schema,
        }
        for one in operation.parameters
    ]
    if operation.body is not None:
        # An empty one is taken for `{}`; the content type has to be there in any case.
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": operation.body}}}
    if operation.uploads:
        binary = {"schema": {"type": "string", "format": "binary"}}
        told["requestBody"] = {"required": True, "content": dict.fromkeys(sorted(operation.uploads), binary)}
    if operation.scope:
        told["security"] = [{"token": []}] if operation.method == "POST" else [{"token": []}, {}]
    return told
