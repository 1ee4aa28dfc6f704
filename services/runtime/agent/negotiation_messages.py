"""What agents say to each other in a contract net and in a consensus: the bodies of their mail.

The contract net is Smith's (R. G. Smith, "The contract net protocol", IEEE Transactions on Computers C-29(12), 1980) in
the form of FIPA SC00029H (2002): a manager calls for proposals, contractors propose or refuse, the manager accepts one
proposal and rejects the others, and the contractor says what became of the task.

Times are epoch seconds. Nobody waits for an answer after ``reply_by``, so an agent that comes to a message later need
not work on it; clocks of machines may differ, so it is a courtesy and not what the manager relies on.
"""

import time
from typing import Annotated, Any

from pydantic import Field

from contracts.envelope import Contract

CALL = "contract_net.call"
AWARD = "contract_net.award"
REJECT = "contract_net.reject"
QUESTION = "consensus.question"

Confidence = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Cost = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


class Bid(Contract):
    """An offer to do a task. ``cost`` is in whatever unit the bidders share, seconds unless they agree on another;
    ``confidence`` is how sure the bidder is to succeed, 0 to 1; ``note`` and ``details`` are kept in the record."""

    cost: Cost
    confidence: Confidence = 1.0
    note: str = Field(default="", max_length=2_000)
    details: dict[str, Any] = Field(default_factory=dict)


class Decline(Contract):
    """No bid, and why."""

    reason: str = Field(default="", max_length=2_000)


class Timed(Contract):
    """``conversation_id`` is the same in every message of one contract net or consensus."""

    conversation_id: str
    sender_id: str = ""
    reply_by: float | None = None

    @property
    def too_late(self) -> bool:
        return self.reply_by is not None and time.time() > self.reply_by


class CallForProposals(Timed):
    """Who would do this, and for how much?"""

    action: str
    inputs: dict[str, Any] = Field(default_factory=dict)


class Proposal(Contract):
    """The answer to a call: a ``bid``, or the reason why it was ``declined``, or how making a bid ``failed``."""

    bid: Bid | None = None
    declined: str | None = None
    failed: str | None = None


class Award(Timed):
    """Do it, as you offered."""

    action: str
    inputs: dict[str, Any] = Field(default_factory=dict)
    bid: Bid


class Fulfilment(Contract):
    """What became of an awarded task: its ``output``, or its ``error`` in words and the error's ``code``."""

    output: dict[str, Any] | None = None
    error: str | None = None
    code: str = ""


class Rejection(Contract):
    """Another got the task, or nobody; ``reason`` says why not you."""

    conversation_id: str
    sender_id: str = ""
    action: str
    reason: str = ""


class Opinion(Contract):
    """What an agent answered in an earlier round, and its argument."""

    agent_id: str
    answer: Any
    argument: str = ""


class Answer(Contract):
    """An agent's answer: any JSON but null, which abstains, and the ``argument`` for it."""

    answer: Any
    argument: str = Field(default="", max_length=20_000)


class Question(Timed):
    """A question of ``round`` (from 1). From the second on, ``others`` holds what the other agents last answered, and
    not this one's own. With an ``action``, that capability answers it from the ``inputs``."""

    question: str
    round: int = Field(ge=1)
    others: tuple[Opinion, ...] = ()
    action: str | None = None
    inputs: dict[str, Any] = Field(default_factory=dict)


class QuestionAnswered(Contract):
    """The answer to a question of ``round``: an ``answer``, or the ``output`` of the action that was asked for, or how
    it ``failed``; none of them abstains."""

    round: int
    answer: Answer | None = None
    output: dict[str, Any] | None = None
    failed: str | None = None
