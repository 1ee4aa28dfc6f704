"""The decision agent makes decisions.

It takes work from its type's queue, its quarantine and its named agents' queues.
"""

from faststream import FastStream

from services.decision_agent.agent import DecisionAgent
from services.runtime.bus.base import Bus
from services.runtime.faststream_app import configured_app
from services.runtime.hosting.host import agent_service
from services.runtime.service import Service
from services.runtime.settings import Settings
from services.runtime.telemetry.telemetry import Telemetry


def build(settings: Settings, bus: Bus, *, telemetry: Telemetry | None = None) -> Service:
    return agent_service(DecisionAgent, settings, bus, telemetry=telemetry)


def app() -> FastStream:
    """``faststream run services.decision_agent.app:app --factory``"""
    return configured_app("decision_agent", build)
