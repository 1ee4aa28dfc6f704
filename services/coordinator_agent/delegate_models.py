"""What ``delegate`` takes and gives."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contracts.history import ExecutionStatus, StepError


class DelegateInputs(BaseModel):
    """A workflow to start and wait for.

    Fields:
        workflow_id: a stored workflow; or
        definition: a workflow definition. In a step's inputs its own references are texts that have to be escaped, so a
            stored workflow is the plainer way.
        inputs: the execution's inputs.
        time_limit: seconds after which the child is cancelled and counts as failed; without limit if not given. (The
            step's own timeout is counted anew whenever the child gets on, and leaves the child running.)
        on_failure: ``error``: a child that fails or is cancelled is the error ``DelegateFailed``. ``answer``: the
            answer says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workflow_id: str | None = Field(default=None, min_length=1, max_length=200)
    definition: dict[str, Any] | None = None
    inputs: dict[str, Any] = Field(default_factory=dict)
    time_limit: float | None = Field(default=None, gt=0, le=366 * 86_400)
    on_failure: Literal["error", "answer"] = "error"

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.workflow_id is None) == (self.definition is None):
            raise ValueError("give either a 'workflow_id' or a 'definition'")
        return self


class DelegateAnswer(BaseModel):
    """How the child ended. ``outputs`` are those of its last steps by id (a large one is a reference, ``payload_id``
    and ``size``: the execution's own page has it); ``errors`` those of its failed steps. ``depth`` is 1 for a child of
    an execution that is none itself."""

    execution_id: str
    status: ExecutionStatus
    completed: bool
    outputs: dict[str, Any]
    errors: dict[str, StepError]
    reason: str
    steps: int
    depth: int
