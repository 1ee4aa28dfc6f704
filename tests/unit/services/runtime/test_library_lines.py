"""Lines of libraries that repeat ours are written only where everything is wanted, and no others are lost."""

import logging

import pytest
from aio_pika.robust_channel import RobustChannel
from aio_pika.tools import OneShotCallback

from tests.support.log_capture import captured_lines

REPEATING = [
    ("aiormq.connection", logging.ERROR, "error when creating transport: %r", (OSError("refused"),)),
    (
        "aio_pika.robust_connection",
        logging.WARNING,
        'Connection attempt to "%s" failed: %s. Reconnecting after %r seconds.',
        ("amqp://broker", "refused", 1.0),
    ),
]
TELLING = [
    ("aiormq.connection", logging.ERROR, "Unexpected connection close from remote %r", ("CONNECTION_FORCED",)),
    ("aio_pika.robust_connection", logging.ERROR, "Reconnect attempt failed %s due to %s: %s.", ("a", "KeyError", "b")),
    ("aio_pika.tools", logging.ERROR, "Callback %r error: %s: %s", (len, "ValueError", "no")),
    ("pymongo", logging.ERROR, "error when creating transport: %r", ("of another library",)),
    ("uvicorn.error", logging.ERROR, "Exception in ASGI application", ()),
]


async def closing(kind: str, error: str) -> tuple[str, int, str, tuple[object, ...]]:
    callback = OneShotCallback(RobustChannel._on_close.__get__(object()))
    return ("aio_pika.tools", logging.ERROR, "Callback %r error: %s: %s", (callback, kind, error))


def said(records: list[tuple[str, int, str, tuple[object, ...]]], level: str) -> int:
    with captured_lines(level=level) as lines:
        for name, gravity, text, args in records:
            logging.getLogger(name).log(gravity, text, *args)
    return len(lines)


async def test_what_repeats_our_own_lines_is_for_debugging() -> None:
    records = [
        *REPEATING,
        await closing("RuntimeError", "<Connection: amqp://broker> closed"),
        await closing("ChannelInvalidStateError", "RobustChannel is not open"),
    ]
    assert said(records, "INFO") == 0
    assert said(records, "DEBUG") == len(records)


async def test_nothing_that_says_something_new_is_hidden() -> None:
    records = [*TELLING, await closing("RuntimeError", "of another kind"), await closing("KeyError", "closed")]
    assert said(records, "INFO") == len(records)


@pytest.mark.parametrize(("level", "lines"), [("INFO", 1), ("WARNING", 1), ("DEBUG", 3)])
def test_what_an_http_server_says_of_its_start_and_end_is_for_debugging(level: str, lines: int) -> None:
    records = [
        ("uvicorn.error", logging.INFO, "Started server process [%d]", (1,)),
        ("uvicorn.error", logging.WARNING, "ASGI app stopped", ()),
        ("uvicorn.error", logging.INFO, "Shutting down", ()),
    ]
    assert said(records, level) == lines  # type: ignore[arg-type]
