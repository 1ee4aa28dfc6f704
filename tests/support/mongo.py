"""A server that speaks MongoDB's protocol as a test looks at it from outside, past the store."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient


@contextmanager
def own_mongo_database(url: str) -> Iterator[str]:
    """The name of a database of one test's own, which is dropped at the end.

    Not from the embedded store: there a drop costs a write to disk for each document and index entry, seconds for a
    few hundred, and its data goes with the server.
    """
    name = f"test_{uuid.uuid4().hex}"
    yield name
    with MongoClient[dict[str, Any]](url) as client:
        if "secantusVersion" not in client.server_info():
            client.drop_database(name)
