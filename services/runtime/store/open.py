"""The store that the settings ask for."""

from services.runtime.settings import Settings
from services.runtime.store.base import Store
from services.runtime.store.mongo import MongoStore


def open_store(settings: Settings) -> Store:
    """The store that ``DATABASE_URL`` points at, not started yet."""
    return MongoStore(**settings.get_database_config())
