"""The store that the settings ask for."""

from importlib.util import find_spec
from urllib.parse import urlsplit

from services.runtime.settings import POSTGRES_SCHEMES, Settings
from services.runtime.store.base import Store, StoreError


def open_store(settings: Settings) -> Store:
    """The store that ``DATABASE_URL`` points at, not started yet. Only the driver of that one need be installed.

    Raises:
        StoreError: it is not.
    """
    config = settings.get_database_config()
    if urlsplit(settings.database_url).scheme in POSTGRES_SCHEMES:
        _need("asyncpg", "PostgreSQL", "postgres")
        from services.runtime.store.postgres import PostgresStore

        return PostgresStore(**config)
    _need("motor", "MongoDB", "mongodb")
    from services.runtime.store.mongo import MongoStore

    return MongoStore(**config)


def _need(driver: str, store: str, extra: str) -> None:
    if find_spec(driver) is None:
        raise StoreError(
            f"DATABASE_URL asks for {store}, whose driver {driver} is not installed: pip install 'conclave[{extra}]'"
        )
