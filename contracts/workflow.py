"""Workflow definitions: what a user writes, and the structure of its graph.

Everything here is structure: ids, dependencies, cycles. What needs knowledge of agents or of the expression
language (unknown actions, bad expressions, input schemas) is judged at submit time, beside these faults.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from contracts import topology
from contracts.envelope import Contract, Message
from contracts.topology import Address

ID_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"
STEP_ID_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]{0,127}$"
RESERVED_IDS = frozenset({"inputs", "steps"})
MAX_STEPS = 10_000
MAX_INPUT_DEPTH = 64
MAX_RETRY_ERRORS = 100
MAX_LISTED_AGENTS = 1_000
_LONGEST_NAME = 200


class Definition(BaseModel):
    """A part of what users write. Unknown fields are faults here: a misspelt option must not pass in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RetryPolicy(Definition):
    """When a failed attempt is tried again.

    The wait before attempt n+1 is ``backoff * multiplier**(n-1)`` seconds, at most ``max_backoff``, shortened or
    lengthened by up to the fraction ``jitter``. ``on`` lists the error types worth another attempt; empty means
    every error that calls itself retryable.
    """

    max_attempts: int = Field(default=1, ge=1, le=100)
    backoff: float = Field(default=1.0, ge=0, le=86_400)
    multiplier: float = Field(default=2.0, ge=1, le=100)
    max_backoff: float = Field(default=60.0, ge=0, le=86_400)
    jitter: float = Field(default=0.1, ge=0, le=1)
    on: tuple[str, ...] = Field(default=(), max_length=MAX_RETRY_ERRORS)


class CachePolicy(Definition):
    """Reuse the output of the same action on the same inputs for ``ttl`` seconds."""

    ttl: float = Field(gt=0, le=30 * 86_400)


class StepDefinition(Definition):
    """One step: an action of an agent type, on inputs that may refer to other steps.

    ``when`` is a CEL condition; where it is false the step is skipped. A step that needs a skipped step is skipped
    too, unless ``on_skipped`` is ``run``: then it runs, and the skipped step's output reads as null.
    """

    id: str = Field(pattern=STEP_ID_PATTERN)
    kind: Literal["action"] = "action"
    agent_type: str = Field(pattern=ID_PATTERN)
    action: str = Field(pattern=ID_PATTERN)
    agent_id: str | None = Field(default=None, pattern=ID_PATTERN)
    inputs: dict[str, Any] = Field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    timeout: float | None = Field(default=None, gt=0, le=7 * 86_400)
    retry: RetryPolicy = RetryPolicy()
    when: str | None = None
    on_skipped: Literal["skip", "run"] = "skip"
    cache: CachePolicy | None = None


class WorkflowDefinition(Definition):
    """A graph of steps. Dependencies may stand in each step (``depends_on``), at the top (``dependencies``:
    step id -> ids it waits for), or both: they are merged. ``agents``, when given, lists the agent types needed."""

    name: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=10_000)
    steps: tuple[StepDefinition, ...] = Field(min_length=1, max_length=MAX_STEPS)
    agents: tuple[str, ...] | None = Field(default=None, max_length=MAX_LISTED_AGENTS)
    dependencies: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @field_validator("dependencies", mode="before")
    @classmethod
    def _none_means_no_dependencies(cls, value: Any) -> Any:
        return {} if value is None else value

    def declared_dependencies(self) -> dict[str, tuple[str, ...]]:
        """Step id -> ids it declares to wait for, both forms merged, in order and without repeats."""
        return {
            step.id: tuple(dict.fromkeys((*step.depends_on, *self.dependencies.get(step.id, ()))))
            for step in self.steps
        }

    def content_hash(self) -> str:
        return content_hash(self.model_dump(mode="json"))


class Fault(Contract):
    """One thing wrong with what a user sent: where (``steps[2].inputs.data``), what kind, and in words."""

    path: str
    code: str
    message: str


