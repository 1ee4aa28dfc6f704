"""What is asked in the examples of routes, in the order in which it is asked.

Each route of the API is in it. A ``Call`` names its operation; method and path come from the OpenAPI document.
``$name`` is what an earlier answer held, by the name that its call kept it under.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

VIEWER = "$viewer_key"
CURIOUS = "$curious_key"
NOBODY = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, and what is to be seen of its answer.

    ``keep``: name -> member of the answer. ``until``: the request is repeated until this member of its answer is that.
    ``figures``: the answer is about how the system does at the moment. ``depth``: see ``cleaning.cut``. ``lines``: of a
    text, how many are shown. ``key``: the API key, by default the administrator's.
    """

    operation: str
    about: str
    at: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    status: int = 200
    keep: Mapping[str, str] = field(default_factory=dict)
    until: tuple[str, str] | None = None
    figures: bool = False
    depth: int = 99
    lines: int = 0
    key: str = "$key"


CHOICE: Final = {
    "name": "choose_a_supplier",
    "steps": [
        {
            "id": "offers",
            "agent_type": "data_agent",
            "action": "query",
            "inputs": {
                "data_source": "test_data.csv",
                "sql": "SELECT name, price, quality FROM data WHERE price < $budget ORDER BY name",
                "parameters": {"budget": "inputs.budget"},
            },
        },
        {
            "id": "choice",
            "agent_type": "decision_agent",
            "action": "make_decision",
            "depends_on": ["offers"],
            "inputs": {
                "data": "offers.output",
                "alternatives": "name",
                "method": "weighted_sum",
                "criteria": [
                    {"name": "quality", "weight": 0.6},
                    {"name": "price", "direction": "cost", "weight": 0.4},
                ],
            },
        },
    ],
}

CHOICE_YAML: Final = """\
name: count_offers
steps:
  - id: offers
    agent_type: data_agent
    action: query
    inputs: {data_source: test_data.csv, sql: SELECT count(*) AS offers FROM data}
"""

WITH_A_FAULT: Final = {
    "name": "choose_a_supplier",
    "steps": [{"id": "choice", "agent_type": "decision_agent", "action": "decide", "depends_on": ["offers"]}],
}

# Its first attempt fails, since there is no such unit, and the next one is an hour away.
LATER: Final = {
    "name": "try_again_later",
    "steps": [
        {
            "id": "convert",
            "agent_type": "unit_converter",
            "action": "convert",
            "inputs": {"quantities": [{"value": 1, "unit": "furlong"}], "to": "m"},
            "retry": {"max_attempts": 2, "backoff": 3600, "max_backoff": 3600, "jitter": 0, "on": ["UnknownUnit"]},
        }
    ],
}

PARENT: Final = {
    "name": "wait_for_another",
    "steps": [
        {
            "id": "other",
            "agent_type": "coordinator_agent",
            "action": "delegate",
            "inputs": {"workflow_id": "later"},
            "timeout": 300,
        }
    ],
}

# Tried again after a tenth of a second, and given up.
FAILING: Final = {
    "name": "in_furlongs",
    "steps": [
        {
            "id": "convert",
            "agent_type": "unit_converter",
            "action": "convert",
            "inputs": {"quantities": [{"value": 1, "unit": "furlong"}], "to": "m"},
            "retry": {"max_attempts": 2, "backoff": 0.1, "on": ["UnknownUnit"]},
        }
    ],
}

FURLONGS: Final = {"action": "convert", "inputs": {"quantities": [{"value": 1, "unit": "furlong"}], "to": "m"}}

_IDEMPOTENT: Final = {"Idempotency-Key": "first-choice"}
_YAML: Final = {"Content-Type": "application/yaml"}

OPENING: Final = (
    Call("getHealth", "Is it up? This needs no key.", key=NOBODY, until=("status", "ok")),
    Call("getLiveness", "What a platform asks to know whether the process is to be restarted.", key=NOBODY),
    Call("getReadiness", "What a load balancer asks to know whether to send requests here.", key=NOBODY),
    Call(
        "createKey",
        "A key for a dashboard, which may look and nothing more.",
        body={"name": "dashboard", "role": "viewer", "rate_limit": 60},
        headers={"Idempotency-Key": "key-for-the-dashboard"},
        status=201,
        keep={"viewer_key": "key", "viewer_id": "key_id"},
    ),
    Call(
        "createKey",
        "Repeated with its Idempotency-Key, the request makes no second key, and the first one is not shown again.",
        body={"name": "dashboard", "role": "viewer", "rate_limit": 60},
        headers={"Idempotency-Key": "key-for-the-dashboard"},
        status=409,
    ),
    Call("listKeys", "All keys, without their secrets."),
    Call("getKey", "One of them.", at={"key_id": "$viewer_id"}),
)

