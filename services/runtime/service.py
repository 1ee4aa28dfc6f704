"""Service: a name and a table of what it listens to. The runtime reads, sends, and acks last."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import structlog

from contracts import topology
from contracts.envelope import Envelope, Message
from contracts.execution import Refused
from contracts.monitoring import CheckResult
from contracts.topology import Address, Queue
from contracts.traceparent import HEADER as TRACEPARENT
from contracts.traceparent import normalized
from services.runtime.bus.base import Bus, BusError, Delivery, Receive, UnroutableMessage
from services.runtime.correlation import SAID_BY_MESSAGES, Work, current_service, holding, in_service
from services.runtime.envelope_codec import Outgoing, UnreadableMessage, decode, encode
from services.runtime.security.senders import ForbiddenSender
from services.runtime.store.base import StoreUnavailable, Unreadable
from services.runtime.telemetry.health import Check, checked

log = structlog.get_logger(__name__)

M = TypeVar("M", bound=Message)

PAUSE_BEFORE_RETRY = 0.5  # seconds: a message that fails again and again must not keep a core busy


class Refusal(Exception):
    """A handler refuses a command. Whoever asked for a reply gets it; a command that was sent straight onto the
    broker without asking is dead-lettered, and the refusal published as an event."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class Resource(Protocol):
    """Something a service holds open while it runs: a store, a timer, an outbox with work in it."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(slots=True)
class Received(Generic[M]):
    """A message that was read, with the means to answer and to settle it."""

    envelope: Envelope[M]
    delivery: Delivery

    @property
    def message(self) -> M:
        return self.envelope.payload

    @property
    def correlation_id(self) -> str:
        return self.envelope.correlation_id or self.envelope.id

    @property
    def traceparent(self) -> str:
        """The span that it was sent under; empty where none was said that can be read."""
        return normalized(self.delivery.headers.get(TRACEPARENT))

    @property
    def wants_reply(self) -> bool:
        return bool(self.delivery.reply_to)

    def reply(self, message: Message) -> Outgoing[Message]:
        """An answer to whoever asked; it carries the id of the question as its correlation id."""
        return self.follow(message, to=topology.reply(self.delivery.reply_to), correlation_id=self.envelope.id)

    def follow(
        self, message: Message, *, to: Address | None = None, correlation_id: str | None = None
    ) -> Outgoing[Message]:
        """A message caused by this one."""
        return Outgoing(
            message,
            to=to,
            correlation_id=self.correlation_id if correlation_id is None else correlation_id,
            causation_id=self.envelope.id,
            actor=self.envelope.actor,
            traceparent=self.traceparent if to is None else "",
        )


Handler = Callable[[Received[Any]], Awaitable[Iterable[Outgoing[Any]]]]
Intake = Callable[[Received[Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Route:
    """A row of a service's table: from which queue, which messages, and what they meet.

    A handler in ``handlers`` is a function that returns messages: the runtime sends them, then acks. A function in
    ``intakes`` takes over the message with the duty to settle it, which is what batching needs.
    """

    queue: Queue
    handlers: Mapping[type[Message], Handler] = field(default_factory=dict)
    intakes: Mapping[type[Message], Intake] = field(default_factory=dict)
    prefetch: int = 50

    @property
    def accepts(self) -> tuple[type[Message], ...]:
        return (*self.handlers, *self.intakes)


class Outbox:
    """Sends messages in one service's name."""

    def __init__(self, bus: Bus, sender: str) -> None:
        self._bus = bus
        self._sender = sender

    async def send(self, outgoing: Iterable[Outgoing[Any]]) -> None:
        """Publish all and return when every one is confirmed.

        Raises:
            UnroutableMessage, BusUnavailable: as the bus says.
        """
        frames = [encode(one, self._sender) for one in outgoing]
        if frames:
            await self._bus.publish(frames)


