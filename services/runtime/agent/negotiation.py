"""How every agent takes part in a contract net and in a consensus: a bid made from what it has done so far, awarded
work performed as any other, and questions answered by whoever overrides ``answer_question``."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.envelope import Contract
from services.runtime.agent.capability import BoundCapability, CapabilityError
from services.runtime.agent.error_text import text_of
from services.runtime.agent.mail import Mail, on_message
from services.runtime.agent.negotiation_messages import (
    AWARD,
    CALL,
    QUESTION,
    REJECT,
    Answer,
    Award,
    Bid,
    CallForProposals,
    Confidence,
    Cost,
    Decline,
    Fulfilment,
    Opinion,
    Proposal,
    Question,
    QuestionAnswered,
    Rejection,
)
from services.runtime.agent.track_record import TrackRecord

log = structlog.get_logger(__name__)

DEFAULT_SECONDS = 1.0
"""The cost that an agent bids for one call of an action that it has never done, where its config says nothing."""

NEGOTIATION = frozenset({CALL, AWARD, REJECT, QUESTION})
"""Messages that no limit holds back: an agent can say at any time what it would do. Work that follows from one waits
for its place, ``place_for``, then."""

C = TypeVar("C", bound=Contract)


class BidConfig(BaseModel):
    """``bid`` in an agent's config: what it bids instead of what was measured, for the fields that are given."""

    model_config = ConfigDict(extra="forbid")

    cost: Cost | None = None
    confidence: Confidence | None = None


class _Config(BaseModel):
    bid: BidConfig = BidConfig()


def split_bid(config: Mapping[str, Any], model: type[BaseModel] | None) -> tuple[BidConfig, dict[str, Any]]:
    """What an agent's configuration says under ``bid``, and the rest of it, which is its type's. A type whose model has
    a field ``bid`` keeps it for itself.

    Raises:
        pydantic.ValidationError: ``bid`` is no ``{cost, confidence}``.
    """
    if "bid" not in config or (model is not None and "bid" in model.model_fields):
        return BidConfig(), dict(config)
    return _Config.model_validate(config).bid, {key: value for key, value in config.items() if key != "bid"}


