"""The agent policy: what each agent type may do. Granted, not claimed, and nothing by default.

A TOML file (AGENT_POLICY) has a table for each agent type, and may have one for all that have none of their own::

    [agents.invoice_agent]
    capabilities = ["read_invoice", "check_*"]   # names, or patterns with *, ? and [...]
    start_workflows = true                       # default false
    message = ["data_agent", "clerk-7"]          # agent types or agent ids, or "*"; default none

    [agents."*"]
    capabilities = []

Every service reads it once, at its start.
"""

import tomllib
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints, ValidationError

from services.runtime.security.principal import ANY_TYPE
from services.runtime.settings import BadSettings

_NAME = r"[A-Za-z_][A-Za-z0-9_-]{0,63}"
_PART = r"(?:[A-Za-z0-9_*?-]|\[!?[A-Za-z0-9_-]+\])"

AgentName = Annotated[str, StringConstraints(strict=True, pattern=rf"^(?:{_NAME}|\*)$")]
CapabilityPattern = Annotated[str, StringConstraints(strict=True, pattern=rf"^{_PART}{{1,64}}$")]

_ALLOWED = {
    "agents": 'an agent type (letters, digits, _ and -; first no digit) or "*"',
    "capabilities": "a list of capabilities' names, or patterns of letters, digits, _, -, *, ? and [...]",
    "start_workflows": "true or false",
    "message": 'a list of agent types and agent ids, or ["*"] for all',
}


class BadPolicy(BadSettings):
    """The policy cannot be read, or says what it must not; the message says where, and what is allowed."""


class Grants(BaseModel):
    """What an agent type may do: ``capabilities`` it may announce, whether it may start workflows, and the agent types
    or ids that it may send messages to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    capabilities: tuple[CapabilityPattern, ...] = ()
    start_workflows: StrictBool = False
    message: tuple[AgentName, ...] = ()

    @property
    def anything(self) -> bool:
        return bool(self.capabilities or self.start_workflows or self.message)

    def capability(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.capabilities)


NOTHING = Grants()


class AgentPolicy(BaseModel):
    """Grants by agent type; ``*`` stands for types without an entry of their own. ``source`` says where it is from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agents: Mapping[AgentName, Grants] = Field(default_factory=dict)
    source: str = "the policy"

    def grants_of(self, agent_type: str) -> Grants:
        return self.agents.get(agent_type, self.agents.get(ANY_TYPE, NOTHING))

    def admits(self, agent_type: str) -> bool:
        """Whether there may be such a type at all: it has an entry of its own, or the one for all others grants
        anything."""
        return agent_type in self.agents or self.grants_of(agent_type).anything

    def why_not(self, agent_type: str, capability: str) -> str:
        """Why a type has not this capability, and what would grant it; nothing if it is granted."""
        if self.grants_of(agent_type).capability(capability):
            return ""
        return (
            f"capability {capability!r} of agent type {agent_type!r} is not granted by {self.source}; to allow it, have"
            f' [agents.{agent_type}] say capabilities = [..., "{capability}"] in the file of AGENT_POLICY'
        )

    def left_out(self, agent_type: str) -> str:
        """In words, that a type is not admitted at all, and what would admit it."""
        return (
            f"agent type {agent_type!r} is left out: {self.source} grants it nothing; to allow it, add a table"
            f" [agents.{agent_type}] with its capabilities = [...] to the file of AGENT_POLICY"
        )

    def rights_of(self, agent_types: Iterable[str]) -> tuple[bool, frozenset[str]]:
        """Whether a host of these types may start workflows, and whom it may message: what any of its types may.

        One that may answer for every type (``*``) has by that what ``[agents."*"]`` grants and no more: the types that
        have entries of their own are to be named beside it.
        """
        grants = [self.grants_of(agent_type) for agent_type in agent_types]
        return any(one.start_workflows for one in grants), frozenset(name for one in grants for name in one.message)


def may_message(granted: Collection[str], agent_id: str, agent_type: str) -> bool:
    """Whether ``granted`` (agent types and ids, ``*``: all) has an agent."""
    return agent_id in granted or agent_type in granted or ANY_TYPE in granted


BUILT_IN = AgentPolicy(
    source="the built-in policy (AGENT_POLICY is not set)",
    agents={
        "data_agent": Grants(capabilities=("process_data", "query", "validate_data", "profile")),
        "decision_agent": Grants(capabilities=("make_decision",)),
        # It asks whichever agents a workflow has it ask, and delegates to other workflows.
        "coordinator_agent": Grants(
            capabilities=("aggregate", "vote", "contract_net", "consensus", "delegate"),
            start_workflows=True,
            message=(ANY_TYPE,),
        ),
    },
)
"""Conclave's own agent types have what they need; every other type has nothing."""


def open_policy(path: Path | None) -> AgentPolicy:
    """The policy of AGENT_POLICY, or the built-in one where it is not set.

    Raises:
        BadPolicy: the file is missing, is no TOML, or has a field or a value that is not allowed.
    """
    return BUILT_IN if path is None else read_policy(path)


def read_policy(path: Path) -> AgentPolicy:
    """
    Raises:
        BadPolicy: as ``open_policy``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadPolicy(f"AGENT_POLICY={path}: cannot be read: {why}") from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadPolicy(f"AGENT_POLICY={path}: is no TOML: {error}") from error
    return _policy_of(content, path)


def _policy_of(content: Mapping[str, Any], path: Path) -> AgentPolicy:
    unknown = sorted(content.keys() - {"agents"})
    if unknown:
        raise BadPolicy(f"AGENT_POLICY={path}: {unknown[0]}: not known; allowed are tables [agents.TYPE]")
    try:
        return AgentPolicy(agents=content.get("agents", {}), source=f"AGENT_POLICY={path}")
    except ValidationError as error:
        faults = "; ".join(_in_words(fault["loc"], fault["type"], fault["input"]) for fault in error.errors()[:20])
        raise BadPolicy(f"AGENT_POLICY={path}: {faults}") from error


def _in_words(loc: tuple[int | str, ...], kind: str, given: Any) -> str:
    names = [part for part in loc if part != "[key]"]
    where = ".".join(map(str, names))
    if loc[-1] == "[key]":
        return f"{where}: expected {_ALLOWED['agents']}"
    if kind == "extra_forbidden":
        return f"{where}: not known; allowed are {', '.join(Grants.model_fields)}"
    expected = next((_ALLOWED[str(name)] for name in reversed(names[2:]) if name in _ALLOWED), "a table of grants")
    return f"{where}: {given!r} is not allowed; expected {expected}"
