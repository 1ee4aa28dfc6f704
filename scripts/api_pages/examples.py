"""The examples of the API's documentation as they are kept: what is done, and what came of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from scripts.api_pages.curl import EDGE_VARIABLE, Request, curl_of, json_text, path_of
from scripts.api_pages.messages_story import PUBLISHED, WATCHED, Publish, Watch
from scripts.api_pages.story import ROUTES, Call

Json = dict[str, Any]
SENDER = "documentation"


class _Example(BaseModel):
    """``n`` is its place in the story. ``keep``, ``until``, ``figures`` and ``depth`` are as in ``Call``."""

    model_config = ConfigDict(frozen=True)

    n: int
    about: str
    keep: dict[str, str] = Field(default_factory=dict)
    until: tuple[str, str] | None = None
    figures: bool = False
    depth: int = 99


class Answer(BaseModel):
    """What came: ``body`` where it is JSON, ``text`` where it is not."""

    model_config = ConfigDict(frozen=True)

    status: int
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None
    text: str | None = None


class RouteExample(_Example):
    """A request; ``expected`` is the status it is to have."""

    kind: Literal["route"] = "route"
    operation: str
    curl: str
    expected: int
    lines: int = 0
    answer: Answer | None = None


class PublishedExample(_Example):
    """A message that is published, and the envelope that answers it where it asks for one."""

    kind: Literal["published"] = "published"
    type: str
    exchange: str
    routing_key: str
    envelope: Json
    asks: bool
    answer: Json | None = None

    @property
    def answer_type(self) -> str:
        return "" if self.answer is None else str(self.answer["type"])


class WatchedExample(_Example):
    """A message that was seen on the broker; ``having`` are texts by which it is known."""

    kind: Literal["watched"] = "watched"
    type: str
    having: tuple[str, ...] = ()
    exchange: str = ""
    routing_key: str = ""
    envelope: Json | None = None


Example = RouteExample | PublishedExample | WatchedExample
_LIST: TypeAdapter[list[Example]] = TypeAdapter(list[Annotated[Example, Field(discriminator="kind")]])


def operations_of(openapi: Json) -> dict[str, tuple[str, str, Json]]:
    """Operation id -> method, path, operation."""
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    }


def planned(openapi: Json) -> list[Example]:
    """Every example of both stories, without what comes of it.

    Raises:
        ValueError: a story calls an operation that there is not.
    """
    operations = operations_of(openapi)
    unknown = sorted({one.operation for one in (*ROUTES, *PUBLISHED) if isinstance(one, Call)} - operations.keys())
    if unknown:
        raise ValueError(f"the story calls operations that the API does not have: {', '.join(unknown)}")
    return [_planned(n, one, operations) for n, one in enumerate((*ROUTES, *PUBLISHED, *WATCHED), 1)]


def _planned(n: int, one: Call | Publish | Watch, operations: Mapping[str, tuple[str, str, Json]]) -> Example:
    if isinstance(one, Call):
        method, path, _ = operations[one.operation]
        return RouteExample(
            n=n,
            about=one.about,
            keep=dict(one.keep),
            until=one.until,
            figures=one.figures,
            depth=one.depth,
            operation=one.operation,
            curl=curl_of(_request(one, method, path)),
            expected=one.status,
            lines=one.lines,
        )
    if isinstance(one, Watch):
        return WatchedExample(
            n=n, about=one.about, figures=one.figures, depth=one.depth, type=one.message.TYPE, having=one.having
        )
    message = one.message.model_construct(**one.payload)
    address = one.to or message.address()
    envelope = {
        "id": f"example-{n}",
        "type": one.message.TYPE,
        "sender": SENDER,
        "timestamp": "2026-01-31T09:30:00Z",
        "payload": dict(one.payload),
    }
    return PublishedExample(
        n=n,
        about=one.about,
        keep=dict(one.keep),
        figures=one.figures,
        depth=one.depth,
        type=one.message.TYPE,
        exchange=address.exchange.value,
        routing_key=address.key,
        envelope=envelope,
        asks=one.asks,
    )


def _request(call: Call, method: str, path: str) -> Request:
    headers = {"X-API-Key": call.key} if call.key else {}
    headers |= call.headers
    body = call.body if call.body is None or isinstance(call.body, str) else json_text(call.body)
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
    return Request(method, EDGE_VARIABLE + path_of(path, call.at, call.query), headers, body)


def read(file: Path) -> list[Example]:
    """The examples that were recorded; none where there is no file."""
    return _LIST.validate_json(file.read_bytes()) if file.exists() else []


def write(file: Path, examples: list[Example]) -> None:
    file.write_bytes(_LIST.dump_json(examples, indent=1, exclude_defaults=False) + b"\n")
