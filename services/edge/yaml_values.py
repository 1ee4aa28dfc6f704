"""YAML to JSON values, in one pass over the parser's events.

Not ``yaml.safe_load``, for reasons that were tried: nesting of 100,000 kills the process there, aliases make a
small text huge once it is written out, ``on`` and ``yes`` become true (so a retry policy's ``on`` loses its name),
``2026-01-31`` becomes a date, and a repeated key wins in silence. It also takes four times as long. Scalars follow the
JSON-compatible core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema).
"""

import math
import re
from typing import Any

import yaml

MAX_DEPTH = 100
MAX_SIZE = 16_000_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_STRING_TAG = "tag:yaml.org,2002:str"
_NO_KEY = object()


class YamlFault(ValueError):
    """What is wrong with a YAML text, and where (both from 1)."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def load_yaml(text: str | bytes) -> Any:
    """Read one YAML document that JSON could say as well; an empty one is None.

    Raises:
        YamlFault: a syntax error, or something that has no place in JSON or in a document of sane size: more than
            100 levels, more than 16 million characters once aliases are followed, tags, merge keys, keys that are no
            strings, repeated keys, numbers that are not finite, several documents.
    """
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(part for part in (error.context, error.problem) if part)
        raise YamlFault(words, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise YamlFault(f"not a YAML text: {error}", 1, 1) from None
    return builder.root


class _Open:
    """A sequence or mapping whose end has not come yet. ``size`` counts the characters and the values in it, aliases
    followed."""

    __slots__ = ("anchor", "key", "size", "value")

    def __init__(self, value: dict[str, Any] | list[Any], anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.key: Any = _NO_KEY
        self.size = 1


class _Builder:
    def __init__(self) -> None:
        self.root: Any = None
        self._documents = 0
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._place(event, _scalar(event), 1 + len(event.value), event.anchor)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._begin(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                done = self._open.pop()
                self._place(event, done.value, done.size, done.anchor)
            case yaml.AliasEvent():
                if event.anchor not in self._anchors:
                    raise _fault(event, f"*{event.anchor} stands inside, or before, the value it names")
                self._place(event, *self._anchors[event.anchor], None)
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _fault(event, "several documents in one text; one is expected")

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        if event.tag is not None:
            raise _fault(event, f"the tag {event.tag} is not supported")
        if len(self._open) == MAX_DEPTH:
            raise _fault(event, f"nested deeper than {MAX_DEPTH} levels")
        if self._open and isinstance(self._open[-1].value, dict) and self._open[-1].key is _NO_KEY:
            raise _fault(event, "a key must be a string")
        self._open.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor))

    def _place(self, event: yaml.Event, value: Any, size: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size)
        if not self._open:
            self.root = value
            return
        parent = self._open[-1]
        parent.size += size
        if parent.size > MAX_SIZE:
            raise _fault(event, f"larger than {MAX_SIZE} characters once its aliases are followed")
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif parent.key is _NO_KEY:
            parent.key = _checked_key(event, value, parent.value)
        else:
            parent.value[parent.key] = value
            parent.key = _NO_KEY


def _checked_key(event: yaml.Event, key: Any, mapping: dict[str, Any]) -> str:
    if not isinstance(key, str):
        raise _fault(event, f"a key must be a string, not {key!r}: put it in quotes")
    if key == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
        raise _fault(event, "merge keys (<<) are not supported")
    if key in mapping:
        raise _fault(event, f"the key {key!r} stands twice in one mapping")
    return key


def _scalar(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    if event.tag is not None and event.tag not in (_STRING_TAG, "!"):
        raise _fault(event, f"the tag {event.tag} is not supported")
    if event.tag is not None or not event.implicit[0]:
        return text
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _NOT_FINITE.fullmatch(text):
        raise _fault(event, f"{text} is no number that JSON can say")
    return _number(event, text)


def _number(event: yaml.ScalarEvent, text: str) -> Any:
    try:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _BASED.fullmatch(text):
            return int(text, 0)
    except ValueError:
        raise _fault(event, "a number of too many digits") from None
    if not _FLOAT.fullmatch(text):
        return text
    number = float(text)
    if not math.isfinite(number):
        raise _fault(event, f"{text} is too large for a number")
    return number


def _fault(event: yaml.Event, message: str) -> YamlFault:
    mark = event.start_mark
    return YamlFault(message, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1)
