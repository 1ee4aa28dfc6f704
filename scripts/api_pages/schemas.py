"""JSON Schema as Markdown: what a field's type is, what is allowed, and tables of fields. Schemas that have a name are
described once and linked."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Json = dict[str, Any]
Link = Callable[[str], str]
"""From a schema's name to where it is described."""

_BOUNDS = (
    ("minimum", "at least {:g}"),
    ("exclusiveMinimum", "more than {:g}"),
    ("maximum", "at most {:g}"),
    ("exclusiveMaximum", "less than {:g}"),
)
_LENGTHS = (("Length", "characters"), ("Items", "items"), ("Properties", "members"))


def in_page(name: str) -> str:
    return f"#{name.lower()}"


def type_of(schema: Json, link: Link = in_page) -> str:
    """``text or null``, ``list of [Step](#step)`` ..."""
    if not schema:
        return "any"
    if "$ref" in schema:
        name = name_of(schema["$ref"])
        return f"[{name}]({link(name)})"
    if "const" in schema:
        return f"`{_json(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{_json(one)}`" for one in schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(type_of(one, link) for one in schema[key]))
    if "allOf" in schema:
        return " and ".join(type_of(one, link) for one in schema["allOf"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(type_of({**schema, "type": one}, link) for one in kind)
    if kind == "array":
        return _list_of(schema, link)
    if kind == "object":
        return _map_of(schema, link)
    if kind == "string" and schema.get("format") == "date-time":
        return "time"
    return {
        "string": "text",
        "number": "number",
        "integer": "whole number",
        "boolean": "true or false",
        None: "any",
    }.get(kind, str(kind))


def _list_of(schema: Json, link: Link) -> str:
    if places := schema.get("prefixItems"):
        return "list of " + ", ".join(type_of(one, link) for one in places)
    items = schema.get("items", {})
    return f"list of {type_of(items, link)}" if items else "list"


def _map_of(schema: Json, link: Link) -> str:
    values = schema.get("additionalProperties")
    return f"object of {type_of(values, link)} by name" if isinstance(values, dict) and values else "object"


def allowed(schema: Json) -> str:
    """What a value has to be beside its type, in words; of a choice, what its only part with conditions says."""
    parts = schema.get("anyOf") or schema.get("oneOf") or ()
    said = [text.format(schema[key]) for key, text in _BOUNDS if key in schema]
    for key, unit in _LENGTHS:
        said += _between(schema.get(f"min{key}"), schema.get(f"max{key}"), unit)
    if "pattern" in schema:
        said.append(f"`{_cell(schema['pattern'])}`")
    said += [one for part in parts if isinstance(part, dict) and (one := allowed(part))]
    items = schema.get("items")
    if isinstance(items, dict) and (one := allowed(items)):
        said.append(f"each {one}")
    return ", ".join(said)


def _between(least: int | None, most: int | None, unit: str) -> Iterator[str]:
    if least is not None and most is not None:
        yield f"{least:,} to {most:,} {unit}"
    elif most is not None:
        yield f"at most {most:,} {unit}"
    elif least:
        yield f"at least {least:,} {unit}"


def fields(schema: Json, link: Link = in_page, leave_out: Iterable[str] = ()) -> list[str]:
    """A table of an object's fields: type, whether it has to be there, what is allowed, meaning."""
    properties = {name: one for name, one in schema.get("properties", {}).items() if name not in set(leave_out)}
    if not properties:
        return ["No fields."]
    required = schema.get("required", ())
    rows = ["| field | type | | meaning |", "|---|---|---|---|"]
    rows += [_row(name, one, name in required, link) for name, one in properties.items()]
    return rows


def parameters(listed: Iterable[Json], link: Link = in_page) -> list[str]:
    """A table of a route's parameters; none where it has none."""
    rows = []
    for one in listed:
        schema = {**one.get("schema", {}), "description": one.get("description", "")}
        row = _row(one["name"], schema, bool(one.get("required")), link)
        name, _, rest = row[2:].partition(" | ")
        rows.append(f"| {name} | {one['in']} | {rest}")
    return ["| parameter | in | type | | meaning |", "|---|---|---|---|---|", *rows] if rows else []


def _row(name: str, schema: Json, required: bool, link: Link) -> str:
    meaning = sentence(schema.get("description", ""))
    limits = allowed(schema)
    cells = (
        f"`{name}`",
        type_of(schema, link),
        "required" if required else _default(schema),
        " ".join(part for part in (meaning, f"Allowed: {limits}." if limits else "") if part),
    )
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _default(schema: Json) -> str:
    default = schema.get("default")
    return "" if default in (None, "", [], {}) else f"`{_json(default)}` if not given"


def sentence(text: str) -> str:
    """A description on one line; code is marked the Markdown way."""
    return " ".join(text.replace("``", "`").split())


def described(name: str, schema: Json, link: Link = in_page) -> list[str]:
    """A section about one named schema."""
    lines = [f"### {name}", ""]
    if schema.get("description"):
        lines += [sentence(schema["description"]), ""]
    if "enum" in schema:
        lines += [f"One of {', '.join(f'`{one}`' for one in schema['enum'])}.", ""]
    elif "properties" in schema:
        lines += [*fields(schema, link), ""]
        if schema.get("additionalProperties") is False:
            lines += ["Other fields are refused.", ""]
    else:
        lines += [f"Type: {type_of(schema, link)}.", ""]
    return lines


def named_in(schema: Any, known: Mapping[str, Json], found: set[str] | None = None) -> set[str]:
    """The names of all schemas that a schema refers to, also by way of others."""
    found = set() if found is None else found
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str) and (name := name_of(reference)) not in found:
            found.add(name)
            named_in(known.get(name, {}), known, found)
        for value in schema.values():
            named_in(value, known, found)
    elif isinstance(schema, list):
        for value in schema:
            named_in(value, known, found)
    return found


def name_of(reference: str) -> str:
    return reference.rpartition("/")[2]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _json(value: Any) -> str:
    return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else f"{value}"
