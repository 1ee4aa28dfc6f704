"""The registry: writes down what agent hosts announce. Its table is one row."""

from faststream import FastStream

from contracts import topology
from contracts.agents import AgentAnnounced
from services.registry.announcements import Announcements
from services.runtime.bus.base import Bus
from services.runtime.faststream_app import configured_app
from services.runtime.service import Route, Service
from services.runtime.settings import Settings
from services.runtime.store.base import Store
from services.runtime.store.open import open_store

NAME = "registry"


def build(settings: Settings, bus: Bus, store: Store | None = None) -> Service:
    store = store or open_store(settings)
    announcements = Announcements(store)
    table = [Route(topology.registry_queue(), handlers={AgentAnnounced: announcements.record})]
    return Service(NAME, bus, routes=table, resources=[store])


def app() -> FastStream:
    """``faststream run services.registry.app:app --factory``"""
    return configured_app(NAME, build)
