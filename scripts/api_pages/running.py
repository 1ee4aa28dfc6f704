"""Run the examples against a running system, one after the other: what comes of each, as it came."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

from contracts.topology import Address, Exchange
from scripts.api_pages.curl import request_of
from scripts.api_pages.examples import (
    Answer,
    Example,
    Json,
    PublishedExample,
    RouteExample,
    WatchedExample,
)
from scripts.api_pages.system import ADMIN_KEY, PATIENCE, System, Taken, until

SHOWN_HEADERS = ("content-type", "location", "retry-after", "idempotency-replayed", "www-authenticate")


class ExampleFailed(Exception):
    """An example did not give what the rest of the story needs; the message names it."""


class Run:
    """One run through all examples. ``values``: what ``$name`` stands for by now."""

    def __init__(self, system: System, client: httpx.AsyncClient) -> None:
        self._system = system
        self._client = client
        self.values: dict[str, str] = {"edge": system.url, "key": ADMIN_KEY}

    async def route(self, example: RouteExample) -> Answer:
        request = request_of(example.curl).with_values(self.values)

        async def asked() -> Answer | None:
            answer = await self._answer(request.method, request.url, request.headers, request.body)
            if example.until is None or _holds(answer.body, *example.until):
                return answer
            return None

        try:
            answer: Answer = await until(asked)
        except TimeoutError:
            raise ExampleFailed(f"example {example.n}, {example.operation}: never {example.until}") from None
        if answer.status != example.expected:
            raise ExampleFailed(
                f"example {example.n}, {example.operation}: {example.expected} was expected, {answer.status} came:"
                f" {answer.text or json.dumps(answer.body)[:1000]}"
            )
        self._keep(example.keep, answer.body)
        return answer

    async def published(self, example: PublishedExample) -> Json | None:
        """The envelope that answers, if one was asked for."""
        envelope = {**example.envelope, "timestamp": datetime.now(UTC).isoformat()}
        body = _filled(envelope, self.values)
        address = Address(Exchange(example.exchange), example.routing_key)
        try:
            text = await self._system.publish(address, body, example.type, envelope["id"], asks=example.asks)
        except TimeoutError:
            raise ExampleFailed(f"example {example.n}, {example.type}: no answer") from None
        answer = None if text is None else json.loads(text)
        self._keep(example.keep, answer)
        return answer

    async def watched(self, example: WatchedExample) -> Taken:
        try:
            return await self._system.first_taken(
                lambda taken: taken.envelope.type == example.type and all(part in taken.json for part in example.having)
            )
        except TimeoutError:
            said = f" that holds {example.having}" if example.having else ""
            raise ExampleFailed(f"example {example.n}: no {example.type}{said} was seen") from None

    async def _answer(self, method: str, url: str, headers: Mapping[str, str], body: str | None) -> Answer:
        content = None if body is None else body.encode()
        async with asyncio.timeout(PATIENCE), self._client.stream(method, url, headers=headers, content=content) as got:
            text = (await got.aread()).decode()
            shown = {name: got.headers[name] for name in SHOWN_HEADERS if name in got.headers}
            if text and "json" in got.headers.get("content-type", ""):
                return Answer(status=got.status_code, headers=shown, body=json.loads(text))
            return Answer(status=got.status_code, headers=shown, text=text)

    def _keep(self, names: Mapping[str, str], body: Any) -> None:
        for name, place in names.items():
            self.values[name] = str(_at(body, place))


async def run(system: System, examples: Sequence[Example]) -> AsyncIterator[tuple[Example, Any]]:
    """Each example with what came of it: an ``Answer``, an envelope or nothing, or a ``Taken``. Those of the hosts' end
    come last, for which the hosts are ended.

    Raises:
        ExampleFailed
    """
    ended = False
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        one_run = Run(system, client)
        for example in sorted(examples, key=lambda one: (_is_of_the_end(one), one.n)):
            if isinstance(example, RouteExample):
                yield example, await one_run.route(example)
            elif isinstance(example, PublishedExample):
                yield example, await one_run.published(example)
            else:
                if _is_of_the_end(example) and not ended:
                    await system.end_hosts()
                    ended = True
                yield example, await one_run.watched(example)


def _is_of_the_end(example: Example) -> bool:
    return isinstance(example, WatchedExample) and example.type.startswith("host.stopped")


def _filled(value: Any, values: Mapping[str, str]) -> str:
    text = json.dumps(value)
    for name, one in values.items():
        text = text.replace(f'"${name}"', json.dumps(one))
    return text


def _holds(body: Any, place: str, wanted: str) -> bool:
    try:
        return str(_at(body, place)).startswith(wanted)
    except (KeyError, IndexError, TypeError):
        return False


def _at(body: Any, place: str) -> Any:
    for part in place.split("."):
        body = body[int(part)] if isinstance(body, list) else body[part]
    return body
