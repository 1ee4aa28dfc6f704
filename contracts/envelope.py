"""The message base class, and the envelope in which every message travels."""

import uuid
from datetime import UTC, datetime
from functools import cache
from typing import ClassVar, Generic, TypeVar, cast

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from contracts.topology import Address


class Contract(BaseModel):
    """A frozen value that crosses a service boundary. Unknown fields are ignored on read, so that an older
    service understands a newer one."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Message(Contract):
    """A contract with a versioned type (``name.vN``) that knows its own address."""

    TYPE: ClassVar[str]

    def address(self) -> Address:
        """Where this message is published. A reply has no address of its own: it goes where it was asked for."""
        raise NotImplementedError(f"{type(self).__name__} is only ever sent as a reply")


M = TypeVar("M", bound=Message)


def new_id() -> str:
    return uuid.uuid4().hex


class Envelope(Contract, Generic[M]):
    """What travels: a message, and what everyone may ask of any message.

    ``correlation_id`` follows one request through every service; ``causation_id`` is the id of the message
    that this one answers or follows from. ``actor`` is on whose behalf it was sent, where that is somebody else than
    the sender: ``key:NAME`` or ``user:NAME`` of a request.
    """

    id: str = Field(min_length=1, max_length=200)
    type: str
    sender: str = Field(max_length=200)
    receiver: str = Field(default="", max_length=200)
    timestamp: AwareDatetime
    correlation_id: str = Field(default="", max_length=200)
    causation_id: str = Field(default="", max_length=200)
    retry_count: int = Field(default=0, ge=0)
    actor: str = Field(default="", max_length=300)
    payload: M


def wrap(
    message: M,
    *,
    sender: str,
    receiver: str = "",
    correlation_id: str = "",
    causation_id: str = "",
    message_id: str | None = None,
    retry_count: int = 0,
    actor: str = "",
) -> Envelope[M]:
    """Put a message into an envelope; ``receiver`` says whom it is meant for."""
    return envelope_of(type(message))(
        id=message_id or new_id(),
        type=message.TYPE,
        sender=sender,
        receiver=receiver,
        timestamp=datetime.now(UTC),
        correlation_id=correlation_id,
        causation_id=causation_id,
        retry_count=retry_count,
        actor=actor,
        payload=message,
    )


@cache
def envelope_of(message_class: type[M]) -> type[Envelope[M]]:
    """The envelope model of one message class: reads and writes both in one pass over the bytes."""
    return cast(type[Envelope[M]], Envelope.__class_getitem__(message_class))
