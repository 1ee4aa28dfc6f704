"""Record the examples: run them against a system of their own, and keep what came, cleaned."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from scripts.api_pages.cleaning import Cleaner, cut
from scripts.api_pages.comparing import CUT, Comparison
from scripts.api_pages.examples import Answer, Example, Json, PublishedExample, RouteExample
from scripts.api_pages.running import run
from scripts.api_pages.system import documented_settings, running_system
from scripts.servers import find_mongodb
from services.runtime.settings import Settings

EVENT_DEPTH = 2  # levels of an event's data that are shown
_DATA = "data: {"


async def record(examples: Sequence[Example], settings: Settings) -> list[Example]:
    """The examples with what came of each, in the order of the story."""
    recorded: list[Example] = []
    cleaner = Cleaner(time.time())
    async with running_system(settings) as system:
        async for example, came in run(system, examples):
            recorded.append(_recorded(example, came, cleaner))
    return sorted(recorded, key=lambda one: one.n)


async def record_embedded(examples: Sequence[Example]) -> list[Example]:
    """Record with every service in this process, and the embedded store.

    Raises:
        ServerNotFound: no store can be had.
    """
    with find_mongodb(own=True, containers=False) as mongodb:
        return await record(examples, documented_settings(mongodb.url))


def _recorded(example: Example, came: Any, cleaner: Cleaner) -> Example:
    if isinstance(example, RouteExample):
        return example.model_copy(update={"answer": _cleaned(example, came, cleaner)})
    if isinstance(example, PublishedExample):
        answer = None if came is None else _shown(came, example.depth, cleaner)
        return example.model_copy(update={"answer": answer})
    envelope = _shown(came.envelope.model_dump(mode="json"), example.depth, cleaner)
    where = {"exchange": came.exchange, "routing_key": came.routing_key}
    return example.model_copy(update={"envelope": envelope, **where})


def _shown(envelope: Json, depth: int, cleaner: Cleaner) -> Json:
    shown: Json = cut(cleaner.clean(envelope), depth)
    return shown


def _cleaned(example: RouteExample, came: Answer, cleaner: Cleaner) -> Answer:
    headers = {name: cleaner.text(text) for name, text in came.headers.items()}
    if came.text is None:
        return Answer(status=came.status, headers=headers, body=cut(cleaner.clean(came.body), example.depth))
    lines = [_shown_line(line, cleaner) for line in _first_lines(came.text, example.lines or 40)]
    text = "\n".join(lines)
    return Answer(status=came.status, headers=headers, text=text)


def _first_lines(text: str, most: int) -> list[str]:
    lines = text.splitlines()
    return lines if len(lines) <= most else [*lines[:most], f"{CUT}{len(lines) - most} more lines"]


def _shown_line(line: str, cleaner: Cleaner) -> str:
    if line.startswith(_DATA):
        shown = cut(cleaner.clean(json.loads(line.removeprefix("data: "))), EVENT_DEPTH)
        return f"data: {json.dumps(shown, ensure_ascii=False, separators=(',', ':'))}"
    return cleaner.text(line)


# ---- is it still so?


def changes(shown: Example, came: Any, comparison: Comparison) -> Iterator[str]:
    """What is not as the example shows it, in words."""
    if isinstance(shown, RouteExample):
        assert shown.answer is not None, f"example {shown.n} was never recorded"
        found = _changes_of_answer(shown.answer, came, comparison, figures=shown.figures)
        name = shown.operation
    elif isinstance(shown, PublishedExample):
        found = comparison.differences(shown.answer, came, figures=shown.figures, place="answer")
        name = shown.type
    else:
        envelope = came.envelope.model_dump(mode="json")
        found = comparison.differences(shown.envelope, envelope, figures=shown.figures, place="envelope")
        name = shown.type
    for difference in found:
        yield f"example {shown.n}, {name}: {difference}"


def _changes_of_answer(shown: Answer, came: Answer, comparison: Comparison, *, figures: bool) -> Iterator[str]:
    if shown.status != came.status:
        yield f"status {shown.status} is shown, {came.status} came"
    yield from comparison.differences(_retried(shown.headers), _retried(came.headers), place="headers")
    if (shown.text is None) != (came.text is None):
        yield f"{'JSON' if shown.text is None else 'text'} is shown, and something else came"
    elif shown.text is None or came.text is None:
        yield from comparison.differences(shown.body, came.body, figures=figures)
    elif not figures:
        yield from comparison.differences(_lines(shown.text), _lines(came.text), place="lines")


def _retried(headers: dict[str, str]) -> dict[str, str]:
    """How many seconds are left is another number each time."""
    return {name: text if name != "retry-after" else "some" for name, text in headers.items()}


def _lines(text: str) -> list[Any]:
    """Of a stream of events the data as what it says."""
    return [json.loads(line[6:]) if line.startswith(_DATA) else line for line in text.splitlines()]
