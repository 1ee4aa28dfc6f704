"""Pages about messages: each with its address, who sends it, who takes it, what it holds, and its example."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts import topology
from contracts.catalog import MESSAGES
from contracts.envelope import Message
from contracts.topology import Exchange
from scripts.api_pages.curl import json_text
from scripts.api_pages.examples import Example, PublishedExample, RouteExample, WatchedExample
from scripts.api_pages.routes import MissingExample, listed
from scripts.api_pages.schemas import Json, Link, fields, named_in, sentence
from services.runtime.asyncapi import REPLIES
from services.runtime.bus.topic_routing import topic_matches
from services.runtime.process import Runnable
from services.runtime.security.senders import AGENT, SENDERS, anything
from services.runtime.service import Route

# Page -> how the types of its messages begin, and what it is about.
PAGES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "messages_executions": (("execution", "command", "workflow"), "Messages: executions and workflows"),
    "messages_steps": (("step",), "Messages: steps"),
    "messages_agents": (("agent", "host"), "Messages: agents and their hosts"),
    "messages_operations": (
        ("dead_letter", "api_key", "audit", "process", "monitoring"),
        "Messages: dead letters, keys, audit and monitoring",
    ),
}


@dataclass(frozen=True, slots=True)
class Taker:
    """Who takes a message, and from which queue."""

    service: str
    queue: str


def page_of(kind: str) -> str:
    """
    Raises:
        ValueError: no page is for messages of this kind.
    """
    for page, (beginnings, _) in PAGES.items():
        if kind.partition(".")[0] in beginnings:
            return page
    raise ValueError(f"no page is for {kind}: add how it begins to PAGES in scripts/api_pages/messages.py")


def anchor(kind: str) -> str:
    return kind.replace(".", "")


def check_examples(examples: Iterable[Example]) -> None:
    """
    Raises:
        MissingExample: naming every message without one.
    """
    missing = sorted(MESSAGES.keys() - shown_types(examples))
    if missing:
        raise MissingExample(
            f"no example of {', '.join(missing)}: add a Publish or a Watch to"
            " scripts/api_pages/messages_story.py, then run `python scripts/api_documentation.py`"
        )


def shown_types(examples: Iterable[Example]) -> set[str]:
    """The types of all messages that some example shows."""
    found: set[str] = set()
    for example in examples:
        if not isinstance(example, RouteExample):
            found.add(example.type)
        if isinstance(example, PublishedExample) and example.answer is not None:
            found.add(example.answer_type)
    return found


def takers_of(services: Iterable[Runnable]) -> dict[str, list[Taker]]:
    """Message type -> who takes it, as the services' own tables say."""
    found: dict[str, list[Taker]] = {}
    for service in services:
        for route in _routes(service):
            for message_class in route.accepts:
                agents = service.name.endswith("_agent")
                queue = _of_any_agent(route.queue.family, service.name) if agents else route.queue.family
                taker = Taker(AGENT if agents else service.name, queue)
                if taker not in found.setdefault(message_class.TYPE, []):
                    found[message_class.TYPE].append(taker)
    return found


def _routes(service: Any) -> Sequence[Route]:
    """Of the edge, those of the service inside."""
    routes: Sequence[Route] = service.routes if hasattr(service, "routes") else service.app.state.service.routes
    return routes


def _of_any_agent(queue: str, service: str) -> str:
    name, dot, rest = queue.partition(".")
    return queue if name in ("host", "events") else f"TYPE{dot}{rest}"


def message_page(
    title: str,
    kinds: Sequence[str],
    asyncapi: Json,
    takers: Mapping[str, list[Taker]],
    link: Link,
    examples: Sequence[Example],
) -> str:
    lines = [f"# {title}", "", "[All routes and messages](../api_documentation.md). Generated; do not edit.", ""]
    lines += [f"- [`{kind}`](#{anchor(kind)}): {_first_sentence(MESSAGES[kind])}" for kind in kinds]
    for kind in kinds:
        lines += ["", *message_section(kind, asyncapi, takers.get(kind, []), link, examples)]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


def message_section(
    kind: str, asyncapi: Json, takers: Sequence[Taker], link: Link, examples: Sequence[Example]
) -> list[str]:
    message_class = MESSAGES[kind]
    schema = asyncapi["components"]["schemas"][message_class.__name__]
    said = sentence(schema.get("description", ""))
    lines = [f"## {kind}", "", *([said, ""] if said else [])]
    lines += ["| | |", "|---|---|", *_facts(message_class, kind, asyncapi, takers), "", *fields(schema, link), ""]
    for example in examples:
        lines += example_lines(example, kind)
    return lines


