"""Access: keeps API keys. Its table, and beside it what a new installation begins with (``first_start``)."""

from faststream import FastStream

from contracts import topology
from contracts.access import CreateApiKey, RevokeApiKey, RotateApiKey
from services.access.commanding import Commanding
from services.access.first_start import FirstStart
from services.access.keeping import Keeper
from services.runtime.bus.base import Bus
from services.runtime.faststream_app import configured_app
from services.runtime.service import Route, Service
from services.runtime.settings import Settings
from services.runtime.store.base import Store
from services.runtime.store.open import open_store
from services.runtime.telemetry.health import store_answers
from services.runtime.telemetry.telemetry import Telemetry

NAME = "access"


def build(settings: Settings, bus: Bus, store: Store | None = None, *, telemetry: Telemetry | None = None) -> Service:
    store = store or open_store(settings)
    commanding = Commanding(Keeper(store))
    table = Route(
        topology.access_queue(),
        handlers={
            CreateApiKey: commanding.create,
            RotateApiKey: commanding.rotate,
            RevokeApiKey: commanding.revoke,
        },
        # One after the other: what is decided of one key depends on the others.
        prefetch=1,
    )
    return Service(
        NAME,
        bus,
        routes=[table],
        resources=[store, FirstStart(store, settings)],
        needs={"store": store_answers(store)},
    )


def app() -> FastStream:
    """``faststream run services.access.app:app --factory``"""
    return configured_app(NAME, build)
