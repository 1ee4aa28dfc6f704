"""What the calling work belongs to: a service, a request, and an execution, a step and an agent where there is one.

It stands on every log line that the work causes (``services.runtime.logs``), and the request's correlation id goes on
with what it sends. Tasks and worker threads (``asyncio.to_thread``) begin with what was in hand where they began.
"""

from collections.abc import Mapping
from contextvars import Context, ContextVar, Token, copy_context
from types import MappingProxyType
from typing import Any, TypedDict, Unpack

InHand = Mapping[str, str | int]

_NOTHING: InHand = MappingProxyType({})
_SERVICE = "service"
_in_hand: ContextVar[InHand] = ContextVar("work_in_hand", default=_NOTHING)


class Work(TypedDict, total=False):
    """What a piece of work may belong to, by the names that log lines have for it. Empty values say nothing."""

    correlation_id: str
    execution_id: str
    step: str
    attempt: int
    agent_type: str
    agent_id: str


# What a message may say of the work that it asks for.
SAID_BY_MESSAGES = tuple(name for name in Work.__annotations__ if name != "correlation_id")


def in_hand() -> InHand:
    """What the calling work belongs to: the fields of ``Work`` that are known, and ``service``."""
    return _in_hand.get()


def current_correlation() -> str:
    """The correlation id of the work in hand; empty where there is none."""
    return str(_in_hand.get().get("correlation_id", ""))


def current_service() -> str:
    """The service that the calling work belongs to; empty where that is not known."""
    return str(_in_hand.get().get(_SERVICE, ""))


def in_service(name: str) -> None:
    """From here to the end of the task, work belongs to that service, and to no request."""
    _in_hand.set({_SERVICE: name})


def take_in_hand(**work: Unpack[Work]) -> None:
    """From here to the end of the task, this is the work of the service in hand, and nothing else is."""
    _in_hand.set(_of_service(work))


def add_to_hand(**work: Unpack[Work]) -> None:
    """From here to the end of the task, or of the block, this is known too."""
    _in_hand.set({**_in_hand.get(), **_known(work)})


def without_work() -> Context:
    """A context like the calling one in which no work is in hand, for a task that outlives the request that began it.
    The service stays."""
    context = copy_context()
    context.run(take_in_hand)
    return context


class holding:
    """A block in which this is the work of the service in hand, or of ``service``, and nothing else is. A class, since
    every message passes here and one costs a third of a generator."""

    __slots__ = ("_held", "_token")

    def __init__(self, service: str = "", **work: Unpack[Work]) -> None:
        self._held: InHand = {_SERVICE: service, **_known(work)} if service else _of_service(work)
        self._token: Token[InHand] | None = None

    def __enter__(self) -> None:
        self._token = _in_hand.set(self._held)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _in_hand.reset(self._token)


def _of_service(work: Work) -> InHand:
    service = _in_hand.get().get(_SERVICE)
    return {_SERVICE: service, **_known(work)} if service else _known(work)


def _known(work: Work) -> dict[str, Any]:
    return {name: value for name, value in work.items() if value}