WORKFLOWS: Final = (
    Call(
        "createWorkflow",
        "Two steps: offers within a budget are read from a file, and one is chosen.",
        query={"workflow_id": "suppliers"},
        body=CHOICE,
        status=201,
    ),
    Call(
        "createWorkflow",
        "A definition in YAML.",
        query={"workflow_id": "counting"},
        headers=_YAML,
        body=CHOICE_YAML,
        status=201,
    ),
    Call("createWorkflow", "Every fault is told, with its place.", body=WITH_A_FAULT, status=422),
    Call(
        "createWorkflow",
        "What is no JSON is told apart from what is no definition.",
        headers={"Content-Type": "application/json"},
        body='{"name": "choose_a_supplier",}',
        status=400,
    ),
    Call(
        "createWorkflow",
        "An id that another definition has.",
        query={"workflow_id": "suppliers"},
        headers=_YAML,
        body=CHOICE_YAML,
        status=409,
    ),
    Call(
        "createWorkflow",
        "A content type that is not read here.",
        headers={"Content-Type": "text/plain"},
        body="name: count_offers",
        status=415,
    ),
    Call(
        "createWorkflow",
        "The key of the dashboard may not do this.",
        query={"workflow_id": "counting"},
        headers=_YAML,
        body=CHOICE_YAML,
        key=VIEWER,
        status=403,
    ),
    Call("listWorkflows", "The latest first; the key of the dashboard may look.", query={"limit": 1}, key=VIEWER),
    Call("listWorkflows", "Without a key nothing is shown.", key=NOBODY, status=401),
    Call(
        "createKey",
        "A key with which little may be asked.",
        body={"name": "curious", "role": "viewer", "rate_limit": 1},
        headers={"Idempotency-Key": "key-for-the-curious"},
        status=201,
        keep={"curious_key": "key"},
    ),
    Call("listWorkflows", "Once a minute is allowed to it.", query={"name": "nothing"}, key=CURIOUS),
    Call("listWorkflows", "The second time is too much.", query={"name": "nothing"}, key=CURIOUS, status=429),
    Call("getWorkflow", "With its definition.", at={"workflow_id": "suppliers"}),
    Call("getWorkflow", "One that there is not.", at={"workflow_id": "customers"}, status=404),
)

EXECUTIONS: Final = (
    Call(
        "executeWorkflow",
        "The answer comes once the start is stored.",
        at={"workflow_id": "suppliers"},
        headers=_IDEMPOTENT,
        body={"inputs": {"budget": 1300}},
        status=202,
        keep={"execution_id": "execution_id"},
    ),
    Call(
        "executeWorkflow",
        "The same again, as after an answer that got lost: it is the same execution, and the answer says so.",
        at={"workflow_id": "suppliers"},
        headers=_IDEMPOTENT,
        body={"inputs": {"budget": 1300}},
        status=202,
    ),
    Call(
        "executeWorkflow",
        "The key with another body.",
        at={"workflow_id": "suppliers"},
        headers=_IDEMPOTENT,
        body={"inputs": {"budget": 5000}},
        status=422,
    ),
    Call(
        "getExecution",
        "How it went, step by step.",
        at={"execution_id": "$execution_id"},
        until=("status", "completed"),
        depth=5,
    ),
    Call("getStepOutput", "What one step gave.", at={"execution_id": "$execution_id", "step_id": "offers"}),
    Call("getHistory", "Its log.", at={"execution_id": "$execution_id"}, query={"limit": 2}, depth=6),
    Call(
        "followExecution",
        "All that happened, then what happens. This execution has ended, so the stream ends too.",
        at={"execution_id": "$execution_id"},
        lines=16,
    ),
    Call("getTimeline", "Where the time went.", at={"execution_id": "$execution_id"}, depth=4),
    Call(
        "getTimeline",
        "The same to be read in a terminal.",
        at={"execution_id": "$execution_id"},
        query={"format": "text"},
        figures=True,
    ),
    Call(
        "executeDefinition",
        "A definition that is not stored. Its only step fails, is tried again, and fails for good.",
        headers={"Idempotency-Key": "in-furlongs"},
        body={"definition": FAILING},
        status=202,
        keep={"failed_id": "execution_id"},
    ),
    Call(
        "getExecution",
        "Why it failed.",
        at={"execution_id": "$failed_id"},
        until=("status", "failed"),
        depth=5,
    ),
    Call(
        "createWorkflow",
        "A workflow whose first attempt fails, and whose next one is an hour away.",
        query={"workflow_id": "later"},
        body=LATER,
        status=201,
    ),
    Call(
        "executeDefinition",
        "An execution that delegates to it, and so takes long.",
        headers={"Idempotency-Key": "takes-long"},
        body={"definition": PARENT},
        status=202,
        keep={"long_id": "execution_id"},
    ),
    Call(
        "getExecution",
        "While a step works, it may say how far it is.",
        at={"execution_id": "$long_id"},
        until=("steps.other.progress.note", "0 of 1 steps of"),
        figures=True,
        depth=5,
    ),
    Call(
        "cancelExecution",
        "Enough. What it delegated is cancelled with it.",
        at={"execution_id": "$long_id"},
        body={"reason": "no longer needed"},
    ),
    Call("listExecutions", "Those that failed.", query={"status": "failed"}),
)

