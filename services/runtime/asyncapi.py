"""The AsyncAPI 3 document of the whole system, made from the catalog and the topology, and its page.

FastStream's own generator describes one application's subscribers: one message a queue, one key a queue, and names
that AsyncAPI does not allow for envelopes. ``faststream docs gen services.NAME.app:app --factory`` still shows that
view of one service. Here each address is a channel, with every message that travels on it; FastStream's document
model checks the result, and its page shows it.
"""

import argparse
import json
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from faststream.specification.asyncapi import get_asyncapi_html
from faststream.specification.asyncapi.site import ASYNCAPI_CSS_DEFAULT_URL, ASYNCAPI_JS_DEFAULT_URL
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema

from contracts import topology
from contracts.access import ApiKeyStored, CreateApiKey, RevokeApiKey, RotateApiKey
from contracts.catalog import MESSAGES
from contracts.dead_letters import DeadLetterSettled, DiscardDeadLetter, ReplayDeadLetter
from contracts.envelope import Message
from contracts.execution import (
    CancelAccepted,
    CancelExecution,
    DescribeExecution,
    ExecutionAccepted,
    ExecutionDescribed,
    Refused,
    StartExecution,
)
from contracts.json_schema import message_schema
from contracts.monitoring import DescribeMonitoring
from contracts.monitoring_views import MonitoringDescribed
from contracts.registry import (
    AgentCreated,
    AgentDeleted,
    AgentMail,
    AgentReply,
    AgentsFound,
    BroadcastMail,
    BroadcastSent,
    CreateAgent,
    DeleteAgent,
    FindAgents,
)
from contracts.topology import Address, Exchange, Queue
from contracts.workflow import CreateWorkflow, DeleteWorkflow, WorkflowCreated, WorkflowDeleted

Json = dict[str, Any]
DEFAULT_URL: Final = "amqp://localhost:5672/"

REPLIES: Final[dict[type[Message], tuple[type[Message], ...]]] = {
    CreateApiKey: (ApiKeyStored, Refused),
    RotateApiKey: (ApiKeyStored, Refused),
    RevokeApiKey: (ApiKeyStored, Refused),
    StartExecution: (ExecutionAccepted, Refused),
    CancelExecution: (CancelAccepted, Refused),
    CreateWorkflow: (WorkflowCreated, Refused),
    DeleteWorkflow: (WorkflowDeleted, Refused),
    DescribeExecution: (ExecutionDescribed, Refused),
    CreateAgent: (AgentCreated, Refused),
    DeleteAgent: (AgentDeleted, Refused),
    FindAgents: (AgentsFound,),
    BroadcastMail: (BroadcastSent,),
    AgentMail: (AgentReply,),
    ReplayDeadLetter: (DeadLetterSettled, Refused),
    DiscardDeadLetter: (DeadLetterSettled, Refused),
    DescribeMonitoring: (MonitoringDescribed,),
}
_ACTIONS: Final[dict[Exchange, tuple[str, ...]]] = {
    Exchange.COMMANDS: ("receive",),
    Exchange.AGENTS: ("send", "receive"),
    Exchange.RESULTS: ("send", "receive"),
    Exchange.EVENTS: ("send",),
}
_PARAMETERS: Final = {
    "agent_type": "Type of the agents that take the work, for example data_agent.",
    "agent_id": f"Id of one named agent; for work also {topology.ANY_AGENT!r}: whichever agent of the type is free.",
    "action": "The capability to run.",
    "host_id": "Id of one agent host.",
    "reply_key": "The key that the commands carried; it chooses the orchestrator's shard.",
}
_BINDING_VERSION: Final = "0.3.0"
_REPLY_CHANNEL: Final = "reply"
_RENDER: Final = "window.AsyncApiStandalone.render("


