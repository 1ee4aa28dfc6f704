"""The coordinator agent: several agents or several answers, and one result.

It takes work and mail from its type's queue, its quarantine and its instances' queues, as every agent host does. What
it does with them:

- ``aggregate`` (aggregation, merging) and ``vote`` (ballots, tallies, voting): from their inputs alone;
- ``contract_net`` (bidding decides) and ``consensus`` (agreement counts): it asks other agents (peers), in the messages
  of ``services.runtime.agent.negotiation_messages``;
- ``delegate`` (delegation): it starts another workflow and asks the orchestrator how that stands.
"""

from faststream import FastStream

from services.coordinator_agent.agent import CoordinatorAgent
from services.runtime.bus.base import Bus
from services.runtime.faststream_app import configured_app
from services.runtime.hosting.host import agent_service
from services.runtime.service import Service
from services.runtime.settings import Settings
from services.runtime.telemetry.telemetry import Telemetry


def build(settings: Settings, bus: Bus, *, telemetry: Telemetry | None = None) -> Service:
    return agent_service(CoordinatorAgent, settings, bus, telemetry=telemetry)


def app() -> FastStream:
    """``faststream run services.coordinator_agent.app:app --factory``"""
    return configured_app("coordinator_agent", build)
