"""JSON Schema, as much of it as requests and signatures need: made from annotations, checked, told. Pure."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from cas_engine.graphs.signatures import Parameter, Signature
from cas_run.server.problems import Field

Schema = Mapping[str, Any]
ANYTHING: Schema = {}
UPLOAD = "$blob"
LITERAL = "$literal"
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "null": type(None),
    "boolean": bool,
    "string": str,
    "array": list,
    "object": dict,
}
_NAMES: Mapping[str, Schema] = {
    "int": {"type": "integer"},
    "float": {"type": "number", "x-float": True},
    "complex": {"type": "number"},
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
    "None": {"type": "null"},
    "NoneType": {"type": "null"},
    "ndarray": {"type": "array", "x-type": "array"},
    "NDArray": {"type": "array", "x-type": "array"},
    "DataFrame": {"anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}], "x-type": "frame"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
    "UUID": {"type": "string", "format": "uuid"},
    "Path": {"type": "string"},
}
_LISTS = {"list", "List", "Sequence", "Iterable", "Collection", "MutableSequence", "set", "Set", "frozenset"}
_OBJECTS = {"dict", "Dict", "Mapping", "MutableMapping"}
_WORDS = ("nan", "inf", "-inf", "Infinity", "-Infinity", "NaN")  # what JSON has no number for


def of_annotation(text: str) -> Schema:
    """The schema of an annotation, which is read and never evaluated. What it does not know takes anything."""
    try:
        return _of(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ANYTHING


def of_signature(signature: Signature) -> dict[str, Any]:
    """The schema of an object that has a lattice's inputs by name."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    rest = not signature.known
    for parameter in signature.parameters:
        if parameter.kind == "**":
            rest = True
        elif parameter.kind != "*":
            properties[parameter.name] = _of_parameter(parameter)
            if not parameter.has_default:
                required.append(parameter.name)
    made: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": rest}
    return made | ({"required": required} if required else {})


def _of_parameter(parameter: Parameter) -> dict[str, Any]:
    made = dict(of_annotation(parameter.annotation)) if parameter.annotation else {}
    if parameter.annotation:
        made["x-annotation"] = parameter.annotation
    if parameter.has_default:
        made["x-default"] = parameter.default
        try:
            made["default"] = _jsonable(ast.literal_eval(parameter.default))
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            pass
        else:
            if made["default"] is None and made.get("type") not in (None, "null"):
                made = {"anyOf": [_bare(made), {"type": "null"}], **_told(made)}
    return made


def _jsonable(value: object) -> object:
    json.dumps(value, allow_nan=False)
    return value


def _bare(made: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in made.items() if name not in ("default", "x-default", "x-annotation")}


def _told(made: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in made.items() if name in ("default", "x-default", "x-annotation")}


def _of(node: ast.expr) -> Schema:
    match node:
        case ast.Constant(value=None):
            return _NAMES["None"]
        case ast.Constant(value=str(text)):
            return of_annotation(text)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return _named(name)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _any_of([_of(left), _of(right)])
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            return _generic(name, list(inner.elts) if isinstance(inner, ast.Tuple) else [inner])
    return ANYTHING


def _named(name: str) -> Schema:
    if name in _LISTS or name in ("tuple", "Tuple"):
        return {"type": "array"}
    if name in _OBJECTS:
        return {"type": "object"}
    return _NAMES.get(name, ANYTHING)


def _generic(name: str, inner: list[ast.expr]) -> Schema:
    if name == "Optional":
        return _any_of([*map(_of, inner), _NAMES["None"]])
    if name == "Union":
        return _any_of([*map(_of, inner)])
    if name in ("Annotated", "Final", "Required"):
        return _of(inner[0])
    if name == "Literal":
        values = [node.value for node in inner if isinstance(node, ast.Constant)]
        plain = all(value is None or isinstance(value, (str, int, bool)) for value in values)
        return {"enum": values} if plain and len(values) == len(inner) else ANYTHING
    if name in _LISTS and len(inner) == 1:
        return {"type": "array", "items": _of(inner[0])}
    if name in ("tuple", "Tuple"):
        if len(inner) == 2 and isinstance(inner[1], ast.Constant) and inner[1].value is Ellipsis:
            return {"type": "array", "items": _of(inner[0])}
        return {"type": "array", "minItems": len(inner), "maxItems": len(inner), "prefixItems": [*map(_of, inner)]}
    if name in _OBJECTS and len(inner) == 2:
        key = _of(inner[0])
        return {"type": "object", **({"additionalProperties": _of(inner[1])} if key.get("type") == "string" else {})}
    return _named(name) if name in _NAMES else ANYTHING


def _any_of(members: list[Schema]) -> Schema:
    if any(member == ANYTHING for member in members):
        return ANYTHING
    flat: list[Schema] = []
    for member in members:
        flat += member["anyOf"] if set(member) == {"anyOf"} else [member]
    return {"anyOf": flat}


