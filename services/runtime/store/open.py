"""The store that the settings ask for."""

from importlib.util import find_spec
from urllib.parse import urlsplit

from services.runtime.security.encryption import open_cipher
from services.runtime.settings import POSTGRES_SCHEMES, Mode, Settings
from services.runtime.store.base import Store, StoreError
from services.runtime.store.encrypted import EncryptedStore
from services.runtime.tls import mongo_files, postgres_context


def open_store(settings: Settings) -> Store:
    """The store that ``DATABASE_URL`` points at, encrypted where MESSAGE_ENCRYPTION is not off, not started yet. Only
    the driver of that one need be installed.

    Raises:
        StoreError: it is not.
        BadSettings: the settings of TLS or the encryption keys cannot be used, or TLS contradicts the URL.
    """
    store = _plain_store(settings)
    cipher = open_cipher(settings)
    if cipher is None:
        return store
    return EncryptedStore(store, cipher, required=settings.message_encryption is Mode.REQUIRED)


def _plain_store(settings: Settings) -> Store:
    config = settings.get_database_config()
    if urlsplit(settings.database_url).scheme in POSTGRES_SCHEMES:
        _need("asyncpg", "PostgreSQL", "postgres")
        from services.runtime.store.postgres import PostgresStore

        return PostgresStore(**config, tls=postgres_context(settings))
    _need("motor", "MongoDB", "mongodb")
    from services.runtime.store.mongo import MongoStore

    return MongoStore(**config, tls=mongo_files(settings))


def _need(driver: str, store: str, extra: str) -> None:
    if find_spec(driver) is None:
        raise StoreError(
            f"DATABASE_URL asks for {store}, whose driver {driver} is not installed: pip install 'conclave[{extra}]'"
        )
