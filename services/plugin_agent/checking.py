"""Whether an agent class of a plugin can be hosted: its name, its capabilities and their schemas."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import ValidationError

from contracts import topology
from contracts.agents import AgentDescriptor
from contracts.workflow import ID_PATTERN
from services.plugin_agent.sources import BadPlugin, Plugin
from services.runtime.agent import BaseAgent
from services.runtime.hosting.folder_packages import is_importable

_NAME = re.compile(ID_PATTERN)
_PLACES_OF_THE_API = ("types", "broadcast")
_NAMES_ALLOWED = "letters, digits, '_' and '-', at most 64, beginning with a letter or '_'"


def built_in_names() -> frozenset[str]:
    """The services beside this one: queues are named after them, and most are agent types."""
    return frozenset(app.parent.name for app in Path(__file__).parent.parent.glob("*/app.py"))


def reserved_words() -> frozenset[str]:
    """Words that mean something else where an agent type's name stands, which is also its default agent's id: in
    routing keys, among the names of queues, and below ``/agents`` in the API."""
    keys = (topology.agent_mail("x").key, topology.agent_quarantine("x", "x").key)
    queues = (topology.registry_queue(), topology.dead_letters(), topology.orchestrator_commands())
    first_words = {name.partition(".")[0] for name in (*keys, *(queue.name for queue in queues))}
    return frozenset({topology.ANY_AGENT, *_PLACES_OF_THE_API, *first_words})


def check_agent_class(agent_class: type[BaseAgent], taken: Mapping[str, Plugin]) -> AgentDescriptor:
    """What the class offers. ``taken`` are the types that there are already, each with its plugin.

    Raises:
        BadPlugin: it cannot be hosted; the message says what is wrong and what is allowed.
        Exception: whatever the class itself raises when it is asked, CapabilityDeclarationError among it.
    """
    agent_type = _checked_type(agent_class, taken)
    _check_importable(agent_class)
    descriptor = _default_agent(agent_class, agent_type).describe()
    if not descriptor.capabilities and not descriptor.message_types:
        raise BadPlugin("it can do nothing: mark at least one method with @capability or @on_message")
    for capability in descriptor.capabilities:
        if not _NAME.fullmatch(capability.name):
            raise BadPlugin(f"capability {capability.name!r} is no name: {_NAMES_ALLOWED}")
        _check_schema(f"the input schema of {capability.name!r}", capability.input_schema)
        _check_schema(f"the output schema of {capability.name!r}", capability.output_schema)
    if descriptor.config_schema is not None:
        _check_schema("the configuration's schema", descriptor.config_schema)
    return descriptor


def _default_agent(agent_class: type[BaseAgent], agent_type: str) -> BaseAgent:
    try:
        return agent_class(agent_type)
    except ValidationError as error:
        raise BadPlugin(
            f"it cannot be made without a configuration, as its type's default agent is: give every field of"
            f" config_model a default. {error}"
        ) from error


def _checked_type(agent_class: type[BaseAgent], taken: Mapping[str, Plugin]) -> str:
    agent_type = getattr(agent_class, "agent_type", None)
    if not isinstance(agent_type, str):
        raise BadPlugin(
            "it has no agent_type: give the class one, agent_type = \"my_agent\", or a name that begins with '_' if it"
            " is only a base of others"
        )
    if not _NAME.fullmatch(agent_type):
        raise BadPlugin(f"agent_type {agent_type!r} is no name: {_NAMES_ALLOWED}")
    if agent_type in reserved_words():
        raise BadPlugin(f"agent_type {agent_type!r} is a reserved word: {', '.join(sorted(reserved_words()))}")
    if agent_type in built_in_names():
        raise BadPlugin(f"agent_type {agent_type!r} is the name of a service of Conclave; choose another")
    if agent_type in taken:
        raise BadPlugin(f"agent_type {agent_type!r} is taken by {_owner(taken[agent_type])}")
    return agent_type


def _owner(plugin: Plugin) -> str:
    if not plugin.package:
        return f"another plugin, which was loaded before: {plugin.source}; rename one"
    return (
        f"an installed package, which was loaded before: {plugin.source}. If this is the same plugin, uninstall that"
        f" one (python -m pip uninstall {plugin.package}), or leave this one out and install it with pip install -e,"
        " which sees your changes; if they are two, rename one"
    )


def _check_importable(agent_class: type[BaseAgent]) -> None:
    """A command that may have killed its host is run again in a process of its own, which imports the class."""
    if not is_importable(agent_class):
        where = f"{agent_class.__module__} has no {agent_class.__qualname__}"
        raise BadPlugin(f"{where}: an agent class stands at the top of its module")


def _check_schema(what: str, schema: dict[str, Any]) -> None:
    try:
        json.dumps(schema, allow_nan=False)
        Draft202012Validator.check_schema(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadPlugin(f"{what} is no JSON: {error}") from error
    except SchemaError as error:
        raise BadPlugin(f"{what} is no JSON Schema: {error.message} (at {error.json_path})") from error