def content_hash(value: Any) -> str:
    """SHA-256 of the value's canonical JSON (sorted keys, no spaces): the identity of a definition or of inputs."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def structure_faults(definition: WorkflowDefinition) -> list[Fault]:
    """Duplicate and reserved ids, unknown dependencies, and agent types missing from ``agents``."""
    faults: list[Fault] = []
    index: dict[str, int] = {}
    for i, step in enumerate(definition.steps):
        if step.id in RESERVED_IDS:
            faults.append(Fault(path=f"steps[{i}].id", code="reserved_id", message=f"{step.id!r} is a reserved name"))
        if step.id in index:
            message = f"{step.id!r} is already the id of steps[{index[step.id]}]; step ids must differ"
            faults.append(Fault(path=f"steps[{i}].id", code="duplicate_id", message=message))
        index.setdefault(step.id, i)
    known = _listed(index)
    agents = None if definition.agents is None else frozenset(definition.agents)
    listed = _listed(definition.agents or ()) or "none"
    for i, step in enumerate(definition.steps):
        for j, needed in enumerate(step.depends_on):
            if needed not in index:
                faults.append(_unknown(f"steps[{i}].depends_on[{j}]", needed, known))
        if agents is not None and step.agent_type not in agents:
            message = f"{step.agent_type!r} is not in the workflow's agents: {listed}"
            faults.append(Fault(path=f"steps[{i}].agent_type", code="agent_not_listed", message=message))
    for step_id, needs in definition.dependencies.items():
        if step_id not in index:
            faults.append(_unknown(f"dependencies.{_short(step_id)}", step_id, known))
        for j, needed in enumerate(needs):
            if needed not in index:
                faults.append(_unknown(f"dependencies.{_short(step_id)}[{j}]", needed, known))
    return faults


def find_cycle(dependencies: Mapping[str, Iterable[str]]) -> list[str] | None:
    """One cycle as ``[a, b, ..., a]``, each waiting for the next, or None. Iterative: a chain of 10,000 is fine."""
    done: set[str] = set()
    for root in dependencies:
        if root in done:
            continue
        path: list[str] = []
        on_path: dict[str, int] = {}
        stack: list[tuple[str, bool]] = [(root, False)]
        while stack:
            node, leaving = stack.pop()
            if leaving:
                done.add(path.pop())
                del on_path[node]
                continue
            if node in on_path:
                return [*path[on_path[node] :], node]
            if node in done or node not in dependencies:
                continue
            on_path[node] = len(path)
            path.append(node)
            stack.append((node, True))
            stack.extend((needed, False) for needed in dependencies[node])
    return None


def _listed(names: Iterable[str], most: int = 20) -> str:
    ordered = sorted(map(_short, names))
    return ", ".join(ordered[:most]) + (f" and {len(ordered) - most} more" if len(ordered) > most else "")


def _unknown(path: str, name: str, known: str) -> Fault:
    return Fault(
        path=path, code="unknown_step", message=f"{_short(name)!r} is no step of this workflow; its steps are: {known}"
    )


def _short(name: str) -> str:
    """A name as it is told: it is no id before it has been checked, and may have any length."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


# ---- messages about stored workflows


class Workflow(Contract):
    """A stored definition under an id of its own."""

    workflow_id: str
    name: str
    description: str = ""
    definition_hash: str
    created_at: float
    steps: int


class CreateWorkflow(Message):
    """Store a definition. Answered by ``WorkflowCreated`` or ``Refused``."""

    TYPE: ClassVar[str] = "workflow.create.v1"

    workflow_id: str = Field(min_length=1, max_length=200)
    definition: dict[str, Any]

    def address(self) -> Address:
        return topology.command("workflow.create")


class DeleteWorkflow(Message):
    """Remove a stored definition; executions of it go on. Answered by ``WorkflowDeleted`` or ``Refused``."""

    TYPE: ClassVar[str] = "workflow.delete.v1"

    workflow_id: str

    def address(self) -> Address:
        return topology.command("workflow.delete")


class WorkflowCreated(Message):
    TYPE: ClassVar[str] = "workflow.created.v1"

    workflow: Workflow

    def address(self) -> Address:
        return topology.event("workflow.created")


class WorkflowDeleted(Message):
    TYPE: ClassVar[str] = "workflow.deleted.v1"

    workflow_id: str

    def address(self) -> Address:
        return topology.event("workflow.deleted")
