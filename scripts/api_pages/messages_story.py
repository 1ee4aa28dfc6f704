"""What is published in the examples of messages, in that order, and which messages are to be seen on the broker when
that and the examples of routes have been done.

Each message type is in it: as one that is published, as the answer to one, or as one that is seen.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from contracts import topology
from contracts.access import CreateApiKey, RevokeApiKey, RotateApiKey
from contracts.audit import AccessRecorded
from contracts.catalog import MESSAGES
from contracts.dead_letters import DiscardDeadLetter, ReplayDeadLetter
from contracts.envelope import Message
from contracts.execution import (
    CancelExecution,
    DescribeExecution,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionsAdvanced,
    Refused,
    RunSteps,
    StartExecution,
    StepResults,
    StepsCancelled,
    StepsProgressed,
    WakeExecutions,
)
from contracts.hosts import AgentReleased, AgentTaken, HostAnnounced, HostAssignment, HostHeartbeat, HostStopped
from contracts.monitoring import DescribeMonitoring, ProcessReported
from contracts.registry import AgentMail, BroadcastMail, CreateAgent, DeleteAgent, FindAgents, SweepHosts
from contracts.topology import Address
from contracts.workflow import CreateWorkflow, DeleteWorkflow
from scripts.api_pages.cleaning import EPOCH
from scripts.api_pages.story import CHOICE, LATER, WITH_A_FAULT, Call


@dataclass(frozen=True, slots=True)
class Publish:
    """A message that is published; ``asks``: for an answer, which is told then. ``to``: an address other than the
    message's own. The rest is as in ``Call``."""

    message: type[Message]
    about: str
    payload: Mapping[str, Any]
    asks: bool = True
    to: Address | None = None
    keep: Mapping[str, str] = field(default_factory=dict)
    figures: bool = False
    depth: int = 99


@dataclass(frozen=True, slots=True)
class Watch:
    """The first message of a type that holds these texts."""

    message: type[Message]
    about: str
    having: tuple[str, ...] = ()
    figures: bool = False
    depth: int = 99


KEY: Final = "ck_publishedkey"
NEXT_KEY: Final = "ck_publishednxt"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


PUBLISHED: Final[tuple[Publish | Call, ...]] = (
    Publish(
        StartExecution,
        "Who waits for the answer publishes under this key, and is answered at once.",
        {"execution_id": "published-1", "definition": CHOICE, "inputs": {"budget": 1300}, "client": "documentation"},
        to=topology.start_now(),
    ),
    Publish(
        StartExecution,
        "Without `reply_to`: a start waits in its queue while there is no room for it. This one has faults, so"
        " `command.refused.v1` is published, and the message becomes a dead letter.",
        {"execution_id": "published-2", "definition": WITH_A_FAULT, "client": "documentation"},
        asks=False,
    ),
    Publish(
        StartExecution,
        "One that takes long, to be cancelled.",
        {"execution_id": "published-3", "definition": LATER, "client": "documentation"},
        to=topology.start_now(),
    ),
    Publish(
        CancelExecution,
        "It has ended when the answer comes.",
        {"execution_id": "published-3", "reason": "no longer needed"},
    ),
    Call(
        "getExecution",
        "What was started over the broker is seen here like everything else.",
        at={"execution_id": "published-1"},
        until=("status", "completed"),
        depth=2,
    ),
    Publish(DescribeExecution, "How it stands.", {"execution_id": "published-1"}, depth=5),
    Publish(CreateWorkflow, "Store a definition.", {"workflow_id": "published", "definition": CHOICE}),
    Publish(DeleteWorkflow, "And remove it.", {"workflow_id": "published"}),
    Publish(
        CreateAgent,
        "Answered once a host runs it.",
        {"agent_type": "unit_converter", "agent_id": "published_agent", "request_id": "published-agent"},
    ),
    Call(
        "getAgent",
        "What was created over the broker, too.",
        at={"agent_id": "published_agent"},
        until=("status", "idle"),
    ),
    Publish(FindAgents, "Which agents of a type there are.", {"filter": {"agent_ids": ["published_agent"]}}),
    Publish(
        AgentMail,
        "A message to one agent, and its answer.",
        {
            "agent_id": "published_agent",
            "message_type": "units",
            "body": {"dimension": "mass"},
            "sender_id": "documentation",
        },
    ),
    Publish(
        BroadcastMail,
        "The same to all that the filter matches.",
        {"message_type": "units", "body": {}, "sender_id": "documentation", "filter": {"agent_type": "unit_converter"}},
    ),
    Publish(DeleteAgent, "Answered once what it worked on has ended.", {"agent_id": "published_agent"}),
    Call(
        "listDeadLetters",
        "The start that was refused above.",
        query={"reason": "refused"},
        until=("items.0.reason", "refused"),
        keep={"refused_id": "items.0.dead_letter_id"},
    ),
    Publish(ReplayDeadLetter, "Published again; it is refused again, and is another letter.", {"id": "$refused_id"}),
    Call(
        "listDeadLetters",
        "The letter that came of the replay.",
        query={"reason": "refused"},
        until=("items.0.reason", "refused"),
        keep={"refused_again_id": "items.0.dead_letter_id"},
    ),
    Publish(DiscardDeadLetter, "Thrown away for good.", {"id": "$refused_again_id"}),
    Publish(
        CreateApiKey,
        "Only a hash of the key's secret travels; this one is of no key.",
        {
            "key": {
                "id": KEY,
                "name": "published",
                "role": "viewer",
                "secret_hash": _hash("first"),
                "created_at": EPOCH.timestamp(),
                "created_by": "documentation",
            }
        },
    ),
    Publish(
        RotateApiKey,
        "The old one is valid for another minute.",
        {"id": KEY, "new_id": NEXT_KEY, "new_secret_hash": _hash("second"), "overlap": 60},
    ),
    Publish(RevokeApiKey, "From now on it is refused.", {"id": NEXT_KEY}),
    Publish(DescribeMonitoring, "How everything does.", {"view": "health"}, figures=True),
)