def _facts(message_class: type[Message], kind: str, asyncapi: Json, takers: Sequence[Taker]) -> list[str]:
    channels = [one for one in asyncapi["channels"].values() if one.get("address") and kind in one["messages"]]
    rows = []
    for channel in channels:
        exchange = channel["bindings"]["amqp"]["exchange"]["name"]
        rows.append(f"| published to | exchange `{exchange}`, key `{channel['address']}` |")
    if not channels or _is_answer(message_class):
        rows.append(f"| sent as an answer | exchange `{Exchange.REPLIES.value}`, key: the question's `reply_to` |")
    rows.append(f"| may be sent by | {_senders(message_class)} |")
    rows.append(f"| taken by | {_taken_by(message_class, kind, channels, takers)} |")
    if answers := REPLIES.get(message_class):
        rows.append(f"| answered by | {listed([_linked(answer.TYPE) for answer in answers], 'or')} |")
    questions = [question.TYPE for question, answers in REPLIES.items() if message_class in answers]
    if questions:
        rows.append(f"| answers | {listed([_linked(one) for one in questions])} |")
    return rows


def _is_answer(message_class: type[Message]) -> bool:
    return any(message_class in answers for answers in REPLIES.values())


def _senders(message_class: type[Message]) -> str:
    """A condition is called as its check is."""
    said = []
    for sender, check in SENDERS[message_class].items():
        condition = "" if check is anything else f" ({check.__name__.strip('_').replace('_', ' ')})"
        said.append(f"{sender}{condition}")
    return listed(said)


def _taken_by(message_class: type[Message], kind: str, channels: Sequence[Json], takers: Sequence[Taker]) -> str:
    by_service: dict[str, list[str]] = {}
    for taker in takers:
        by_service.setdefault(taker.service, []).append(f"`{taker.queue}`")
    said = [f"{service} (queue {listed(list(dict.fromkeys(queues)))})" for service, queues in by_service.items()]
    if any(channel["bindings"]["amqp"]["exchange"]["name"] == Exchange.EVENTS for channel in channels):
        said.append("whoever binds a queue to that key")
    if not channels or _is_answer(message_class):
        said.append("whoever asked")
    if _is_copied(channels):
        said.append("the auditor (a copy)")
    return listed(said) if said else "nobody"


def _is_copied(channels: Sequence[Json]) -> bool:
    bindings = topology.auditor_queue().bindings
    addresses = [(one["bindings"]["amqp"]["exchange"]["name"], one["address"]) for one in channels]
    return any(
        binding.exchange == exchange and topic_matches(binding.key, key)
        for exchange, key in addresses
        for binding in bindings
    )


def _linked(kind: str) -> str:
    return f"[`{kind}`]({page_of(kind)}.md#{anchor(kind)})"


def _first_sentence(message_class: type[Message]) -> str:
    said = sentence(message_class.__doc__ or "") if "__doc__" in vars(message_class) else ""
    return said.partition(". ")[0].rstrip(".") + "." if said else message_class.__name__ + "."


# ---- examples


def example_lines(example: Example, kind: str) -> list[str]:
    """What an example says of messages of this type: all of it where it is about them, a link where it answers."""
    if isinstance(example, RouteExample):
        return []
    if isinstance(example, PublishedExample):
        if example.type == kind:
            return _published(example)
        if example.answer_type == kind:
            return [f"**Example {example.n}** of {_linked(example.type)} shows it as the answer.", ""]
        return []
    return _watched(example) if example.type == kind else []


def _published(example: PublishedExample) -> list[str]:
    asks = ", with a queue of one's own as `reply_to`" if example.asks else ", without `reply_to`"
    where = f"Published to `{example.exchange}` with the key `{example.routing_key}`{asks}:"
    lines = [f"**Example {example.n}.** {example.about} {where}", "", *_json_block(example.envelope), ""]
    if example.answer is not None:
        lines += [f"The answer, {_linked(example.answer_type)}:", "", *_json_block(example.answer), ""]
    return lines


def _watched(example: WatchedExample) -> list[str]:
    where = f"Seen on `{example.exchange}` with the key `{example.routing_key}`:"
    return [f"**Example {example.n}.** {example.about} {where}", "", *_json_block(example.envelope), ""]


def _json_block(value: Any) -> list[str]:
    return ["```json", *json_text(value).split("\n"), "```"]


def schemas_of(asyncapi: Json) -> dict[str, Json]:
    """What messages refer to, beside the messages themselves, by name."""
    known = asyncapi["components"]["schemas"]
    own = {message_class.__name__ for message_class in MESSAGES.values()}
    used: set[str] = set()
    for name in own:
        named_in(known.get(name, {}), known, used)
    return {name: known[name] for name in sorted(used - own)}