class Negotiator:
    """The part of an agent that negotiates. Override ``bid``, ``answer_question`` and ``on_rejected``; the rest is the
    protocol."""

    agent_id: str
    fixed_bid: BidConfig
    track_record: TrackRecord
    _capabilities: dict[str, BoundCapability]

    async def perform(self, action: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run one capability."""
        raise NotImplementedError

    def check_granted(self, action: str) -> None:
        """Refuse an action that this agent may not do."""
        raise NotImplementedError

    def place_for(self, action: str = "") -> AbstractAsyncContextManager[None]:
        """Wait until work that came by message may begin, by this agent's limits."""
        raise NotImplementedError

    # ---- to override

    async def bid(self, call: CallForProposals) -> Bid | Decline | None:
        """What this agent offers for a task; None or a ``Decline`` if nothing.

        By default it declines what it has no action for and inputs that do not fit that action's input model, and
        offers ``standing_bid`` for the rest. An agent that knows better (a price, a queue, data it has at hand) says
        so here. An exception is no bid, and stands in the coordinator's record.
        """
        found = self._capabilities.get(call.action)
        if found is None:
            return Decline(reason=f"it has no action {call.action!r}")
        self.check_granted(call.action)
        try:
            found.input_model.model_validate(call.inputs)
        except ValidationError as error:
            places = sorted({".".join(map(str, fault["loc"])) or "inputs" for fault in error.errors()})
            return Decline(reason=f"the inputs do not fit: {', '.join(places[:20])}"[:2_000])
        return self.standing_bid(call.action)

    def standing_bid(self, action: str) -> Bid:
        """The bid that follows from this agent's config and record.

        ``cost`` = mean seconds of the action when it succeeded × (1 + calls in progress); ``DEFAULT_SECONDS`` stands
        for the mean where it never did. ``confidence`` = (successes + 1) / (runs + 2). Both count from the start of
        the agent in this process. ``bid`` in the config, ``{cost, confidence}``, stands in place of either.
        """
        record = self.track_record.of(action)
        seconds = DEFAULT_SECONDS if record.mean_seconds is None else record.mean_seconds
        cost, confidence = self.fixed_bid.cost, self.fixed_bid.confidence
        return Bid(
            cost=seconds * (1 + self.track_record.in_progress) if cost is None else cost,
            confidence=record.success_rate if confidence is None else confidence,
        )

    async def on_rejected(self, rejection: Rejection) -> None:
        """Another got the task that this agent had bid for. Nothing by default: a default bid holds nothing back."""

    async def answer_question(self, question: str, others: Sequence[Opinion], round: int) -> Answer | None:
        """What this agent says to a question of a consensus; None abstains.

        ``round`` counts from 1; ``others`` are the other agents' answers of the round before, with their arguments.
        """
        raise CapabilityError(f"{self.agent_id} answers no questions: it has no answer_question", code="NoAnswer")

    # ---- the protocol

    @property
    def common_message_types(self) -> frozenset[str]:
        """Message types that say nothing about this agent, because every agent handles them."""
        answers = type(self).answer_question is not Negotiator.answer_question
        return NEGOTIATION - {QUESTION} if answers else NEGOTIATION

    # Failures are answers here: whoever asked has others to turn to, and would not be helped by a message that is tried
    # again and again.

    @on_message(CALL)
    async def take_call(self, mail: Mail) -> Proposal:
        """Answer a call for proposals with this agent's ``bid``."""
        call = _read(CallForProposals, mail)
        if call.too_late:
            return Proposal(declined="it came to the call after its deadline")
        try:
            offer = await self.bid(call)
        except Exception as error:
            log.warning("no bid was made", agent_id=self.agent_id, action=call.action, error=repr(error))
            return Proposal(failed=_text(error))
        if isinstance(offer, Bid):
            return Proposal(bid=offer)
        return Proposal(declined="" if offer is None else offer.reason)

    @on_message(AWARD)
    async def take_award(self, mail: Mail) -> Fulfilment:
        """Perform the task that was awarded."""
        award = _read(Award, mail)
        if award.too_late:
            return Fulfilment(error="it came to the award after its deadline", code="TooLate")
        try:
            async with self.place_for(award.action):
                return Fulfilment(output=await self.perform(award.action, award.inputs))
        except Exception as error:
            log.info("awarded work failed", agent_id=self.agent_id, action=award.action, error=repr(error))
            return Fulfilment(error=_text(error), code=_code(error))

    @on_message(REJECT)
    async def take_rejection(self, mail: Mail) -> None:
        """Hear that another got the task."""
        await self.on_rejected(_read(Rejection, mail))

    @on_message(QUESTION)
    async def take_question(self, mail: Mail) -> QuestionAnswered:
        """Answer the question of a consensus: by the action it names, otherwise by ``answer_question``."""
        question = _read(Question, mail)
        if question.too_late:
            return QuestionAnswered(round=question.round, failed="it came to the question after its deadline")
        try:
            async with self.place_for(question.action or ""):
                if question.action is not None:
                    output = await self.perform(question.action, question.inputs)
                    return QuestionAnswered(round=question.round, output=output)
                answer = await self.answer_question(question.question, question.others, question.round)
        except Exception as error:
            log.info("no answer was given", agent_id=self.agent_id, error=repr(error))
            return QuestionAnswered(round=question.round, failed=_text(error))
        abstains = answer is None or answer.answer is None
        return QuestionAnswered(round=question.round, answer=None if abstains else answer)


def _read(model: type[C], mail: Mail) -> C:
    try:
        return model.model_validate(mail.body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        text = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'body'}: {f['msg']}" for f in faults)
        message = f"a {mail.message_type} does not fit: {text}"
        raise CapabilityError(message, code="InvalidInputs", details=faults) from error


def _code(error: Exception) -> str:
    return error.code if isinstance(error, CapabilityError) else type(error).__name__


def _text(error: Exception) -> str:
    text = text_of(error)
    return text[:2_000] if isinstance(error, CapabilityError) else f"{type(error).__name__}: {text}"[:2_000]
