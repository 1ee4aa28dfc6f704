"""Limits of an agent: how many calls at once, how many a second, how large. Waited for before work begins; sizes are
refused by name."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any

from pydantic_core import to_json

from contracts.agents import AgentLimits, CapabilityLimits
from services.runtime.agent.capability import CapabilityError

_FIELDS = tuple(CapabilityLimits.model_fields)
_FREE: AbstractAsyncContextManager[None] = nullcontext()


def overlay(base: AgentLimits, over: AgentLimits) -> AgentLimits:
    """Both limits in one, field by field and capability by capability; what ``over`` says wins."""
    names = sorted({*base.capabilities, *over.capabilities})
    none = CapabilityLimits()
    each = {
        name: CapabilityLimits(**_joined(base.capabilities.get(name, none), over.capabilities.get(name, none)))
        for name in names
    }
    return AgentLimits(**_joined(base, over), capabilities=each)


def _joined(base: CapabilityLimits, over: CapabilityLimits) -> dict[str, Any]:
    chosen = ((field, getattr(base, field), getattr(over, field)) for field in _FIELDS)
    return {field: above if above is not None else below for field, below, above in chosen}


class TokenBucket:
    """Pure arithmetic of a rate. It holds one token at most, so that begins are evenly spaced and no second has more
    of them than ``rate`` allows. Times are seconds of any one clock."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next = float("-inf")

    def wait(self, now: float) -> float:
        """Seconds until there is a token."""
        return max(0.0, self._next - now)

    def take(self, now: float) -> None:
        # From when it was due and not from when the loop came to it, or the rate would be missed by every delay.
        due = self._next if now - self._next < self._interval else now
        self._next = due + self._interval


class Pace:
    """Lets callers through at a rate, first come, first served. One that gives up takes no token."""

    def __init__(self, rate: float) -> None:
        self._bucket = TokenBucket(rate)
        self._turn = asyncio.Lock()

    async def wait(self) -> None:
        loop = asyncio.get_running_loop()
        async with self._turn:
            if (delay := self._bucket.wait(loop.time())) > 0:
                await asyncio.sleep(delay)
            self._bucket.take(loop.time())


class Gate:
    """The places and the pace of one limit."""

    def __init__(self, limits: CapabilityLimits) -> None:
        self.places = None if limits.concurrency is None else asyncio.Semaphore(limits.concurrency)
        self.pace = None if limits.rate is None else Pace(limits.rate)

    @property
    def open(self) -> bool:
        return self.places is None and self.pace is None


class Admission:
    """Who may begin, by the limits of one agent and, for steps, by the places of its host.

    A place is waited for first and a token last, so that begins keep their pace; the host's place comes after both, so
    that an agent that is held back by its own limits holds back no other. ``waiting`` are actions that wait for other
    agents: they take none of the host's places, or what they wait for might find none.
    """

    def __init__(
        self,
        limits: AgentLimits,
        places: AbstractAsyncContextManager[Any] | None = None,
        waiting: Collection[str] = (),
    ) -> None:
        whole = Gate(limits)
        self._whole = () if whole.open else (whole,)
        each: Mapping[str, Gate] = {name: Gate(one) for name, one in limits.capabilities.items()}
        self._each = {name: gate for name, gate in each.items() if not gate.open}
        self._places = places
        self._waiting = frozenset(waiting)

    @property
    def unlimited(self) -> bool:
        """Whether the agent has no limit of its own that is waited for."""
        return not self._whole and not self._each

    def of_step(self, action: str) -> AbstractAsyncContextManager[None]:
        return self._through(action, None if action in self._waiting else self._places)

    def of_mail(self, action: str) -> AbstractAsyncContextManager[None]:
        """Mail takes no place of the host: who asks an agent of its own host would hold the place it needs."""
        return self._through(action, None)

    def _through(
        self, action: str, places: AbstractAsyncContextManager[Any] | None
    ) -> AbstractAsyncContextManager[None]:
        own = self._each.get(action)
        gates = self._whole if own is None else (own, *self._whole)
        if gates:
            return _passing(gates, places)
        return _FREE if places is None else places


@asynccontextmanager
async def _passing(gates: tuple[Gate, ...], places: AbstractAsyncContextManager[Any] | None) -> AsyncIterator[None]:
    async with AsyncExitStack() as held:
        for gate in gates:
            if gate.places is not None:
                await held.enter_async_context(gate.places)
        for gate in gates:
            if gate.pace is not None:
                await gate.pace.wait()
        if places is not None:
            await held.enter_async_context(places)
        yield


class Sizes:
    """The largest inputs and outputs of an agent's actions, in bytes of JSON."""

    def __init__(self, limits: AgentLimits) -> None:
        self._inputs = _Largest(limits, "max_input_bytes")
        self._outputs = _Largest(limits, "max_output_bytes")

    def check_input(self, action: str, inputs: Any) -> None:
        """
        Raises:
            CapabilityError: ``InputTooLarge``, with both numbers.
        """
        if (limit := self._inputs.of(action)) is not None:
            _check(inputs, limit, f"the inputs of {action or 'a message'} are", "InputTooLarge")

    def check_output(self, action: str, output: Any) -> None:
        """
        Raises:
            CapabilityError: ``OutputTooLarge``, with both numbers.
        """
        if (limit := self._outputs.of(action)) is not None:
            _check(output, limit, f"the output of {action or 'a message'} is", "OutputTooLarge")


class _Largest:
    """One kind of size: the agent's limit, and those of single actions where they are smaller."""

    def __init__(self, limits: AgentLimits, field: str) -> None:
        self._whole: int | None = getattr(limits, field)
        own = {name: getattr(one, field) for name, one in limits.capabilities.items()}
        self._own: dict[str, int] = {
            name: limit if self._whole is None else min(limit, self._whole)
            for name, limit in own.items()
            if limit is not None
        }

    def of(self, action: str) -> int | None:
        return self._own.get(action, self._whole)


def _check(value: Any, limit: int, what: str, code: str) -> None:
    # Values that are no JSON are refused elsewhere, by a name of their own.
    size = len(to_json(value, inf_nan_mode="constants", serialize_unknown=True))
    if size > limit:
        message = f"{what} {size} bytes; at most {limit} are allowed"
        raise CapabilityError(message, code=code, details={"bytes": size, "allowed": limit})