def asyncapi_document(rabbitmq_url: str = DEFAULT_URL, version: str = "1") -> Json:
    """The document as JSON; of the URL only host, port and virtual host are shown, no credentials."""
    channels = {_channel_id(address): _channel(address, kinds) for address, kinds in _addresses().items()}
    channels[_REPLY_CHANNEL] = _reply_channel()
    schemas: Json = {}
    document = {
        "asyncapi": "3.0.0",
        "info": {"title": "Conclave", "version": version, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {"rabbitmq": _server(rabbitmq_url)},
        "channels": channels,
        "operations": dict(_operations()),
        "components": {
            "messages": {kind: _message(MESSAGES[kind], schemas) for kind in sorted(MESSAGES)},
            "schemas": schemas,
        },
        "x-queues": [_queue(queue) for queue in _queues()],
    }
    ApplicationSchema.model_validate(document)
    return document


def asyncapi_html(
    rabbitmq_url: str = DEFAULT_URL,
    *,
    json_url: str = "asyncapi.json",
    script_url: str = ASYNCAPI_JS_DEFAULT_URL,
    style_url: str = ASYNCAPI_CSS_DEFAULT_URL,
) -> str:
    """FastStream's page for the document. Its viewer comes from a public CDN unless the two URLs say otherwise (both
    files are in the npm package @asyncapi/react-component); where it cannot be loaded, the page links to the document.
    """
    schema = ApplicationSchema.model_validate(asyncapi_document(rabbitmq_url))
    page = get_asyncapi_html(
        schema,
        asyncapi_js_url=script_url,
        asyncapi_css_url=style_url,
        try_it_out_path=None,
        expand_message_examples=False,
    )
    page = re.sub(r'\s*<link rel="icon"[^>]*>', "", page).replace("<head>", '<head>\n        <meta charset="utf-8">', 1)
    page = _with_safe_script(page)
    fallback = f'The viewer of this page could not be loaded. The document itself: <a href="{json_url}">{json_url}</a>.'
    return page.replace('<div id="asyncapi"></div>', f'<div id="asyncapi"><p>{fallback}</p></div>')


def _with_safe_script(page: str) -> str:
    """FastStream puts the document into a script as it is, where a text in it could end the script."""
    before, opening, rest = page.partition(_RENDER)
    document, closing, after = rest.rpartition("</script>")
    return "".join((before, opening, document.replace("<", "\\u003c"), closing, after))


def main(arguments: Sequence[str]) -> int:
    """``python -m services asyncapi [-o FILE] [--html]``"""
    parser = argparse.ArgumentParser(prog="python -m services asyncapi", description="Write the AsyncAPI 3 document.")
    parser.add_argument("-o", "--output", type=Path, help="file to write to; standard output if not given")
    parser.add_argument("--html", action="store_true", help="write the page instead of the document")
    options = parser.parse_args(arguments)
    text = asyncapi_html() if options.html else json.dumps(asyncapi_document(), indent=2, ensure_ascii=False) + "\n"
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text, encoding="utf-8")
    return 0


# ---- channels


def _addresses() -> dict[Address, list[str]]:
    """Address, with ``{field}`` where it depends on the message -> the types of the messages that travel on it."""
    found: dict[Address, list[str]] = {}
    for kind, message_class in MESSAGES.items():
        for address in _addresses_of(message_class):
            found.setdefault(address, []).append(kind)
    return found


def _addresses_of(message_class: type[Message]) -> list[Address]:
    """Asked of the class itself, with its own fields' names as their values. A reply has none."""
    placeholders: dict[str, Any] = {name: f"{{{name}}}" for name in message_class.model_fields}
    flags = {"quarantine": False} if "quarantine" in placeholders else {}
    try:
        addresses = [message_class.model_construct(**{**placeholders, **flags}).address()]
        if flags:
            addresses.append(message_class.model_construct(**{**placeholders, "quarantine": True}).address())
    except NotImplementedError:
        return []
    return addresses


def _channel_id(address: Address) -> str:
    return f"{address.exchange.value}.{address.key}".translate(str.maketrans("", "", "{}"))


def _channel(address: Address, kinds: Iterable[str]) -> Json:
    names = [name for _, name, _, _ in string.Formatter().parse(address.key) if name]
    return {
        "address": address.key,
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"} for kind in kinds},
        **(
            {"parameters": {name: {"description": _PARAMETERS.get(name, f"The message's {name}.")} for name in names}}
            if names
            else {}
        ),
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": address.exchange.value, "type": "topic", "durable": True, "autoDelete": False},
                "bindingVersion": _BINDING_VERSION,
            }
        },
    }


def _reply_channel() -> Json:
    answers = sorted({answer.TYPE for answers in REPLIES.values() for answer in answers})
    return {
        "address": None,
        "description": "The queue named by the command's reply_to property, through the exchange"
        f" {Exchange.REPLIES.value}: whoever asks binds its queue there by the queue's own name.",
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"} for kind in answers},
    }


