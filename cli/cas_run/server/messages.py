"""The shapes of what the server is told and tells, as JSON Schema: bodies are checked against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cas_run.server.schema import Schema

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer"}
ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}


def object_of(properties: Mapping[str, Schema], *, all_of_them: bool = True, **more: Any) -> Schema:
    made = {"type": "object", "properties": dict(properties), **more}
    return {**made, "required": list(properties)} if all_of_them else made


def list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


NODE = {
    "index": COUNT,
    "label": TEXT,
    "electron": TEXT,
    "replaced_by": TEXT_OR_NULL,
    "status": {"enum": ["pending", "running", "hit", "ran", "failed", "skipped", "cancelled"]},
    "reason": TEXT,
    "seconds": NUMBER,
    "saved_s": NUMBER,
    "key": TEXT,
    "value_digest": TEXT,
    "size": COUNT,
    "stochastic": {"type": "boolean"},
    "dispatch": TEXT_OR_NULL,
    "error": TEXT_OR_NULL,
    "warning": TEXT_OR_NULL,
    "tries": COUNT,
}
STATUS: Schema = {"enum": ["RUNNING", "COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED"]}
DISPATCH = {
    "dispatch_id": ID,
    "lattice": TEXT,
    "status": STATUS,
    "error": TEXT_OR_NULL,
    "inputs": {"type": "object", "additionalProperties": TEXT},
    "parent": TEXT_OR_NULL,
    "replaced": {"type": "object", "additionalProperties": TEXT},
    "recompute": list_of(TEXT),
    "reuse_previous_results": {"type": "boolean"},
    "node_count": COUNT,
    "hits": COUNT,
    "ran": COUNT,
    "failed": COUNT,
    "skipped": COUNT,
    "seconds": NUMBER,
    "saved_s": NUMBER,
    "started": NUMBER,
    "finished": {"type": ["number", "null"]},
}
_VALUE: Schema = object_of(
    {
        "type": TEXT_OR_NULL,
        "preview": TEXT_OR_NULL,
        "value": {},
        "shape": list_of(COUNT),
        "error": TEXT,
    },
    all_of_them=False,
    required=["type", "preview"],
)
COMPONENTS: Mapping[str, Schema] = {
    "Dispatch": object_of(DISPATCH),
    "Node": object_of({**NODE, "parents": list_of(COUNT)}),
    "Value": _VALUE,
    "Error": object_of(
        {
            "error": object_of(
                {
                    "kind": TEXT,
                    "message": TEXT,
                    "advice": TEXT_OR_NULL,
                    "exit_status": COUNT,
                    "fields": list_of(object_of({"name": TEXT, "message": TEXT})),
                },
                all_of_them=False,
                required=["kind", "message", "advice", "exit_status"],
            )
        }
    ),
}

UPLOADED = object_of({"id": TEXT, "media_type": TEXT, "size": COUNT, "expires": NUMBER})
RESULT = {"dispatch_id": ID, "node": TEXT_OR_NULL, "status": TEXT, "size": COUNT, "download": TEXT_OR_NULL}
EXPLAINED = object_of(
    {
        "label": TEXT,
        "status": TEXT,
        "reason": TEXT,
        "cause": TEXT,
        "inputs": list_of(object_of({"name": TEXT, "what": TEXT, "now": TEXT, "before": TEXT})),
        "changes": list_of(object_of({"kind": TEXT, "name": TEXT, "what": TEXT, "route": list_of(TEXT), "diff": TEXT})),
        "accepted": TEXT,
        "unresolved": list_of(TEXT),
        "warnings": list_of(TEXT),
    }
)
COMPARED = object_of(
    {
        "label": TEXT,
        "cause": TEXT,
        "result": {"enum": ["equal", "changed", "only in a", "only in b", "missing"]},
        "amount": TEXT,
        "seconds_a": NUMBER,
        "seconds_b": NUMBER,
    }
)
PAIRS: Schema = {"type": "object", "additionalProperties": list_of(TEXT_OR_NULL)}


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
                object_of({"$capsule": {"type": "string", "pattern": "^[0-9a-f]{32}$"}}, additionalProperties=False),
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
PLAN: Schema = object_of(_EDITS, all_of_them=False, additionalProperties=False)
REDISPATCH: Schema = object_of({**_EDITS, "idempotency_key": _NAME}, all_of_them=False, additionalProperties=False)
EMPTY: Schema = object_of({}, all_of_them=False, additionalProperties=False)