AGENTS: Final = (
    Call("listAgentTypes", "What agents there can be, and what they take and give.", depth=4),
    Call(
        "createAgent",
        "One of a type, with an id, a configuration and limits of its own.",
        headers={"Idempotency-Key": "a-converter"},
        body={"agent_type": "unit_converter", "agent_id": "converter", "limits": {"concurrency": 2}},
        status=201,
    ),
    Call(
        "createAgent",
        "A type that no host runs.",
        body={"agent_type": "fortune_teller"},
        status=422,
    ),
    Call(
        "listAgents",
        "Those of one type: its default agent, and the one that was made.",
        query={"type": "unit_converter"},
    ),
    Call("getAgent", "One of them, once a host runs it.", at={"agent_id": "converter"}, until=("status", "idle")),
    Call(
        "sendMessage",
        "A message, and its answer.",
        at={"agent_id": "converter"},
        query={"wait": "true"},
        headers={"Idempotency-Key": "which-units"},
        body={"message_type": "units", "payload": {"dimension": "mass"}},
    ),
    Call(
        "sendMessage",
        "A message that nobody waits for; here a call of a capability.",
        at={"agent_id": "converter"},
        headers={"Idempotency-Key": "convert-this"},
        body={"payload": {"action": "convert", "inputs": {"quantities": [{"value": 1, "unit": "mi"}], "to": "km"}}},
        status=202,
    ),
    Call(
        "sendMessage",
        "A message that the agent refuses; whoever waits is told why.",
        at={"agent_id": "converter"},
        query={"wait": "true"},
        headers={"Idempotency-Key": "in-furlongs"},
        body={"payload": FURLONGS},
        status=422,
    ),
    Call(
        "sendMessage",
        "The same where nobody waits: it becomes a dead letter, with its reason.",
        at={"agent_id": "converter"},
        headers={"Idempotency-Key": "in-furlongs-again"},
        body={"payload": FURLONGS},
        status=202,
    ),
    Call(
        "broadcastMessage",
        "To every agent of a type.",
        headers={"Idempotency-Key": "to-all-converters"},
        body={"filter": {"agent_type": "unit_converter"}, "message_type": "units", "payload": {}},
        status=202,
    ),
)

DEAD_LETTERS: Final = (
    Call(
        "listDeadLetters",
        "What the agent refused above.",
        query={"reason": "agent-failed"},
        until=("items.0.reason", "agent-failed"),
        keep={"letter_id": "items.0.dead_letter_id"},
    ),
    Call("getDeadLetter", "With its whole body.", at={"letter_id": "$letter_id"}),
    Call(
        "replayDeadLetter",
        "Published again, where it was first published to. (The agent refuses it again, and it is another letter.)",
        at={"letter_id": "$letter_id"},
    ),
    Call("replayDeadLetter", "It is not here any more.", at={"letter_id": "$letter_id"}, status=404),
    Call(
        "listDeadLetters",
        "The one that came of the replay.",
        query={"reason": "agent-failed"},
        until=("items.0.reason", "agent-failed"),
        keep={"second_letter_id": "items.0.dead_letter_id"},
    ),
    Call("discardDeadLetter", "Thrown away for good.", at={"letter_id": "$second_letter_id"}),
)

MONITORING: Final = (
    Call("getMonitoringHealth", "The whole in one word, and what is wrong.", figures=True),
    Call("getMonitoringMetrics", "The last minute.", query={"window": 60}, figures=True, depth=4),
    Call("getMonitoringAgents", "Agents by type.", figures=True),
    Call("getMonitoringWorkflows", "Workflows by name.", figures=True),
    Call("getMonitoringSystem", "Processes and hosts.", figures=True),
    Call("getMonitoringQueues", "What waits in each queue.", figures=True),
    Call(
        "listAudit",
        "Who cancelled what.",
        query={"action": "execution.cancel.v1", "limit": 2},
        until=("items.0.action", "execution.cancel.v1"),
        figures=True,
    ),
    Call("getMetrics", "What Prometheus reads.", figures=True, lines=8),
)

ENDING: Final = (
    Call("deleteAgent", "It takes nothing new, ends what it works on, and is gone.", at={"agent_id": "converter"}),
    Call("deleteAgent", "A type's default agent stays.", at={"agent_id": "unit_converter"}, status=409),
    Call("deleteWorkflow", "Executions of it that were started go on.", at={"workflow_id": "counting"}, status=204),
    Call(
        "rotateKey",
        "A new key in the place of the old one, which is valid for another minute.",
        at={"key_id": "$viewer_id"},
        headers={"Idempotency-Key": "rotate-the-dashboard"},
        body={"overlap": 60},
        status=201,
        keep={"new_id": "key_id"},
    ),
    Call("revokeKey", "From now on nobody gets in with it.", at={"key_id": "$new_id"}),
    Call("showAsyncApi", "A page for a browser.", key=NOBODY, lines=4),
    Call("getAsyncApi", "The document, for programs.", key=NOBODY, depth=2),
)

ROUTES: Final = (*OPENING, *WORKFLOWS, *EXECUTIONS, *AGENTS, *DEAD_LETTERS, *MONITORING, *ENDING)
