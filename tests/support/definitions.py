"""Workflow definitions for tests of validation, the agents they speak of, and what is said of them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.agents import AgentDescriptor, Capability
from contracts.workflow import Fault
from services.runtime.definitions.lint import lint


class Inline(BaseModel):
    kind: Literal["inline"]
    records: list[dict[str, Any]]


class Csv(BaseModel):
    kind: Literal["csv"]
    path: str


class ProcessData(BaseModel):
    model_config = ConfigDict(extra="forbid")

    data_source: str | Annotated[Inline | Csv, Field(discriminator="kind")] | list[dict[str, Any]]
    limit: int | None = Field(default=None, ge=1)
    note: str = ""


class MakeDecision(BaseModel):
    model_config = ConfigDict(extra="forbid")

    data: Any
    method: Literal["topsis", "vikor"] = "topsis"
    weights: dict[str, float] = {}


def agent(agent_type: str, **actions: type[BaseModel] | dict[str, Any]) -> AgentDescriptor:
    capabilities = tuple(
        Capability(
            name=name,
            input_schema=model if isinstance(model, dict) else model.model_json_schema(),
            output_schema={},
        )
        for name, model in actions.items()
    )
    return AgentDescriptor(agent_type=agent_type, capabilities=capabilities)


AGENTS = {
    "data_agent": agent("data_agent", process_data=ProcessData, anything={"type": "object"}),
    "decision_agent": agent("decision_agent", make_decision=MakeDecision),
}


def step(step_id: str, inputs: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A step that has no fault by itself."""
    return {"id": step_id, "agent_type": "data_agent", "action": "anything", "inputs": inputs or {}, **more}


def workflow(*steps: Any, **more: Any) -> dict[str, Any]:
    return {"name": "w", "steps": list(steps), **more}


def faults(raw: Any, agents: Any = AGENTS) -> list[Fault]:
    definition, found = lint(raw, agents)
    assert (definition is None) == bool(found)
    assert all(fault.message and fault.code for fault in found)
    return found


def places(raw: Any, agents: Any = AGENTS) -> list[tuple[str, str]]:
    return [(fault.path, fault.code) for fault in faults(raw, agents)]


def only(raw: Any, agents: Any = AGENTS) -> Fault:
    (fault,) = faults(raw, agents)
    return fault


def layered(steps: int, faulty: bool = False) -> dict[str, Any]:
    """Steps that refer to earlier ones in every way there is; faulty ones have a fault or more each."""
    made = []
    for i in range(steps):
        inputs: dict[str, Any] = {"data_source": f"s{i // 2}.output.records" if i else "file.csv", "note": "plain"}
        more: dict[str, Any] = {}
        if i:
            inputs["limit"] = f"${{size(steps.s{i - 1}.output.records.filter(r, r.ok)) + 1}}"
            more = {"depends_on": [f"s{i // 3}"], "when": f"steps.s{i - 1}.output.total > {i}"}
        if faulty:
            inputs |= {"data_source": f"t{i}.output", "limit": 0, "odd": i}
            more |= {"when": f"steps.s{i}.output + {i} +", "agent_id": "a b"}
        made.append({"id": f"s{i}", "agent_type": "data_agent", "action": "process_data", "inputs": inputs, **more})
    return {"name": "large", "steps": made}
