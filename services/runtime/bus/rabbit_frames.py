"""Frames of AMQP that the library underneath cannot read, made readable.

Whoever may publish anything may publish ids that are no UTF-8, or a time in the year 292,278,994. RabbitMQ passes that
on, and reading it raises where the connection is read from, which ends the connection: the message comes back with the
next one, and ends that. So once a frame could not be read, frames are looked at before they are handed on.
"""

import asyncio
import struct
from typing import Any

import pamqp.frame
from aiormq.exceptions import AMQPError, InvalidFrameError
from pamqp import commands, constants

_HEAD = 7  # bytes of a frame before its payload: type, channel, length
_PROPERTIES = 12  # bytes of a content header before its properties: class, weight, size of the body
_DELIVER = struct.pack(">I", commands.Basic.Deliver.index)
_GET_OK = struct.pack(">I", commands.Basic.GetOk.index)
_TAG = 9  # bytes of a delivery tag and whether it is delivered again


class CarefulReader:
    """A stream reader that whoever reads frames asks for the first byte, the other six, and the rest, in turn."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._parts: list[bytes] = []

    async def readexactly(self, count: int) -> bytes:
        part = await self._reader.readexactly(count)
        self._parts.append(part)
        if len(self._parts) < 3:
            return part
        frame = b"".join(self._parts)
        self._parts.clear()
        return readable(frame)[_HEAD:]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


def was_unreadable(error: BaseException | None) -> bool:
    """Whether a connection ended because of what was in a frame, and not for any other reason."""
    return isinstance(error, InvalidFrameError) or (
        isinstance(error, Exception) and not isinstance(error, AMQPError | OSError)
    )


def readable(frame: bytes) -> bytes:
    """A frame as it is, if it can be read. Otherwise, of the same length: properties are left out altogether, and in
    the names that a delivery has, a question mark stands for what is no text."""
    try:
        pamqp.frame.unmarshal(frame)
    except Exception:
        return frame[:_HEAD] + _mended(frame[0], frame[_HEAD:-1]) + frame[-1:]
    return frame


def _mended(kind: int, payload: bytes) -> bytes:
    if kind == constants.FRAME_HEADER:
        return payload[:_PROPERTIES].ljust(len(payload), b"\0")
    if payload.startswith(_DELIVER):
        consumer_ends = 5 + payload[4]
        return payload[: consumer_ends + _TAG] + _as_texts(payload[consumer_ends + _TAG :])
    if payload.startswith(_GET_OK):
        return payload[: 4 + _TAG] + _as_texts(payload[4 + _TAG : -4]) + payload[-4:]
    return payload


def _as_texts(shorts: bytes) -> bytes:
    """Short strings, each a byte with its length and then so many bytes."""
    mended = b""
    while shorts:
        length = shorts[0]
        text = shorts[1 : 1 + length]
        if text.decode(errors="ignore").encode() != text:
            text = bytes(byte if byte < 0x80 else ord("?") for byte in text)
        mended += shorts[:1] + text
        shorts = shorts[1 + length :]
    return mended
