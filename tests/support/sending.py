"""Starts straight on the broker, by a load that outlives its being away."""

import asyncio

from contracts.execution import StartExecution
from services.runtime.bus.base import BusError
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Outbox


async def send_until_taken(outbox: Outbox, start: StartExecution, within: float) -> int:
    """Send it until the broker confirms it, which takes no longer than ``within`` seconds; returns how often it had to
    be sent again. It may be repeated: the execution has its id."""
    again = 0
    async with asyncio.timeout(within):
        while True:
            try:
                await outbox.send([Outgoing(start)])
                return again
            except BusError:
                again += 1
                await asyncio.sleep(0.1)
