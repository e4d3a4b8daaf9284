"""JSON Schema, as much as msgspec writes: does a value keep to it; and how a schema is printed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

Schema = Mapping[str, object]
KEYS = {
    "$ref", "$defs", "title", "description", "type", "properties", "required",
    "additionalProperties", "items", "enum", "anyOf",
}  # fmt: skip
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "null": type(None),
}


def faults(value: object, schema: Schema, root: Schema, path: str = "$") -> Iterator[str]:
    """Each way in which a value does not keep to a schema. A key of it that is not known here is
    one too."""
    yield from (f"{path}: {key} is not understood" for key in schema.keys() - KEYS)
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        yield from faults(value, root["$defs"][name], root, path)  # type: ignore[index]
    if "anyOf" in schema:
        tries = [list(faults(value, one, root, path)) for one in schema["anyOf"]]  # type: ignore[attr-defined]
        if all(tries):
            yield f"{path}: none of {len(tries)} fits: {tries[0][0]}"
    if "type" in schema:
        kind = TYPES[str(schema["type"])]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            yield f"{path}: {value!r} is no {schema['type']}"
            return
    if "enum" in schema and value not in schema["enum"]:  # type: ignore[operator]
        yield f"{path}: {value!r} is not one of {schema['enum']}"
    if isinstance(value, dict):
        yield from _object_faults(value, schema, root, path)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from faults(item, schema["items"], root, f"{path}[{index}]")  # type: ignore[arg-type]


def _object_faults(
    value: Mapping[str, object], schema: Schema, root: Schema, path: str
) -> Iterator[str]:
    known: Mapping[str, Schema] = schema.get("properties", {})  # type: ignore[assignment]
    required: Sequence[str] = schema.get("required", ())  # type: ignore[assignment]
    yield from (f"{path}: {key} is missing" for key in required if key not in value)
    for key, each in value.items():
        if key in known:
            yield from faults(each, known[key], root, f"{path}.{key}")
        elif schema.get("additionalProperties") is False:
            yield f"{path}: {key} is unknown"


def printed(value: object, indent: str = "", taken: int = 0) -> str:
    """JSON in which whatever fits on a line of 100 characters is on one; `taken` are of the first.

    Texts of several lines are made one.
    """
    if isinstance(value, str):
        return json.dumps(" ".join(value.split()))
    flat = json.dumps(value)
    if not isinstance(value, dict | list) or not value:
        return flat
    if len(indent) + taken + len(flat) < 100:
        return flat
    more = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(more + printed(one, more) for one in value) + f"\n{indent}]"
    lines = (
        f"{more}{json.dumps(key)}: {printed(each, more, len(key) + 4)}"
        for key, each in value.items()
    )
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