# In the order of the catalog. What has the ids of the examples above is the same each time.
WATCHED: Final = (
    Watch(Refused, "Of the start that has faults, as an event.", ('"receiver":"command.refused"',)),
    Watch(RunSteps, "The first step of the execution above.", ('"published-1"', '"offers"')),
    Watch(StepResults, "Its result.", ('"published-1"', '"offers"')),
    Watch(StepsProgressed, "Of the step that delegates, among executions.", ("0 of 1 steps",), figures=True),
    Watch(StepsCancelled, "The same step, when its execution was cancelled."),
    Watch(WakeExecutions, "The failed step of an example is to be tried again."),
    Watch(ExecutionsAdvanced, "The first entry of an execution's log.", ('"published-1"', "execution_started")),
    Watch(ExecutionCompleted, "The end of the same.", ('"published-1"',)),
    Watch(ExecutionFailed, "The end of one that failed.", ("in_furlongs",)),
    Watch(ExecutionCancelled, "The end of one that was cancelled.", ('"published-3"',)),
    Watch(HostAnnounced, "A host of the converter's type.", ('"plugin_agent"',), depth=5),
    Watch(HostHeartbeat, "The same host, some time later.", ('"unit_converter"',), figures=True),
    Watch(HostStopped, "The same host, when it was told to end.", ("plugin_agent-",)),
    Watch(HostAssignment, "An agent was created.", ('"run":[{"agent_id":"published_agent"',)),
    Watch(AgentTaken, "A host's answer.", ('"published_agent"',)),
    Watch(AgentReleased, "The agent was deleted.", ('"published_agent"',)),
    Watch(SweepHosts, "The registry, to itself."),
    Watch(AccessRecorded, "Requests that the edge answered.", figures=True),
    Watch(ProcessReported, "The one process of these examples.", ('"unit_converter"',), figures=True, depth=5),
)


def not_shown(answers: set[str]) -> list[str]:
    """Types that are neither published, nor seen, nor among these ``answers``."""
    shown = {one.message.TYPE for one in (*PUBLISHED, *WATCHED) if not isinstance(one, Call)}
    return sorted(MESSAGES.keys() - shown - answers)
