"""The part of JSON Schema that docs/json uses."""
import re

KNOWN = {"$schema", "$defs", "$ref", "title", "description", "type", "properties", "required", "additionalProperties",
         "items", "enum", "pattern", "minimum", "maximum", "anyOf"}
TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
}


def problems(value, schema, root=None, where="$"):
    """What in the value does not fit, as lines; an unknown word in the schema is an error."""
    root = root or schema
    if schema.keys() - KNOWN:
        raise ValueError(f"unknown words in the schema: {schema.keys() - KNOWN}")
    if "$ref" in schema:
        yield from problems(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, where)
    if "anyOf" in schema and all(any(problems(value, option, root, where)) for option in schema["anyOf"]):
        yield f"{where}: fits no alternative: {value!r}"
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(TYPES[name](value) for name in types):
        yield f"{where}: not {' or '.join(types)}: {value!r}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: not one of {schema['enum']}: {value!r}"
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{where}: does not match {schema['pattern']}: {value!r}"
    if TYPES["integer"](value) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{where}: out of range: {value}"
    if isinstance(value, list) and "items" in schema:
        for number, element in enumerate(value):
            yield from problems(element, schema["items"], root, f"{where}[{number}]")
    if isinstance(value, dict):
        yield from object_problems(value, schema, root, where)


def object_problems(value, schema, root, where):
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name in schema.get("required", []):
        if name not in value:
            yield f"{where}: {name} is missing"
    for name, member in value.items():
        if name in properties:
            yield from problems(member, properties[name], root, f"{where}.{name}")
        elif others is False:
            yield f"{where}: {name} is unknown"
        elif isinstance(others, dict):
            yield from problems(member, others, root, f"{where}.{name}")