# ---- operations


def _operations() -> Iterator[tuple[str, Json]]:
    """What the system receives and sends; what its services send each other is both."""
    for address, kinds in _addresses().items():
        channel = _channel_id(address)
        for kind in kinds:
            for action in _ACTIONS[address.exchange]:
                operation = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{channel}"},
                    "messages": [{"$ref": f"#/channels/{channel}/messages/{kind}"}],
                }
                if action == "receive" and MESSAGES[kind] in REPLIES:
                    operation["reply"] = _reply(REPLIES[MESSAGES[kind]])
                name = kind if len(_addresses_of(MESSAGES[kind])) == 1 else f"{kind}.{address.key.partition('.')[0]}"
                yield f"{action}.{name}".translate(str.maketrans("", "", "{}")), operation


def _reply(answers: Iterable[type[Message]]) -> Json:
    return {
        "address": {"location": "$message.header#/reply_to", "description": "AMQP property reply_to."},
        "channel": {"$ref": f"#/channels/{_REPLY_CHANNEL}"},
        "messages": [{"$ref": f"#/channels/{_REPLY_CHANNEL}/messages/{answer.TYPE}"} for answer in answers],
    }


# ---- messages


def _message(message_class: type[Message], schemas: Json) -> Json:
    """A message; the definitions in its schema go to ``schemas``, since references start at the document's root."""
    payload = _as_asyncapi(message_schema(message_class))
    payload.pop("$schema")
    for name, definition in payload.pop("$defs", {}).items():
        if schemas.setdefault(name, definition) != definition:
            raise ValueError(f"two different models are called {name!r}; one of them needs another name")
    description = payload.pop("description", None)
    return {
        "name": message_class.TYPE,
        "title": message_class.__name__,
        **({"description": description} if description else {}),
        "contentType": "application/json",
        "correlationId": {"location": "$message.payload#/correlation_id"},
        "payload": payload,
        "bindings": {"amqp": {"messageType": message_class.TYPE, "bindingVersion": _BINDING_VERSION}},
    }


def _as_asyncapi(schema: Any) -> Any:
    """The schema with references into the document, and without OpenAPI's discriminator objects: AsyncAPI's is a
    plain name, and the members' constants tell them apart already."""
    if isinstance(schema, list):
        return [_as_asyncapi(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _as_asyncapi(value)
        for key, value in schema.items()
        if not (key == "discriminator" and isinstance(value, dict) and "propertyName" in value)
    }


# ---- server and queues


def _server(url: str) -> Json:
    parts = urlsplit(url)
    host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    return {
        "host": host,
        "pathname": parts.path or "/",
        "protocol": parts.scheme,
        "protocolVersion": "0.9.1",
        "description": "RabbitMQ, 3.10 or later.",
    }


def _queues() -> tuple[Queue, ...]:
    """Every durable queue there can be, with placeholders in the names of those that agents have."""
    return (
        topology.orchestrator_commands(),
        topology.orchestrator_starts(),
        *topology.orchestrator_shards(),
        topology.orchestrator_crashed(),
        topology.agent_type_queue("{agent_type}"),
        topology.agent_queue("{agent_type}", "{agent_id}"),
        topology.agent_quarantine_queue("{agent_type}"),
        topology.registry_queue(),
        topology.dead_letters(),
        topology.unstorable_letters(),
        topology.dead_letter_commands(),
        topology.access_queue(),
        topology.auditor_queue(),
        topology.monitor_queue(),
    )


def _queue(queue: Queue) -> Json:
    return {
        "name": queue.name,
        "kind": queue.kind.value,
        "bindings": [{"exchange": address.exchange.value, "key": address.key} for address in queue.bindings],
        "delivery_limit": queue.delivery_limit,
        "dead_letter": {"exchange": queue.dead_letter.exchange.value, "key": queue.dead_letter.key},
    }


_DESCRIPTION: Final = """\
Decision workflows over a message broker. Every message is an envelope around a typed payload; its type, with its
version, also travels as the AMQP property `type`.

To use Conclave straight over the broker: publish `execution.start.v1` to its channel (with `reply_to`, if an answer is
wanted), and bind a queue of your own to the events exchange to follow what happens. What cannot be handled goes to
the dead-letter queue with its reason. `x-queues` lists the queues and what is bound to them.
"""
