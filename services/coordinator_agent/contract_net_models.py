"""What ``contract_net`` takes and gives."""

from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.coordinator_agent.selection_models import AgentId, AgentSelection
from services.runtime.agent.negotiation_messages import Confidence, Cost

TieRule = Literal["lower_cost", "higher_confidence", "earlier_bid"]


class AwardRule(StrEnum):
    LOWEST_COST = "lowest_cost"
    HIGHEST_CONFIDENCE = "highest_confidence"
    BEST_RATIO = "best_ratio"
    WEIGHTED = "weighted"


class NetOutcome(StrEnum):
    """``done`` alone comes with a result."""

    DONE = "done"
    NO_AGENTS = "no_agents"
    NO_BIDS = "no_bids"
    NO_ACCEPTABLE_BID = "no_acceptable_bid"
    FAILED = "failed"


class Task(BaseModel):
    """One action and its inputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: AgentId
    inputs: dict[str, Any] = Field(default_factory=dict)


class BidWeights(BaseModel):
    """How much cost and confidence count for the rule ``weighted``; they are divided by their sum."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cost: float = Field(ge=0, le=1e6, allow_inf_nan=False)
    confidence: float = Field(ge=0, le=1e6, allow_inf_nan=False)

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if self.cost + self.confidence == 0:
            raise ValueError("the weights are both 0; at least one must count")
        return self


class ContractNetInputs(BaseModel):
    """A task, whom to ask, and by which rule it is awarded.

    Fields:
        task: the action, and its inputs.
        agents: whom to ask; all that offer the task's action, if nothing is said.
        deadline: seconds for the bids. The award is made then, or as soon as everybody has answered.
        rule: ``lowest_cost``; ``highest_confidence``; ``best_ratio``: confidence / cost; ``weighted``.
        weights: for ``weighted``.
        ties: what decides between bids that the rule finds equal, in order; in the end the agent's id does.
        max_cost, min_confidence: bids beyond these are not acceptable.
        next_best: how many further bidders get the task, one after the other, while the awarded one fails.
        work_timeout: seconds that an awarded agent has; then it counts as failed.
        on_no_result: ``answer``: an outcome without a result is an answer that says why. ``error``: it is the error
            ``NoAward`` (nobody could be awarded) or ``AwardFailed``, with the record as its details.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Task
    agents: AgentSelection = AgentSelection()
    deadline: float = Field(default=5.0, gt=0, le=86_400)
    rule: AwardRule = AwardRule.LOWEST_COST
    weights: BidWeights | None = None
    ties: list[TieRule] = ["lower_cost", "higher_confidence"]
    max_cost: Cost | None = None
    min_confidence: Confidence | None = None
    next_best: int = Field(default=2, ge=0, le=100)
    work_timeout: float = Field(default=20.0, gt=0, le=7 * 86_400)
    on_no_result: Literal["answer", "error"] = "answer"

    @model_validator(mode="after")
    def _options_belong_to_the_rule(self) -> Self:
        if (self.weights is not None) != (self.rule is AwardRule.WEIGHTED):
            raise ValueError("'weights' and the rule 'weighted' belong together: one was given without the other")
        return self


State = Literal["bid", "declined", "failed", "silent", "unavailable", "unknown"]


class BidRecord(BaseModel):
    """What one agent had to say to the call.

    ``state`` is ``bid``, ``declined``, ``failed`` (it could not make a bid, or not be reached), ``silent`` (nothing
    within the deadline), and for agents that were not asked ``unavailable`` or ``unknown``. ``seconds`` is when the
    answer came, after the call. ``rank`` (from 1) and ``score`` are the rule's; a ``best_ratio`` with cost 0 has no
    score and stands first. ``not_chosen`` is null for the agent whose result it is.
    """

    agent_id: str
    agent_type: str
    state: State
    seconds: float | None = None
    cost: float | None = None
    confidence: float | None = None
    note: str = ""
    details: dict[str, Any] = {}
    rank: int | None = None
    score: float | None = None
    not_chosen: str | None = None


class AwardRecord(BaseModel):
    """One award, in the order they were made: the ``seconds`` it took and, where it failed, why."""

    agent_id: str
    ok: bool
    seconds: float
    error: str | None = None
    code: str = ""


class ContractNetAnswer(BaseModel):
    """``awarded`` is the agent whose output ``result`` is; null unless the ``outcome`` is ``done``, and then ``reason``
    says why. ``bids`` has every agent concerned, the best first; ``awards`` every one that got the task."""

    outcome: NetOutcome
    awarded: str | None
    result: dict[str, Any] | None
    reason: str
    rule: AwardRule
    conversation_id: str
    asked: int
    bids: list[BidRecord]
    awards: list[AwardRecord]
    rationale: str
