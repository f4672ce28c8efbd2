"""What the server does, told as OpenAPI 3.1: made from the table of operations. Pure."""

from __future__ import annotations

from typing import Any

from cas_run.server.messages import COMPONENTS, ref
from cas_run.server.operations import OPERATIONS, Operation


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
        content = {"application/json": {"schema": ref("Error")}}
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
