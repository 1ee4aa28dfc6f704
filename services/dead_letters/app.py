"""Dead letters: keeps what could not be handled, and publishes it again or throws it away when told to. Its table, and
beside it the queue of the letters themselves (``burying``)."""

from faststream import FastStream

from contracts import topology
from contracts.dead_letters import DiscardDeadLetter, ReplayDeadLetter
from services.dead_letters.burying import Burying
from services.dead_letters.settling import Settling
from services.runtime.bus.base import Bus
from services.runtime.faststream_app import configured_app
from services.runtime.service import Route, Service
from services.runtime.settings import Settings
from services.runtime.store.base import Store
from services.runtime.store.open import open_store
from services.runtime.telemetry.health import store_answers
from services.runtime.telemetry.telemetry import Telemetry

NAME = "dead_letters"


def build(settings: Settings, bus: Bus, store: Store | None = None, *, telemetry: Telemetry | None = None) -> Service:
    store = store or open_store(settings)
    settling = Settling(bus, store)
    table = Route(
        topology.dead_letter_commands(),
        handlers={ReplayDeadLetter: settling.replay, DiscardDeadLetter: settling.discard},
    )
    service = Service(
        NAME,
        bus,
        routes=[table],
        resources=[store],
        declares=[topology.unstorable_letters()],
        needs={"store": store_answers(store)},
    )
    Burying(bus, store)
    return service


def app() -> FastStream:
    """``faststream run services.dead_letters.app:app --factory``"""
    return configured_app(NAME, build)
