"""The errors of PostgreSQL and its driver as the store's."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from asyncpg import InterfaceError, InternalClientError, PostgresError
from asyncpg.exceptions import ClientConfigurationError, TargetServerAttributeNotMatched

from services.runtime.store.base import StoreError, StoreUnavailable, Unstorable
from services.runtime.tls_refusals import tls_refusal

# SQLSTATEs by which a server says "not now", by class or whole; appendix A of PostgreSQL's manual lists them.
_NOT_NOW = (
    "08",  # the connection failed
    "53",  # memory, disk, connections: used up
    "58",  # an error of the system below, such as of its disk
    "40",  # rolled back: a deadlock, or a server in recovery
    "55P03",  # a lock was not to be had
    "57014",  # the statement took too long
    "57P01",  # the server shuts down
    "57P02",  # another of its processes crashed
    "57P03",  # it starts
    "57P05",  # the session was idle for too long
    "25006",  # it is read-only: a standby
)
_NEVER = (
    "22",  # no value of the column's type, or more than it holds
    "54000",  # a limit of the program, such as the size of an index's key
)
_NO_SUCH_DATABASE = "3D000"


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Raise the driver's errors as StoreUnavailable (asking again may help), Unstorable (it never will for this value)
    or StoreError (it will not)."""
    try:
        yield
    except TimeoutError as error:
        raise StoreUnavailable(f"{action}: no answer in time") from error
    except ssl.SSLError as error:
        # The certificate may be renewed while nothing else changes.
        raise StoreUnavailable(f"{action}: {tls_refusal(error) or error}") from error
    except OSError as error:
        raise StoreUnavailable(f"{action}: {tls_refusal(error) or error}") from error
    except PostgresError as error:
        raise _of_server(action, error) from error
    except TargetServerAttributeNotMatched as error:
        raise StoreUnavailable(f"{action}: no server of the URL takes writes: {error}") from error
    except UnicodeEncodeError as error:
        raise Unstorable(f"{action}: the value cannot be written: {error}") from error
    except (ClientConfigurationError, InternalClientError) as error:
        failure = StoreUnavailable if out_of_step(error) else StoreError
        raise failure(f"{action}: {error}") from error
    except InterfaceError as error:
        if isinstance(error, ValueError):  # the driver's DataError, which it does not export
            raise Unstorable(f"{action}: the value cannot be written: {error}") from error
        # The connection was closed, or the pool is being closed.
        raise StoreUnavailable(f"{action}: {error}") from error


def out_of_step(error: Exception) -> bool:
    """Whether the driver does not know where it stands with its server on this connection, as when the server has said
    that it ends the connection and not closed it yet. Another connection may do."""
    return type(error) is InternalClientError


def _of_server(action: str, error: PostgresError) -> StoreError:
    state = error.sqlstate or ""
    told = f"{action}: {error} (SQLSTATE {state or 'unknown'})"
    if state == _NO_SUCH_DATABASE:
        return StoreError(f"{told}; it is not made by itself: CREATE DATABASE ... ENCODING 'UTF8'")
    if state.startswith(_NEVER):
        return Unstorable(told)
    return StoreUnavailable(told) if state.startswith(_NOT_NOW) else StoreError(told)
