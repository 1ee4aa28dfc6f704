"""What spans are made of: what kind one is, what it has in common with others, and its attributes."""

from collections.abc import Mapping
from enum import IntEnum

LONGEST_TEXT = 300  # characters of an attribute: agents call their errors what they like
SORTS = 4_096  # how many of them whoever records spans may keep

AttributeValue = str | int | float | bool
Attributes = Mapping[str, AttributeValue]


class Kind(IntEnum):
    """What a span is to its neighbours, numbered as OpenTelemetry does."""

    INTERNAL = 0
    SERVER = 1
    CLIENT = 2
    PRODUCER = 3
    CONSUMER = 4


class Sort:
    """What many spans have in common. Whoever records such spans keeps it, since it is encoded only once.

    Args:
        name: of few values; what is special about one span stands in ``attributes``, its sort's or its own.
    """

    __slots__ = ("attributes", "encoded", "kind", "name")

    def __init__(self, name: str, kind: Kind, attributes: Attributes) -> None:
        self.name = name
        self.kind = kind
        self.attributes = bounded(attributes)
        self.encoded: bytes | None = None  # for the pipeline


def bounded(attributes: Attributes) -> Attributes:
    """The same with long texts cut."""
    for value in attributes.values():
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            return {key: _cut(value) for key, value in attributes.items()}
    return attributes


def _cut(value: AttributeValue) -> AttributeValue:
    return value[:LONGEST_TEXT] if isinstance(value, str) else value
