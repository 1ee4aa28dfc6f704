"""How any agent takes part in a contract net and a consensus, without a bus."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.agents import AgentLimits, CapabilityLimits
from services.runtime.agent.base import BaseAgent
from services.runtime.agent.capability import CapabilityError, capability
from services.runtime.agent.config import config_faults
from services.runtime.agent.mail import Mail
from services.runtime.agent.negotiation import DEFAULT_SECONDS, BidConfig, split_bid
from services.runtime.agent.negotiation_messages import (
    AWARD,
    CALL,
    QUESTION,
    REJECT,
    Answer,
    Bid,
    CallForProposals,
    Opinion,
    Rejection,
)
from services.runtime.agent.track_record import Record, TrackRecord


class Number(BaseModel):
    n: int


class Doubler(BaseAgent):
    agent_type = "doubler"
    gate: asyncio.Event

    async def on_start(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()

    @capability("double")
    async def double(self, request: Number) -> Number:
        await self.gate.wait()
        if request.n < 0:
            raise CapabilityError("no negative numbers", code="Negative")
        return Number(n=2 * request.n)


class Opinionated(Doubler):
    agent_type = "opinionated"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.refused: list[str] = []

    async def bid(self, call: CallForProposals) -> Bid | None:
        if call.inputs.get("n") == 13:
            raise ValueError("superstition")
        return Bid(cost=call.inputs["n"], note="by hand") if call.inputs["n"] < 100 else None

    async def on_rejected(self, rejection: Rejection) -> None:
        self.refused.append(rejection.reason)

    async def answer_question(self, question: str, others: Sequence[Opinion], round: int) -> Answer | None:
        if question == "abstain":
            return None
        return Answer(answer=[question, round, [other.answer for other in others]], argument="because")


@pytest.fixture
async def doubler() -> AsyncIterator[Doubler]:
    agent = Doubler("d1")
    await agent.start()
    yield agent
    await agent.stop()


@pytest.fixture
async def opinionated() -> AsyncIterator[Opinionated]:
    agent = Opinionated("o1")
    await agent.start()
    yield agent
    await agent.stop()


async def told(agent: BaseAgent, message_type: str, **body: Any) -> dict[str, Any]:
    return await agent.receive(Mail({"conversation_id": "c", **body}, message_type))


async def called(agent: BaseAgent, n: Any, action: str = "double", **more: Any) -> dict[str, Any]:
    return await told(agent, CALL, action=action, inputs={"n": n}, **more)


async def awarded(agent: BaseAgent, n: Any, **more: Any) -> dict[str, Any]:
    return await told(agent, AWARD, action="double", inputs={"n": n}, bid={"cost": 1}, **more)


# ---- the default bid


async def test_an_agent_that_has_done_nothing_bids_the_stated_default(doubler: Doubler) -> None:
    bid = (await called(doubler, 1))["bid"]
    assert (bid["cost"], bid["confidence"]) == (DEFAULT_SECONDS, 0.5)


async def test_a_bid_follows_from_what_was_measured(doubler: Doubler) -> None:
    for n in (1, 2, -1):
        await awarded(doubler, n)
    record = doubler.track_record.of("double")
    assert (record.succeeded, record.failed) == (2, 1)
    bid = (await called(doubler, 1))["bid"]
    assert bid["cost"] == record.mean_seconds == record.seconds / 2
    assert bid["confidence"] == 3 / 5


async def test_calls_in_progress_make_a_bid_dearer(doubler: Doubler) -> None:
    await doubler.perform("double", {"n": 1})
    mean = doubler.track_record.of("double").mean_seconds
    doubler.gate.clear()
    busy = [asyncio.create_task(doubler.perform("double", {"n": 1})) for _ in range(3)]
    while doubler.track_record.in_progress < 3:
        await asyncio.sleep(0)
    assert (await called(doubler, 1))["bid"]["cost"] == pytest.approx(4 * mean)
    doubler.gate.set()
    await asyncio.gather(*busy)
    assert doubler.track_record.in_progress == 0


async def test_a_config_states_a_bid() -> None:
    agent = Doubler("d1", {"bid": {"cost": 7, "confidence": 0.9}})
    await agent.start()
    assert (await called(agent, 1))["bid"] == {"cost": 7.0, "confidence": 0.9, "note": "", "details": {}}
    half = Doubler("d2", {"bid": {"confidence": 0.25}})
    await half.start()
    assert (await called(half, 1))["bid"]["cost"] == DEFAULT_SECONDS


def test_a_config_with_a_bad_bid_is_refused_with_its_place() -> None:
    with pytest.raises(ValidationError) as caught:
        Doubler("d1", {"bid": {"cost": -7}})
    assert [fault.path for fault in config_faults(caught.value)] == ["config.bid.cost"]


async def test_what_it_cannot_do_is_declined_with_the_reason(doubler: Doubler) -> None:
    assert (await called(doubler, 1, action="halve"))["declined"] == "it has no action 'halve'"
    assert (await called(doubler, "many"))["declined"] == "the inputs do not fit: n"


async def test_a_call_that_comes_too_late_is_declined(doubler: Doubler) -> None:
    assert (await called(doubler, 1, reply_by=time.time() - 1))["declined"]
    assert (await called(doubler, 1, reply_by=time.time() + 60))["bid"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = 1


class Bridge(Strict):
    bid: str = "no trump"


def test_a_bid_is_beside_what_the_types_model_allows() -> None:
    assert split_bid({"limit": 3, "bid": {"cost": 2}}, Strict) == (BidConfig(cost=2), {"limit": 3})
    with pytest.raises(ValidationError):
        type("Limited", (Doubler,), {"config_model": Strict})("d1", {"limit": 3, "bids": {"cost": 2}})
    assert type("Limited", (Doubler,), {"config_model": Strict})("d1", {"bid": {"cost": 2}}).settings == Strict()


def test_a_model_with_a_bid_of_its_own_keeps_it() -> None:
    agent = type("Player", (Doubler,), {"config_model": Bridge})("d1", {"bid": "two hearts"})
    assert (agent.settings.bid, agent.fixed_bid) == ("two hearts", BidConfig())


# ---- a bid of one's own


async def test_an_agent_may_make_bids_of_its_own(opinionated: Opinionated) -> None:
    assert (await called(opinionated, 5))["bid"]["note"] == "by hand"
    assert await called(opinionated, 500) == {"bid": None, "declined": "", "failed": None}


async def test_a_bid_that_raises_is_an_answer(opinionated: Opinionated) -> None:
    assert (await called(opinionated, 13))["failed"] == "ValueError: superstition"


async def test_a_refused_bidder_hears_why(opinionated: Opinionated) -> None:
    assert await told(opinionated, REJECT, action="double", reason="too dear") == {}
    assert opinionated.refused == ["too dear"]


# ---- awards


async def test_an_awarded_task_is_performed(doubler: Doubler) -> None:
    assert await awarded(doubler, 21) == {"output": {"n": 42}, "error": None, "code": ""}


async def test_a_failure_is_an_answer_by_name(doubler: Doubler) -> None:
    failed = await awarded(doubler, -1)
    assert (failed["code"], failed["error"]) == ("Negative", "no negative numbers")
    assert (await awarded(doubler, "x"))["code"] == "InvalidInputs"


async def test_an_award_that_comes_too_late_is_not_performed(doubler: Doubler) -> None:
    assert (await awarded(doubler, 1, reply_by=time.time() - 1))["code"] == "TooLate"
    assert doubler.track_record.of("double") == Record()


async def test_a_message_that_is_none_is_refused_by_name(doubler: Doubler) -> None:
    with pytest.raises(CapabilityError, match=r"a contract_net\.award does not fit: bid: Field required") as caught:
        await told(doubler, AWARD, action="double")
    assert caught.value.retryable is False


async def test_limits_hold_for_awarded_work_and_not_for_bids(doubler: Doubler) -> None:
    doubler.limit_by(AgentLimits(capabilities={"double": CapabilityLimits(concurrency=1)}, concurrency=1))
    doubler.gate.clear()
    first, second = (asyncio.create_task(awarded(doubler, n)) for n in (1, 2))
    while doubler.track_record.in_progress < 1:
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert (await called(doubler, 1))["bid"]
    assert doubler.track_record.in_progress == 1
    doubler.gate.set()
    assert [(await first)["output"], (await second)["output"]] == [{"n": 2}, {"n": 4}]


# ---- questions


async def test_a_question_is_answered_by_the_hook(opinionated: Opinionated) -> None:
    others = [{"agent_id": "x", "answer": 7}]
    said = await told(opinionated, QUESTION, question="why", round=2, others=others)
    assert said["round"] == 2
    assert said["answer"] == {"answer": ["why", 2, [7]], "argument": "because"}


async def test_nothing_to_say_is_an_abstention(opinionated: Opinionated) -> None:
    said = await told(opinionated, QUESTION, question="abstain", round=1)
    assert said == {"round": 1, "answer": None, "output": None, "failed": None}


async def test_a_question_may_name_an_action(doubler: Doubler) -> None:
    said = await told(doubler, QUESTION, question="", round=1, action="double", inputs={"n": 4})
    assert said["output"] == {"n": 8}
    failed = await told(doubler, QUESTION, question="", round=1, action="double", inputs={"n": -4})
    assert failed["failed"] == "no negative numbers"


async def test_an_agent_without_the_hook_says_so(doubler: Doubler) -> None:
    said = await told(doubler, QUESTION, question="why", round=1)
    assert said["failed"] == "d1 answers no questions: it has no answer_question"


async def test_only_those_that_answer_questions_announce_it(doubler: Doubler, opinionated: Opinionated) -> None:
    assert doubler.describe().message_types == ()
    assert opinionated.describe().message_types == (QUESTION,)


# ---- what was measured


@given(st.lists(st.booleans(), max_size=30))
def test_the_success_rate_is_laplaces(runs: list[bool]) -> None:
    measured = TrackRecord()
    for ok in runs:
        try:
            with measured.measured("a"):
                if not ok:
                    raise ValueError
        except ValueError:
            pass
    record = measured.of("a")
    assert record.success_rate == (sum(runs) + 1) / (len(runs) + 2)
    assert 0 < record.success_rate < 1
    assert (record.mean_seconds is None) == (sum(runs) == 0)
    assert measured.of("b") == Record()


async def test_a_cancelled_call_is_neither_success_nor_failure(doubler: Doubler) -> None:
    doubler.gate.clear()
    work = asyncio.create_task(doubler.perform("double", {"n": 1}))
    while doubler.track_record.in_progress < 1:
        await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (doubler.track_record.of("double"), doubler.track_record.in_progress) == (Record(), 0)


@pytest.mark.parametrize("wrong", [{"cost": -1}, {"cost": float("inf")}, {"cost": 1, "confidence": 1.1}, {}])
def test_a_bid_has_a_cost_and_a_confidence_that_make_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Bid.model_validate(wrong)
