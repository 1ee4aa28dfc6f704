"""The coordinator agent brings together what several agents say.

It takes work from its type's queue, its quarantine and its named agents' queues.
"""

from faststream import FastStream

from services.coordinator_agent.agent import CoordinatorAgent
from services.runtime.bus.base import Bus
from services.runtime.faststream_app import configured_app
from services.runtime.hosting.host import agent_service
from services.runtime.service import Service
from services.runtime.settings import Settings


def build(settings: Settings, bus: Bus) -> Service:
    return agent_service(CoordinatorAgent, settings, bus)


def app() -> FastStream:
    """``faststream run services.coordinator_agent.app:app --factory``"""
    return configured_app("coordinator_agent", build)
