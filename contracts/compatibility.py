"""Whether a message's schema may change as it did: pure functions over two JSON Schemas.

Services are replaced one at a time, so old and new ones run side by side, and messages wait in queues meanwhile.
A change is therefore judged in both directions: new readers meet old messages, old readers meet new ones.
Readers ignore fields they do not know (``additionalProperties`` absent), which plain set inclusion of schemas, as
general-purpose checkers judge it, does not take into account.

==========================================================================  ==============
change                                                                      judged
==========================================================================  ==============
optional field added; description, title or examples changed                compatible
field made optional; type, enum, union, limit or pattern widened            readers first
optional field added to an object that refuses unknown fields               readers first
field removed or renamed; required field added; field made required         incompatible
type, enum, union, limit, pattern or format narrowed, or type changed       incompatible
default changed: the same absent field would be read differently            incompatible
anything this module does not know how to judge                             incompatible
==========================================================================  ==============

"Readers first" is safe if every reader is replaced before the first writer. "Incompatible" needs a new version of
the message (``step.run.v2``) beside the old one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Schema = Mapping[str, Any]


class Impact(StrEnum):
    READERS_FIRST = "readers first"
    INCOMPATIBLE = "incompatible"


@dataclass(frozen=True, slots=True)
class Change:
    """One change that matters: where (``payload.commands[].timeout``) and what."""

    impact: Impact
    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.impact}: {self.path or 'message'}: {self.what}"


def compare(old: Schema, new: Schema) -> list[Change]:
    """Every change from ``old`` to ``new`` that is not compatible in both directions."""
    comparison = _Comparison(old, new)
    comparison.schemas(old, new, "")
    return comparison.changes


def worst(changes: Sequence[Change]) -> Impact | None:
    """The gravest impact among the changes; None when there is none."""
    impacts = {change.impact for change in changes}
    return next((impact for impact in (Impact.INCOMPATIBLE, Impact.READERS_FIRST) if impact in impacts), None)


_ANNOTATIONS = frozenset(
    {
        "title",
        "description",
        "examples",
        "deprecated",
        "default",
        "discriminator",
        "$schema",
        "$id",
        "$comment",
        "$defs",
    }
)
_LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_RESTRICTIONS = ("pattern", "format", "multipleOf", "uniqueItems")
_STRUCTURE = ("type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems")
_JUDGED = frozenset({*_ANNOTATIONS, *_LOWER_BOUNDS, *_UPPER_BOUNDS, *_RESTRICTIONS, *_STRUCTURE})
_DEFAULT_OF_BOUND = {"minLength": 0, "minItems": 0, "minProperties": 0}
_MISSING = object()


class _Comparison:
    """Walks two schemas side by side; a pair that refers to definitions is compared once, so recursion ends."""

    def __init__(self, old_root: Schema, new_root: Schema) -> None:
        self.changes: list[Change] = []
        self._old_root = old_root
        self._new_root = new_root
        self._compared: set[tuple[str, str]] = set()

    def schemas(self, old: Schema, new: Schema, path: str) -> None:
        pair = (_json(old), _json(new))
        if pair in self._compared:
            return
        if any("$ref" in text for text in pair):
            self._compared.add(pair)
        old, new = _resolved(old, self._old_root), _resolved(new, self._new_root)
        old_members = _members(old, self._old_root)
        new_members = _members(new, self._new_root)
        if len(old_members) == len(new_members) == 1:
            self._single(old_members[0], new_members[0], path)
            return
        tags = [schema.get("discriminator", {}).get("propertyName") for schema in (old, new)]
        if None not in tags and tags[0] != tags[1]:
            self._breaks(path, f"members are told apart by {tags[1]!r} now, before by {tags[0]!r}")
            return
        self._unions(old_members, new_members, tags[0] or tags[1], path)

    def _breaks(self, path: str, what: str) -> None:
        self.changes.append(Change(Impact.INCOMPATIBLE, path, what))

    def _widens(self, path: str, what: str) -> None:
        self.changes.append(Change(Impact.READERS_FIRST, path, what))

    # ---- unions

    def _unions(self, old: list[Schema], new: list[Schema], tag: str | None, path: str) -> None:
        before = {_member_key(member, tag): member for member in old}
        after = {_member_key(member, tag): member for member in new}
        if len(before) < len(old) or len(after) < len(new):
            if old != new:
                self._breaks(path, "a union whose members cannot be told apart changed, which cannot be judged")
            return
        for key in [key for key in before if key in after]:
            self.schemas(before.pop(key), after.pop(key), path)
        for old_key, new_key in _similar(before, after):
            self.schemas(before.pop(old_key), after.pop(new_key), path)
        if any(_allows_anything(member) for member in after.values()):
            self._widens(path, "anything is allowed now")
            return
        for key in before:
            self._breaks(path, f"{_in_words(key)} is no longer allowed")
        for key in after:
            self._widens(path, f"{_in_words(key)} is allowed too now")

    # ---- one type

    def _single(self, old: Schema, new: Schema, path: str) -> None:
        if not self._types(old, new, path):
            return
        self._values(old, new, path)
        for keyword in _LOWER_BOUNDS:
            self._bound(old, new, keyword, path, lower=True)
        for keyword in _UPPER_BOUNDS:
            self._bound(old, new, keyword, path, lower=False)
        for keyword in _RESTRICTIONS:
            self._restriction(old, new, keyword, path)
        self._properties(old, new, path)
        self._additional(old, new, path)
        self._items(old, new, path)
        for keyword in sorted((old.keys() | new.keys()) - _JUDGED):
            if old.get(keyword, _MISSING) != new.get(keyword, _MISSING):
                self._breaks(path, f"{keyword!r} changed, which cannot be judged")

    def _types(self, old: Schema, new: Schema, path: str) -> bool:
        """Whether the types are alike enough to look further."""
        before, after = old.get("type"), new.get("type")
        if before == after:
            return True
        if after is None and _allows_anything(new):
            self._widens(path, "anything is allowed now")
            return False
        if (before, after) == ("integer", "number"):
            self._widens(path, "numbers are allowed now, before only integers")
            return True
        self._breaks(path, f"type is {after or 'anything'} now, before {before or 'anything'}")
        return False

    def _values(self, old: Schema, new: Schema, path: str) -> None:
        before, after = _allowed_values(old), _allowed_values(new)
        if before is None and after is None:
            return
        if before is None:
            self._breaks(path, f"only these values are allowed now: {', '.join(sorted(after or ()))}")
        elif after is None:
            self._widens(path, "other values are allowed now")
        else:
            for value in sorted(before - after):
                self._breaks(path, f"the value {value} is no longer allowed")
            for value in sorted(after - before):
                self._widens(path, f"the value {value} is allowed too now")

    def _bound(self, old: Schema, new: Schema, keyword: str, path: str, *, lower: bool) -> None:
        no_bound = _DEFAULT_OF_BOUND.get(keyword)
        before, after = old.get(keyword, no_bound), new.get(keyword, no_bound)
        if before == after:
            return
        tighter = after is not None and (before is None or (after > before if lower else after < before))
        report = self._breaks if tighter else self._widens
        report(path, f"{keyword} is {_or_none(after)} now, before {_or_none(before)}")

    def _restriction(self, old: Schema, new: Schema, keyword: str, path: str) -> None:
        before, after = old.get(keyword) or None, new.get(keyword) or None
        if before == after:
            return
        report = self._widens if after is None else self._breaks
        report(path, f"{keyword} is {_or_none(after)} now, before {_or_none(before)}")

    # ---- objects and arrays

    def _properties(self, old: Schema, new: Schema, path: str) -> None:
        before, after = old.get("properties", {}), new.get("properties", {})
        was_required, is_required = set(old.get("required", ())), set(new.get("required", ()))
        for name in before:
            where = f"{path}.{name}" if path else name
            if name not in after:
                self._breaks(where, "field removed")
                continue
            if name in is_required - was_required:
                self._breaks(where, "field is required now")
            elif name in was_required - is_required:
                self._widens(where, "field is optional now")
            self._default(before[name], after[name], where)
            self.schemas(before[name], after[name], where)
        for name in after:
            if name not in before:
                self._added(old, name, name in is_required, f"{path}.{name}" if path else name)

    def _added(self, old: Schema, name: str, required: bool, where: str) -> None:
        unknown_fields = old.get("additionalProperties")
        if required:
            self._breaks(where, "required field added")
        elif unknown_fields is False:
            self._widens(where, "field added to an object whose older readers refuse unknown fields")
        elif unknown_fields is not None:
            self._breaks(where, f"field {name!r} added where the name was free for anything")

    def _default(self, old: Schema, new: Schema, path: str) -> None:
        if "default" in old and "default" in new and old["default"] != new["default"]:
            self._breaks(path, f"default is {_json(new['default'])} now, before {_json(old['default'])}")

    def _additional(self, old: Schema, new: Schema, path: str) -> None:
        before, after = (schema.get("additionalProperties") for schema in (old, new))
        before, after = ({} if value is True else value for value in (before, after))
        if before == after:
            return
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            self.schemas(before, after, f"{path}.*")
        elif after is False:
            self._breaks(path, "unknown fields are refused now")
        elif isinstance(before, Mapping):
            self._breaks(path, "other fields are no longer kept")
        elif isinstance(after, Mapping):
            self._widens(path, "other fields are kept now")

    def _items(self, old: Schema, new: Schema, path: str) -> None:
        before, after = old.get("prefixItems", []), new.get("prefixItems", [])
        if len(before) != len(after):
            self._breaks(path, f"has {len(after)} positions now, before {len(before)}")
            return
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            self.schemas(one, other, f"{path}[{i}]")
        if "items" not in old and "items" not in new:
            return
        old_items, new_items = old.get("items", {}), new.get("items", {})
        if isinstance(old_items, Mapping) and isinstance(new_items, Mapping):
            self.schemas(old_items, new_items, f"{path}[]")
        elif old_items != new_items:
            self._breaks(path, "whether more items may follow changed")


def _members(schema: Schema, root: Schema) -> list[Schema]:
    """The alternatives of a union, each with the restrictions that stand beside it; of anything else, itself."""
    schema = _resolved(schema, root)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            beside = {key: value for key, value in schema.items() if key not in _ANNOTATIONS and key != keyword}
            return [{**beside, **member} for alternative in schema[keyword] for member in _members(alternative, root)]
    types = schema.get("type")
    if isinstance(types, Sequence) and not isinstance(types, str):
        return [{**schema, "type": one} for one in types]
    return [schema]


def _resolved(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**root["$defs"][name], **siblings}
    return schema


def _member_key(member: Schema, tag: str | None) -> tuple[str, str]:
    """What tells a member of a union from the others: its tag, its constant, its name or its type."""
    if tag is not None and "const" in (marker := member.get("properties", {}).get(tag, {})):
        return (tag, _json(marker["const"]))
    if "const" in member:
        return ("value", _json(member["const"]))
    if member.get("type") == "object" and "properties" in member:
        return ("object", str(member.get("title", "")))
    return ("type", str(member.get("type", "anything")))


def _similar(
    before: Mapping[tuple[str, str], Schema], after: Mapping[tuple[str, str], Schema]
) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Pairs of members that are one thing under two keys: a renamed object, an integer that became a number."""
    pairs: list[tuple[tuple[str, str], tuple[str, str]]] = []
    if ("type", "integer") in before and ("type", "number") in after:
        pairs.append((("type", "integer"), ("type", "number")))
    old_objects = [key for key in before if key[0] == "object"]
    new_objects = [key for key in after if key[0] == "object"]
    if len(old_objects) == len(new_objects) == 1:
        pairs.append((old_objects[0], new_objects[0]))
    return pairs


def _allows_anything(schema: Schema) -> bool:
    return not (schema.keys() - _ANNOTATIONS)


def _allowed_values(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {_json(schema["const"])}
    return {_json(value) for value in schema["enum"]} if "enum" in schema else None


def _in_words(key: tuple[str, str]) -> str:
    return f"{key[0]} {key[1]}".strip()


def _or_none(value: Any) -> str:
    return "none" if value is None else str(value)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
