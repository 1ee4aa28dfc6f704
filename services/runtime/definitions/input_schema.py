"""A step's inputs against the JSON Schema of its capability, where some values are known only at run time.

The validator is jsonschema's (draft 2020-12) with keywords that know about unknown values: such a value fits every
schema, and a keyword that would need it says nothing. So what is reported is wrong whatever the values turn out to be.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import referencing
import referencing.exceptions
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend

from services.runtime.definitions.expressions import shortened
from services.runtime.definitions.input_paths import Key
from services.runtime.definitions.schema_work import (
    REFERENCE_UNITS,
    VALUES_A_UNIT,
    TooMuchWork,
    has_repeated,
    matches,
    one_step,
    spend,
)

Keyword = Callable[[Any, Any, Any, Any], Iterable[ValidationError]]

MAX_ERRORS = 1_000  # of one step's inputs
_SHOWN_NAMES = 30


class BadSchema(ValueError):
    """A capability's schema that cannot be used."""


class SchemaFault(NamedTuple):
    """``path`` is below the inputs; ``code`` is missing_input, unknown_input or bad_input."""

    path: tuple[Key, ...]
    code: str
    message: str


class Unknown:
    """A value known only at run time; with ``text`` it is known to be a string."""

    def __init__(self, source: str, *, text: bool) -> None:
        self.source = source
        self.text = text

    def __repr__(self) -> str:
        return repr(self.source)


class _PartlyObject(dict[str, Any]):
    """An object with an unknown value in it, at whatever depth."""


class _PartlyList(list[Any]):
    """A list with an unknown value in it, at whatever depth."""


_PARTLY = (Unknown, _PartlyObject, _PartlyList)


def partly_known(inputs: Mapping[str, Any], values: Iterable[tuple[Sequence[Key], Any]]) -> dict[str, Any]:
    """A copy of ``inputs`` with other values, ``Unknown`` or not, at the paths given; a later one wins."""
    root = _PartlyObject(inputs)
    for path, value in values:
        node: Any = root
        for key in path[:-1]:
            below = node[key]
            if isinstance(below, Unknown):
                break
            if not isinstance(below, _PARTLY):
                below = node[key] = _PartlyObject(below) if isinstance(below, Mapping) else _PartlyList(below)
            node = below
        else:
            node[path[-1]] = value
    return root


class InputSchema:
    """A capability's input schema (draft 2020-12), ready to check inputs with."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        # A subschema that names its draft would be read by another validator than ours.
        self._schema = {key: value for key, value in schema.items() if key != "$schema"}
        # An empty registry: a reference out of the schema is never fetched.
        self._validator = _Validator(self._schema, registry=referencing.Registry())

    def faults(self, inputs: Mapping[str, Any]) -> list[SchemaFault]:
        """What is wrong with ``inputs``, which may come from ``partly_known``.

        Raises:
            BadSchema: the schema is none, or refers to something that is not in it, or to itself without end.
        """
        errors: list[ValidationError] = []
        try:
            with one_step():
                errors.extend(islice(self._validator.iter_errors(inputs), MAX_ERRORS))
        except TooMuchWork:
            pass  # what was found until then is wrong all the same; for the rest there is the agent's own model
        except referencing.exceptions.Unresolvable as error:
            raise BadSchema(str(error)) from None
        except RecursionError:
            raise BadSchema("it refers to itself without end") from None
        except Exception as error:  # a schema that is none can fail in any way
            raise BadSchema(self._problem() or f"{type(error).__name__}: {error}") from error
        if errors and (problem := self._problem()):
            raise BadSchema(problem)
        return list(dict.fromkeys(fault for error in errors for fault in _explained(error)))

    def _problem(self) -> str | None:
        return _schema_problem(json.dumps(self._schema, sort_keys=True))


@lru_cache(maxsize=256)
def _schema_problem(schema: str) -> str | None:
    """Asked only where there are faults, and once for each schema: it takes 100 ms."""
    try:
        # Patterns are none of Python's: they are read as the agent's model reads them, or left to it.
        Draft202012Validator.check_schema(json.loads(schema), format_checker=FormatChecker(formats=()))
    except SchemaError as error:
        return f"{error.message} (at {error.json_path})"
    return None


# ---- keywords

_ORIGINAL: Mapping[str, Keyword] = Draft202012Validator.VALIDATORS


def _if_known(keyword: str) -> Keyword:
    """A keyword that needs the whole value to say anything."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterable[ValidationError]:
        return () if isinstance(instance, _PARTLY) else _ORIGINAL[keyword](validator, value, instance, schema) or ()

    return check


