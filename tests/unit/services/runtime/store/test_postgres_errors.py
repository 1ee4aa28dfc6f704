"""Which of the errors of PostgreSQL and its driver mean "not now" and which mean "never"."""

import ssl

import asyncpg
import pytest
from asyncpg import exceptions as errors
from asyncpg.exceptions import _base as of_driver

from services.runtime.store.base import StoreError, StoreUnavailable, Unstorable
from services.runtime.store.postgres_errors import translated

NOT_NOW = [
    TimeoutError(),
    ConnectionRefusedError(111, "refused"),
    ConnectionResetError("reset"),
    OSError("Name or service not known"),
    ssl.SSLCertVerificationError("certificate has expired"),  # it may be renewed
    errors.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
    errors.TooManyConnectionsError("sorry, too many clients already"),
    errors.DiskFullError("no space left on device"),
    errors.PostgresIOError("could not write"),
    errors.DeadlockDetectedError("deadlock detected"),
    errors.SerializationError("conflict with recovery"),
    errors.LockNotAvailableError("not now"),
    errors.QueryCanceledError("statement timeout"),
    errors.AdminShutdownError("terminating connection"),
    errors.CrashShutdownError("another process crashed"),
    errors.CannotConnectNowError("the database system is starting up"),
    errors.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"),
    errors.TargetServerAttributeNotMatched("none is a primary"),
    asyncpg.InterfaceError("connection is closed"),
    errors.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
]
REFUSED = [
    errors.InvalidPasswordError("password authentication failed"),
    errors.InsufficientPrivilegeError("permission denied"),
    errors.UndefinedTableError('relation "log" does not exist'),
    errors.InvalidCatalogNameError('database "x" does not exist'),
    errors.ClientConfigurationError("`sslmode` parameter must be one of ..."),
    errors.ProtocolError("unexpected message"),
]
NEVER = [
    errors.DataError("value out of range"),
    of_driver.DataError("invalid input for query argument $1"),
    errors.CharacterNotInRepertoireError("invalid byte sequence"),
    errors.ProgramLimitExceededError("index row size exceeds maximum"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
]


@pytest.mark.parametrize("error", NOT_NOW, ids=repr)
def test_what_may_pass_is_unavailability(error: Exception) -> None:
    with pytest.raises(StoreUnavailable, match=r"^read log: .") as raised, translated("read log"):
        raise error
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", REFUSED, ids=repr)
def test_what_asking_again_will_not_help_is_an_error(error: Exception) -> None:
    with pytest.raises(StoreError, match=r"^read log: .") as raised, translated("read log"):
        raise error
    assert type(raised.value) is StoreError


@pytest.mark.parametrize("error", NEVER, ids=repr)
def test_a_value_that_can_never_be_written_is_told_apart(error: Exception) -> None:
    with pytest.raises(Unstorable, match=r"^append: .") as raised, translated("append"):
        raise error
    assert type(raised.value) is Unstorable


@pytest.mark.parametrize("error", [KeyError("ours"), StoreUnavailable("already told")], ids=["bug", "told"])
def test_what_is_not_the_drivers_is_left_alone(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, translated("read log"):
        raise error
    assert raised.value is error
