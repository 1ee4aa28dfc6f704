"""Lines of libraries that only repeat what a line of ours says: of each attempt to reach a RabbitMQ that is away, and
of channels that go with their connection. The bus says when the connection is lost, why, and that it is still away
(``bus.rabbit``): aio-pika tells it of every attempt that failed, with its error, so none of these is the only word."""

import logging
from typing import Final

_ATTEMPTS: Final = (
    ("aiormq.connection", "error when creating transport: %r"),
    ("aio_pika.robust_connection", 'Connection attempt to "%s" failed: %s.'),
)
_CALLBACKS: Final = ("aio_pika.tools", "Callback %r error: %s: %s")
_CLOSING: Final = "RobustChannel._on_close"
_CLOSED: Final = ("ChannelInvalidStateError", "RuntimeError")  # what it meets where its connection is closed


def only_repeats(record: logging.LogRecord) -> bool:
    """Whether a record says nothing that the bus does not say."""
    text = str(record.msg)
    if any(record.name == name and text.startswith(begin) for name, begin in _ATTEMPTS):
        return True
    return (record.name, text) == _CALLBACKS and _is_of_a_closed_channel(record.args)


def _is_of_a_closed_channel(args: object) -> bool:
    if not isinstance(args, tuple) or len(args) != 3:
        return False
    callback, kind, error = args
    closed = kind == _CLOSED[0] or (kind == _CLOSED[1] and str(error).endswith("closed"))
    return closed and _CLOSING in repr(callback)
