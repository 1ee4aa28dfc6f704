"""What ``consensus`` takes and gives."""

from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.coordinator_agent.selection_models import MAX_AGENTS, AgentId, AgentSelection
from services.coordinator_agent.vote_models import Name, Quorum, Share, Weight


class ConsensusOutcome(StrEnum):
    """``consensus`` alone comes with an answer."""

    CONSENSUS = "consensus"
    NO_CONSENSUS = "no_consensus"
    NO_QUORUM = "no_quorum"


class AnsweringTask(BaseModel):
    """A capability that answers the question.

    Fields:
        action, inputs: what every agent performs.
        answer: where in its output the answer lies, ``decision.winner``; the whole output, if not given.
        argument: where its argument lies, if it gives one.
        others: the field of the inputs in which, from the second round on, the others' answers are put: a list of
            ``{agent_id, answer, argument}``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: AgentId
    inputs: dict[str, Any] = Field(default_factory=dict)
    answer: str | None = Field(default=None, min_length=1, max_length=1_000)
    argument: str | None = Field(default=None, min_length=1, max_length=1_000)
    others: Name | None = None


class ConsensusInputs(BaseModel):
    """A question, whom to ask, and when they agree.

    Fields:
        question: in words; agents with an ``answer_question`` of their own answer it.
        task: for agents that answer by a capability instead.
        agents: whom to ask; with a task all that offer its action, if nothing is said.
        at_least: with fewer agents than that there is no quorum, and nobody is asked.
        at_most: the first so many by id are asked.
        quorum: how many must answer in a round, abstentions included: ``{voters: n}``, or ``{fraction: share}`` of the
            agents that are meant, rounded up.
        threshold: the share of the answers, by weight, that must agree at least; more than half if not given.
        tolerance: numbers agree that differ by no more than this, wherever they stand in the answers; only equal ones
            do, if not given.
        weights: agent -> weight of its answer; 1 otherwise.
        rounds: how often they are asked at most. From the second round on each is shown the others' last answers and
            arguments.
        deadline: seconds that a round takes at most.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str = Field(default="", max_length=100_000)
    task: AnsweringTask | None = None
    agents: AgentSelection = AgentSelection()
    at_least: int = Field(default=1, ge=1, le=MAX_AGENTS)
    at_most: int | None = Field(default=None, ge=1, le=MAX_AGENTS)
    quorum: Quorum = Quorum(fraction="1/2")
    threshold: Share | None = None
    tolerance: float | None = Field(default=None, ge=0, le=1e300, allow_inf_nan=False)
    weights: dict[AgentId, Weight] = Field(default_factory=dict)
    rounds: int = Field(default=1, ge=1, le=50)
    deadline: float = Field(default=10.0, gt=0, le=86_400)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.question and self.task is None:
            raise ValueError("there is nothing to answer: give a 'question', a 'task' or both")
        agents = self.agents
        if self.task is None and not (agents.agent_ids or agents.agent_type or agents.capability):
            raise ValueError("say whom to ask: 'agents' needs agent_ids, agent_type or capability")
        if self.task is not None and self.rounds > 1 and self.task.others is None:
            raise ValueError("with more than one round 'task' needs 'others', the input that shows the others' answers")
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most is {self.at_most} and at_least {self.at_least}")
        strangers = sorted(self.weights.keys() - set(agents.agent_ids)) if agents.agent_ids else []
        if strangers:
            raise ValueError(f"weights name agents that are not asked: {', '.join(strangers)}")
        return self


class Position(BaseModel):
    """What one agent had to say in one round, ``seconds`` after it was asked. ``reason`` says why it said nothing."""

    agent_id: str
    state: Literal["answered", "abstained", "failed", "silent"]
    answer: Any = None
    argument: str = ""
    weight: float = 1.0
    seconds: float | None = None
    reason: str = ""


class AnswerLine(BaseModel):
    """One answer: who gave exactly it, their ``weight``, and the ``share`` of the weight of all answers that agree with
    it (more than its own where a tolerance lets near ones agree)."""

    answer: Any
    agents: list[str]
    weight: float
    share: float


class Round(BaseModel):
    """``answers`` are in order: the leading one first."""

    round: int
    positions: list[Position]
    answers: list[AnswerLine]
    answered: int
    quorum: int
    quorum_met: bool
    outcome: ConsensusOutcome


class Dissenter(BaseModel):
    """An agent whose last answer does not agree with the consensus."""

    agent_id: str
    answer: Any
    argument: str
    weight: float


class NotAsked(BaseModel):
    """An agent that was named and could not be asked."""

    agent_id: str
    reason: str


class ConsensusAnswer(BaseModel):
    """``answer`` is null unless ``reached``; then ``reason`` says why. ``share`` is that of the leading answer in the
    last round, which alone counts; ``silent`` are those who did not answer in it."""

    reached: bool
    outcome: ConsensusOutcome
    answer: Any
    share: float
    reason: str
    conversation_id: str
    asked: list[str]
    not_asked: list[NotAsked]
    silent: list[str]
    dissent: list[Dissenter]
    rounds: list[Round]
    rationale: str