def faults(value: object, schema: Schema, where: str = "", *, uploads: bool = False) -> Iterator[Field]:
    """Where a value is not as the schema says; with `uploads`, one may stand in the place of any value."""
    if uploads and type(value) is dict and len(value) == 1 and (UPLOAD in value or LITERAL in value):
        return
    if "anyOf" in schema:
        if not any(next(faults(value, member, where, uploads=uploads), None) is None for member in schema["anyOf"]):
            takes = " or ".join(told(member) for member in schema["anyOf"])
            yield Field(where, f"{_shown(value)} is not {takes}")
        return
    if "enum" in schema:
        if not any(type(value) is type(one) and value == one for one in schema["enum"]):
            yield Field(where, f"{_shown(value)} is not one of {', '.join(map(json.dumps, schema['enum']))}")
        return
    if not _has_type(value, schema):
        yield Field(where, f"{_shown(value)} is not {told(schema)}")
    elif isinstance(value, str):
        yield from _faults_of_text(value, schema, where)
    elif isinstance(value, (int, float)) and type(value) is not bool:
        low, high = schema.get("minimum"), schema.get("maximum")
        if (low is not None and value < low) or (high is not None and value > high):
            within = f"between {low} and {high}" if high is not None else f"{low} or more"
            yield Field(where, f"{_shown(value)} is not {within}")
    elif isinstance(value, list):
        yield from _faults_of_list(value, schema, where, uploads=uploads)
    elif isinstance(value, dict):
        yield from _faults_of_object(value, schema, where, uploads=uploads)


def _has_type(value: object, schema: Schema) -> bool:
    kind = schema.get("type")
    if kind is None:
        return True
    if kind == "integer":
        return type(value) is int or (type(value) is float and value.is_integer())
    if kind == "number":
        return (isinstance(value, (int, float)) and type(value) is not bool and _fits(value, schema)) or (
            "x-float" in schema and value in _WORDS
        )
    return isinstance(value, _TYPES[kind])


def _fits(value: float, schema: Schema) -> bool:
    try:
        return "x-float" not in schema or float(value) is not None
    except OverflowError:
        return False


def _faults_of_text(value: str, schema: Schema, where: str) -> Iterator[Field]:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield Field(
            where, f"it has {len(value):,} characters, and not {schema.get('minLength', 0)} to {schema['maxLength']}"
        )
    elif "pattern" in schema and re.search(schema["pattern"], value) is None:
        yield Field(where, f"{_shown(value)} is not of the form {schema['pattern']}")


def _faults_of_list(value: list[Any], schema: Schema, where: str, *, uploads: bool) -> Iterator[Field]:
    least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
    if not least <= len(value) <= most:
        yield Field(where, f"it has {len(value):,} items, and not {least if least == most else f'{least} to {most}'}")
        return
    if items := schema.get("items"):
        for i, item in enumerate(value):
            yield from faults(item, items, f"{where}[{i}]", uploads=uploads)
    for i, (item, one) in enumerate(zip(value, schema.get("prefixItems", ()), strict=False)):
        yield from faults(item, one, f"{where}[{i}]", uploads=uploads)


def _faults_of_object(value: dict[str, Any], schema: Schema, where: str, *, uploads: bool) -> Iterator[Field]:
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    prefix = f"{where}." if where else ""
    for name in schema.get("required", ()):
        if name not in value:
            yield Field(prefix + name, "it is missing")
    most = schema.get("maxProperties")
    if most is not None and len(value) > most:
        yield Field(where, f"it has {len(value):,} names, and the most are {most:,}")
        return
    for name, item in value.items():
        if name in properties:
            yield from faults(item, properties[name], prefix + name, uploads=uploads)
        elif others is False:
            yield Field(prefix + name[:100], _unknown(name, list(properties)))
        elif others is not True:
            yield from faults(item, others, prefix + name[:100], uploads=uploads)


def nearest(name: str, known: Sequence[str]) -> str:
    """What somebody may have meant, as advice; "" if nothing is near."""
    near = get_close_matches(name[:100], known, n=2, cutoff=0.5)
    return f"did you mean `{'` or `'.join(near)}`?" if near else ""


def _unknown(name: str, known: list[str]) -> str:
    if near := nearest(name, known):
        return f"there is no such name; {near}"
    return f"there is no such name, only {', '.join(f'`{one}`' for one in known)}" if known else "it takes no names"


def told(schema: Schema) -> str:
    """What a schema takes, in words."""
    if schema.get("x-type") == "array":
        return "an array as nested lists"
    if schema.get("x-type") == "frame":
        return "a frame as an object of columns or a list of rows"
    if "anyOf" in schema:
        return " or ".join(told(member) for member in schema["anyOf"])
    if "enum" in schema:
        return f"one of {', '.join(map(json.dumps, schema['enum']))}"
    words = {
        None: "anything",
        "null": "null",
        "boolean": "true or false",
        "integer": "a whole number",
        "number": "a number",
        "string": "a text",
        "array": "a list",
        "object": "an object",
    }
    return words[schema.get("type")]


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def uploads_in(raw: Any) -> list[str]:
    """The ids of the uploads that a JSON value names."""
    if isinstance(raw, list):
        return [one for item in raw for one in uploads_in(item)]
    if not isinstance(raw, dict) or _is_one(raw, LITERAL):
        return []
    if _is_one(raw, UPLOAD):
        return [raw[UPLOAD]] if isinstance(raw[UPLOAD], str) else []
    return [one for item in raw.values() for one in uploads_in(item)]


def _is_one(raw: dict[str, Any], name: str) -> bool:
    return len(raw) == 1 and name in raw