def _one_of(validator: Any, forms: Any, instance: Any, schema: Any) -> Iterable[ValidationError]:
    by = schema.get("discriminator", {})
    tag, branches = by.get("propertyName"), by.get("mapping")
    if isinstance(instance, dict) and tag and branches:
        return _by_tag(validator, tag, branches, instance)
    # Which one of several forms fits may be known only at run time.
    keyword = "anyOf" if isinstance(instance, _PARTLY) else "oneOf"
    return _ORIGINAL[keyword](validator, forms, instance, schema) or ()


def _unique_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    # Not the library's own, which compares each with each where they cannot be sorted.
    known = [each for each in instance if not isinstance(each, _PARTLY)] if isinstance(instance, list) else []
    if wanted and has_repeated(known):
        yield ValidationError(f"{_short(instance)} has non-unique elements")


def _counted(name: str, keyword: Keyword) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterable[ValidationError]:
        if name in ("$ref", "$dynamicRef"):
            spend(REFERENCE_UNITS)
        else:
            spend(1 + len(value) // VALUES_A_UNIT if name == "enum" else 1)
        return keyword(validator, value, instance, schema)

    return check


def _by_tag(
    validator: Any, tag: str, branches: Mapping[str, str], instance: dict[str, Any]
) -> Iterator[ValidationError]:
    """A union whose branch is named by a property, as Pydantic writes it (OpenAPI's discriminator object)."""
    allowed = ", ".join(map(repr, branches))
    if tag not in instance:
        message = f"{tag!r} is missing; it says which form this is: {allowed}"
        yield ValidationError(message, validator="required", path=[tag])
    elif isinstance(instance[tag], str) and instance[tag] in branches:
        yield from validator.descend(instance, {"$ref": branches[instance[tag]]})
    elif not isinstance(instance[tag], Unknown):
        yield ValidationError(f"{_short(instance[tag])} is not one of {allowed}", validator="enum", path=[tag])


def _type(validator: Any, types: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    allowed = [types] if isinstance(types, str) else types
    if isinstance(instance, Unknown):
        fits = not instance.text or "string" in allowed
    else:
        fits = any(validator.is_type(instance, each) for each in allowed)
    if not fits:
        yield ValidationError(f"{_short(instance)} is not of type {' or '.join(allowed)}")


def _required(validator: Any, names: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for name in names:
            if name not in instance:
                needed = f"; needed are {_names(names)}" if len(names) > 1 else ""
                yield ValidationError(f"{name!r} is missing{needed}", path=[name])


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    known = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    for name in instance:
        if name in known or any(matches(pattern, name) is not False for pattern in patterns):
            continue
        if allowed is False:
            others = "" if not patterns else f", and names like {', '.join(patterns)}"
            yield ValidationError(f"{name!r} is not known here; known are {_names(known)}{others}", path=[name])
        else:
            yield from validator.descend(instance[name], allowed, path=name)


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, below in patterns.items():
            for name, value in instance.items():
                if matches(pattern, name):
                    yield from validator.descend(value, below, path=name, schema_path=pattern)


def _pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and matches(pattern, instance) is False:
        yield ValidationError(f"{_short(instance)} does not match {pattern!r}")


_NEED_ALL = ("const", "enum", "not", "if", "contains", "unevaluatedProperties", "unevaluatedItems")
_KEYWORDS: Mapping[str, Keyword] = {
    **_ORIGINAL,
    **{keyword: _if_known(keyword) for keyword in _NEED_ALL},
    **{
        "oneOf": _one_of,
        "uniqueItems": _unique_items,
        "type": _type,
        "required": _required,
        "additionalProperties": _additional_properties,
        "patternProperties": _pattern_properties,
        "pattern": _pattern,
    },
}
_Validator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {name: _counted(name, keyword) for name, keyword in _KEYWORDS.items()}
)

# ---- words


def _explained(error: ValidationError) -> Iterator[SchemaFault]:
    """The faults behind an error: of a union, those of the one form that was meant, if that can be told."""
    if error.validator not in ("anyOf", "oneOf") or not error.context:
        yield SchemaFault(tuple(error.absolute_path), _code(error), _message(error))
        return
    meant = _meant(list(_forms(error)))
    if len(meant) == 1:
        for each in meant[0]:
            yield from _explained(each)
    else:
        yield SchemaFault(tuple(error.absolute_path), "bad_input", _none_fits(error, meant))


def _forms(error: ValidationError) -> Iterator[list[ValidationError]]:
    """The errors of each form of a union; a union within it counts as so many forms more."""
    forms: dict[Any, list[ValidationError]] = {}
    for each in error.context or ():
        forms.setdefault(each.relative_schema_path[0], []).append(each)
    for errors in forms.values():
        only = errors[0]
        if len(errors) == 1 and only.validator in ("anyOf", "oneOf") and only.context and not only.relative_path:
            yield from _forms(only)
        else:
            yield errors


def _meant(forms: list[list[ValidationError]]) -> list[list[ValidationError]]:
    """Of the forms of a union, each with its errors, those that the value may have been meant for."""

    def wrong(form: list[ValidationError], keywords: tuple[str, ...], depth: int) -> bool:
        return any(len(each.relative_path) == depth and each.validator in keywords for each in form)

    not_null = [form for form in forms if form[0].validator != "type" or form[0].validator_value != "null"]
    same_type = [form for form in not_null if not wrong(form, ("type",), 0)]
    same_kind = [form for form in same_type if not wrong(form, ("const",), 1)]  # {"kind": "a", ...}
    return next((found for found in (same_kind, same_type, not_null) if len(found) == 1), same_type or forms)


def _none_fits(error: ValidationError, forms: list[list[ValidationError]]) -> str:
    types: list[Any] = [
        form[0].validator_value for form in forms if form[0].validator == "type" and not form[0].relative_path
    ]
    if len(types) == len(forms):
        names = dict.fromkeys(str(name) for each in types for name in ([each] if isinstance(each, str) else each))
        return f"{_short(error.instance)} is not of type {' or '.join(names)}"
    reasons = dict.fromkeys(f"{_at(form[0])}{_message(form[0])}" for form in forms)
    return f"{_short(error.instance)} fits none of the forms allowed: {'; or '.join(reasons)}"


def _at(error: ValidationError) -> str:
    named = error.validator in ("required", "additionalProperties")
    path = list(error.relative_path)[:-1] if named else list(error.relative_path)
    return ".".join(map(str, path)) + ": " if path else ""


def _code(error: ValidationError) -> str:
    return {"required": "missing_input", "additionalProperties": "unknown_input"}.get(str(error.validator), "bad_input")


def _message(error: ValidationError) -> str:
    """jsonschema begins its messages with the value, however large."""
    if error.validator == "const":
        return f"{_short(error.instance)} is not {error.validator_value!r}"
    whole, message = repr(error.instance), str(error.message)
    return _short(error.instance) + message[len(whole) :] if message.startswith(whole) else message


def _short(value: Any) -> str:
    if isinstance(value, Unknown):
        return f"the text {shortened(value.source)!r}"
    if isinstance(value, dict | list):
        what = "an object" if isinstance(value, dict) else "a list"
        return what if value else f"{what} with nothing in it"
    return shortened(repr(value))


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN_NAMES} more" if len(listed) > _SHOWN_NAMES else ""
    return ", ".join(listed[:_SHOWN_NAMES]) + more if listed else "no others"
