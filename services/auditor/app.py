"""Auditor: who did what to which, from where and with what result, as an append-only hash chain with signed
checkpoints. It has no table: it takes copies of everything that is recorded, whatever they are (``writing``)."""

from faststream import FastStream

from contracts import topology
from services.auditor.checkpoints import open_checkpoints
from services.auditor.opening import opening_of
from services.auditor.writing import Writing
from services.runtime.bus.base import Bus
from services.runtime.faststream_app import configured_app
from services.runtime.service import Service
from services.runtime.settings import Settings
from services.runtime.store.base import Store
from services.runtime.store.open import open_store
from services.runtime.telemetry.health import store_answers
from services.runtime.telemetry.telemetry import Telemetry

NAME = "auditor"


def build(settings: Settings, bus: Bus, store: Store | None = None, *, telemetry: Telemetry | None = None) -> Service:
    store = store or open_store(settings)
    writing = Writing(bus, store, opening_of(bus), open_checkpoints(settings))
    # It takes a copy of each of their commands. With its own queue alone bound, the broker would take a command as
    # routed that nobody but the auditor sees: so it waits for whoever is to come.
    takers = [
        topology.orchestrator_commands(),
        topology.orchestrator_starts(),
        topology.registry_queue(),
        topology.access_queue(),
        topology.dead_letter_commands(),
    ]
    return Service(NAME, bus, resources=[store, writing], declares=takers, needs={"store": store_answers(store)})


def app() -> FastStream:
    """``faststream run services.auditor.app:app --factory``"""
    return configured_app(NAME, build)
