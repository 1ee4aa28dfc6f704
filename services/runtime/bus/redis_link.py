"""The connections of one service to Redis: one for commands, one on which Redis wakes it.

Calls that come together go together, in one write and one answer after the other; while Redis works on some, the next
gather. So one connection carries all of a service's calls, in the order they were made.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog
from faststream.redis import RedisBroker
from redis.asyncio.client import PubSub
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    InvalidResponse,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.runtime.bus import redis_scripts
from services.runtime.bus.base import BusError, BusUnavailable
from services.runtime.tls_refusals import tls_refusal

log = structlog.get_logger(__name__)

ANSWER_TIMEOUT: Final = 10.0  # seconds for connecting
CALLS_PER_SECOND, BYTES_PER_SECOND = 1_000, 4 * 1024 * 1024  # what a slow Redis does

LOST: Final = (RedisConnectionError, RedisTimeoutError, InvalidResponse, OSError, TimeoutError, EOFError)
_REFUSED: Final = (AuthenticationError, AuthorizationError)
# It answers, but not as one that takes messages: it is full, cannot write to its disk, or is a replica now.
_UNABLE: Final = (OutOfMemoryError, ReadOnlyError, MasterDownError, NoScriptError)
_UNABLE_WORDS: Final = ("MISCONF", "BUSY", "CLUSTERDOWN", "NOREPLICAS", "UNBLOCKED")
_ELSEWHERE: Final = (ReadOnlyError, MasterDownError, NoScriptError)  # cured by connecting again


class _Call:
    __slots__ = ("answer", "packed", "size")

    def __init__(self, packed: list[bytes], answer: "asyncio.Future[Any]") -> None:
        self.packed = packed
        self.size = sum(map(len, packed))
        self.answer = answer


class RedisLink:
    """Opened, lost, and opened again. ``woken`` is called with what Redis says on the channel.

    ``patience``: seconds that Redis has for an answer, and more for many calls or large ones.
    """

    def __init__(self, broker: RedisBroker, where: str, patience: float, woken: Callable[[bytes], None]) -> None:
        self.lost = asyncio.Event()
        self._broker = broker
        self._where = where
        self._patience = patience
        self._woken = woken
        self._connection: AbstractConnection | None = None
        self._pubsub: PubSub | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._calls: list[_Call] = []
        self._under_way: list[_Call] = []
        self._due = asyncio.Event()
        self._digests: dict[str, bytes] = {}

    @property
    def is_open(self) -> bool:
        return self._connection is not None and not self.lost.is_set()

    async def open(self, channel: str) -> None:
        """Connect, give Redis the scripts, and listen to ``channel``.

        Raises:
            BusError: it refuses the login or the database, or one side the other's certificate.
            BusUnavailable: it cannot be reached, or is not ready.
        """
        await self.close()
        self._due.clear()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await self._connect(channel)
        except BaseException as error:
            await self.close()
            if isinstance(error, RedisError | OSError | TimeoutError | EOFError):
                raise self._named(error, connecting=True) from error
            raise
        self.lost.clear()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._exchange_all()), loop.create_task(self._listen())]

    async def close(self) -> None:
        self._fail(BusUnavailable(f"not connected to Redis at {self._where}"))
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        connection, self._connection = self._connection, None
        pubsub, self._pubsub = self._pubsub, None
        try:
            if connection is not None:
                await connection.disconnect(nowait=True)
                await (await self._broker.connect()).connection_pool.release(connection)
            if pubsub is not None:
                await pubsub.aclose()  # type: ignore[no-untyped-call]
        except (*LOST, RedisError) as error:
            log.debug("connection not closed in good order", url=self._where, error=in_words(error))

    async def call(self, script: str, *arguments: str | bytes | int) -> Any:
        """Run a script.

        Raises:
            BusUnavailable: not connected, no answer in time (it may have run or not), or Redis takes no writes now.
            BusError: the script failed.
        """
        return await self.command("EVALSHA", self._digests.get(script, b""), 0, *arguments)

    async def command(self, *words: str | bytes | int) -> Any:
        """Run a command; raises as ``call`` does."""
        connection = self._connection
        if connection is None or self.lost.is_set():
            raise BusUnavailable(f"not connected to Redis at {self._where}")
        call = _Call(connection.pack_command(*words), asyncio.get_running_loop().create_future())
        self._calls.append(call)
        self._due.set()
        return await call.answer

    def lose(self, error: BaseException) -> None:
        """Take the connections for lost: they are to be opened again."""
        if not self.lost.is_set():
            self.lost.set()
            self._fail(self._named(error))

    async def _connect(self, channel: str) -> None:
        client = await self._broker.connect()
        self._connection = connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        for script in redis_scripts.ALL:
            await connection.send_command("SCRIPT", "LOAD", script)
            self._digests[script] = await connection.read_response()
        self._pubsub = client.pubsub()
        await self._pubsub.subscribe(channel)
        await self._pubsub.get_message(timeout=ANSWER_TIMEOUT)  # that it is subscribed

    async def _exchange_all(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            self._under_way, self._calls = self._calls, []
            try:
                await self._exchange(self._under_way)
            except LOST as error:
                self.lose(error)
                return

    async def _exchange(self, calls: list[_Call]) -> None:
        connection = self._connection
        assert connection is not None
        size = sum(call.size for call in calls)
        async with asyncio.timeout(self._patience + len(calls) / CALLS_PER_SECOND + size / BYTES_PER_SECOND):
            await connection.send_packed_command([part for call in calls for part in call.packed], check_health=False)
            for call in calls:
                try:
                    answer = await connection.read_response()
                except ResponseError as error:
                    if isinstance(error, _ELSEWHERE):
                        raise RedisConnectionError(in_words(error)) from error
                    if not call.answer.done():
                        call.answer.set_exception(self._named(error))
                else:
                    if not call.answer.done():
                        call.answer.set_result(answer)

    async def _listen(self) -> None:
        assert self._pubsub is not None
        try:
            while True:
                message = await self._pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
                if message is not None:
                    self._woken(message["data"])
        except (*LOST, RedisError) as error:
            self.lose(error)

    def _fail(self, error: BusError) -> None:
        calls = [*self._under_way, *self._calls]
        self._under_way, self._calls = [], []
        for call in calls:
            if not call.answer.done():
                call.answer.set_exception(error)

    def _named(self, error: BaseException, *, connecting: bool = False) -> BusError:
        words = f"Redis at {self._where}: {in_words(error)}"
        if isinstance(error, _REFUSED):
            return BusError(f"Redis at {self._where} refused: {error}")
        if connecting and (refusal := tls_refusal(error)):
            return BusError(f"Redis at {self._where}: {refusal}")
        if isinstance(error, (*LOST, *_UNABLE)) or str(error).startswith(_UNABLE_WORDS):
            return BusUnavailable(words)
        return BusError(f"Redis at {self._where} refused: {error}" if connecting else words)


def in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