class Receiver:
    """What becomes of a delivery: it is read, meets its handler, and is settled whatever comes of that. While it is,
    what the message is about is in hand of ``service``, or of that in whose work ``receive_by`` is called."""

    def __init__(self, outbox: Outbox, service: str = "") -> None:
        self._outbox = outbox
        self._service = service

    def receive_by(self, route: Route) -> Receive:
        """What a subscription to the route's queue calls for each delivery."""
        accepts = {message_class.TYPE: message_class for message_class in route.accepts}
        handlers = {cls.TYPE: handler for cls, handler in route.handlers.items()}
        intakes = {cls.TYPE: intake for cls, intake in route.intakes.items()}
        says = {cls.TYPE: [one for one in SAID_BY_MESSAGES if one in cls.model_fields] for cls in route.accepts}
        service = self._service or current_service()

        async def receive(delivery: Delivery) -> None:
            try:
                envelope = decode(delivery, accepts)
            except UnreadableMessage as error:
                with holding(service, correlation_id=delivery.correlation_id):
                    await self._refuse_unread(delivery, error)
                return
            delivery.was_sent(envelope.timestamp)
            received: Received[Message] = Received(envelope, delivery)
            intake = intakes.get(envelope.type)
            about = _about(received, says[envelope.type])
            with holding(service, **about):
                log.debug("message taken", type=envelope.type, queue=delivery.queue, message_id=envelope.id)
                await self._meet(received, self._answering(handlers[envelope.type]) if intake is None else intake)

        return receive

    async def _refuse_unread(self, delivery: Delivery, error: UnreadableMessage) -> None:
        log.warning(
            "message refused",
            type=delivery.type,
            queue=delivery.queue,
            message_id=delivery.message_id,
            reason=error.reason,
            detail=error.detail,
        )
        await delivery.dead_letter(error.reason, error.detail)

    def _answering(self, handler: Handler) -> Intake:
        async def handle(received: Received[Any]) -> None:
            await self._outbox.send(await handler(received))
            await received.delivery.ack()

        return handle

    async def _meet(self, received: Received[Message], intake: Intake) -> None:
        try:
            await intake(received)
        except Refusal as refusal:
            await self._refuse(received, refusal.refused)
        except ForbiddenSender as error:
            log.warning("message refused", type=received.envelope.type, reason="forbidden-sender", detail=error.detail)
            await received.delivery.dead_letter("forbidden-sender", error.detail)
        except UnroutableMessage as error:
            await received.delivery.dead_letter("handler-failed", str(error))
        except Unreadable as error:
            # Given back, it would be so again and again. Whoever gets the key back replays the dead letter.
            log.error("what is stored cannot be read", error=str(error), type=received.envelope.type)
            await self._refuse(received, Refused(code="unavailable", message=f"what is stored cannot be read: {error}"))
        except (BusError, StoreUnavailable) as error:
            log.warning("cannot be handled now, message given back", error=str(error), type=received.envelope.type)
            await self._give_back(received)
        except Exception:
            # The queue's delivery limit ends this if the fault is in the message; its dead letter then says so.
            log.exception("handler failed, message given back", type=received.envelope.type)
            await self._give_back(received)

    async def _refuse(self, received: Received[Message], refused: Refused) -> None:
        try:
            if received.wants_reply:
                await self._outbox.send([received.reply(refused)])
                await received.delivery.ack()
            else:
                log.info("refused", type=received.envelope.type, code=refused.code, detail=refused.message)
                await self._outbox.send([received.follow(refused)])
                await received.delivery.dead_letter("refused", refused.message)
        except BusError:
            await self._give_back(received)

    async def _give_back(self, received: Received[Message]) -> None:
        await asyncio.sleep(PAUSE_BEFORE_RETRY)
        await received.delivery.retry()


def _about(received: Received[Message], says: Sequence[str]) -> Work:
    about = Work(correlation_id=received.correlation_id)
    for name in says:
        about[name] = getattr(received.message, name)  # type: ignore[literal-required]
    return about


async def _in_good_order(stop: Callable[[], Awaitable[None]]) -> None:
    """One part that fails to stop keeps no other from it."""
    try:
        await stop()
    except Exception:
        log.exception("could not be stopped in good order", what=getattr(stop, "__qualname__", repr(stop)))


class Service:
    """A service: its name, its table, and what it holds open.

    Resources start in order before the first message is taken and stop in reverse order after the last. ``declares``
    are queues that others take from and that must be there for what this service causes. ``listening`` is set while
    messages are taken. ``needs`` are the checks, by name, of what it needs beside the bus in order to be ready.
    ``sender`` is the name that it sends by, where that is not its own: a host's id.
    """

    def __init__(
        self,
        name: str,
        bus: Bus,
        *,
        routes: Sequence[Route] = (),
        resources: Sequence[Resource] = (),
        declares: Sequence[Queue] = (),
        listening: asyncio.Event | None = None,
        needs: Mapping[str, Check] | None = None,
        sender: str = "",
    ) -> None:
        self.name = name
        self.sender = sender or name
        self.bus = bus
        self.routes = tuple(routes)
        self._resources = tuple(resources)
        self._declares = tuple(declares)
        self._needs = dict(needs or {})
        self._started: list[Resource] = []
        self._last_words: list[Callable[[], Awaitable[None]]] = []
        self._listening = asyncio.Event() if listening is None else listening
        receiver = Receiver(Outbox(bus, name), name)
        for route in self.routes:
            bus.subscribe(route.queue, receiver.receive_by(route), prefetch=route.prefetch, accepts=route.accepts)

    @property
    def running(self) -> bool:
        return self._listening.is_set()

    async def checks(self) -> tuple[CheckResult, ...]:
        """What it needs in order to be ready, and how that is."""
        own = {"started": self._is_started, "bus": self._bus_is_there, "consuming": self._is_consuming}
        return tuple(await asyncio.gather(*(checked(name, check) for name, check in {**own, **self._needs}.items())))

    def before_close(self, say: Callable[[], Awaitable[None]]) -> None:
        """Have ``say`` called whenever all work in hand has ended and the bus is about to be closed."""
        self._last_words.append(say)

    async def start(self) -> None:
        in_service(self.name)
        for resource in self._resources:
            await resource.start()
            self._started.append(resource)
        await self.bus.start(self._declares)
        self._listening.set()
        log.info("service started", queues=[route.queue.name for route in self.routes])

    async def stop(self) -> None:
        """Stop taking messages, let resources finish what they hold, then disconnect. Cancelled, it disconnects all the
        same, and what is in hand goes back."""
        in_service(self.name)
        self._listening.clear()
        try:
            ending = (self.bus.stop_consuming, *(one.stop for one in reversed(self._started)), *self._last_words)
            for stop in ending:
                await _in_good_order(stop)
        finally:
            await _in_good_order(self.bus.close)
        self._started.clear()
        log.info("service stopped")

    async def _is_started(self) -> str:
        return "" if self.running else "not started, or ending"

    async def _bus_is_there(self) -> str:
        return "" if self.bus.connected else "not connected"

    async def _is_consuming(self) -> str:
        missing = self.bus.not_consuming()
        return f"not consuming from {', '.join(missing)}" if missing else ""
