"""Frames that cannot be read: each becomes one of the same length that can."""

import asyncio
import struct

import pamqp.body
import pamqp.frame
import pytest
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, header

from services.runtime.bus.rabbit_frames import CarefulReader, readable, was_unreadable


def framed(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, 7, len(payload)) + payload + b"\xce"


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


SHORT = st.binary(max_size=255).map(short)


def with_properties(message_id: bytes) -> bytes:
    flags = commands.Basic.Properties.flags["message_id"]
    return framed(2, struct.pack(">HHQH", 60, 0, 5, flags) + short(message_id))


@given(st.binary(min_size=2, max_size=300))
def test_whatever_the_properties_of_a_message_are_its_size_is_known(properties: bytes) -> None:
    frame = framed(2, struct.pack(">HHQ", 60, 0, 5) + properties)
    mended = readable(frame)
    assert len(mended) == len(frame)
    _, channel, read = pamqp.frame.unmarshal(mended)
    assert (channel, read.body_size) == (7, 5)  # type: ignore[union-attr]


@given(SHORT, SHORT, st.integers(0, 2**63 - 1))
def test_whatever_the_names_of_a_delivery_are_its_tag_is_known(exchange: bytes, key: bytes, tag: int) -> None:
    deliver = struct.pack(">HH", 60, 60) + short(b"ctag") + struct.pack(">QB", tag, 1) + exchange + key
    got = struct.pack(">HH", 60, 71) + struct.pack(">QB", tag, 1) + exchange + key + struct.pack(">I", 3)
    for payload in (deliver, got):
        mended = readable(framed(1, payload))
        assert len(mended) == len(framed(1, payload))
        read = pamqp.frame.unmarshal(mended)[2]
        assert (read.delivery_tag, read.redelivered) == (tag, True)  # type: ignore[union-attr]


def test_only_what_cannot_be_read_is_changed() -> None:
    fine = [
        pamqp.frame.marshal(
            header.ContentHeader(0, 5, commands.Basic.Properties(message_id="m", headers={"a": "ä"})), 1
        ),
        pamqp.frame.marshal(commands.Basic.Deliver("c", 1, False, "exchange", "clé"), 1),
        pamqp.frame.marshal(pamqp.body.ContentBody(b"\xff\xfe"), 1),
    ]
    assert [readable(frame) for frame in fine] == fine
    deliver = commands.Basic.Deliver("c", 1, False, "exchange", "clXX.ä")
    broken = pamqp.frame.marshal(deliver, 1).replace(b"XX", b"\xff\xff")
    assert pamqp.frame.unmarshal(readable(broken))[2].routing_key == "cl??.??"  # type: ignore[union-attr]


async def test_a_careful_reader_hands_on_frames_that_can_be_read() -> None:
    frames = [with_properties(b"fine"), with_properties(b"\xff"), with_properties(b"fine"), framed(8, b"")]
    stream = asyncio.StreamReader()
    stream.feed_data(b"".join(frames))
    stream.feed_eof()
    reader, taken = CarefulReader(stream), []
    while not reader.at_eof():
        begin = await reader.readexactly(1) + await reader.readexactly(6)
        taken.append(begin + await reader.readexactly(struct.unpack(">I", begin[3:])[0] + 1))
    assert [len(frame) for frame in taken] == [len(frame) for frame in frames]
    assert [one == other for one, other in zip(taken, frames, strict=True)] == [True, False, True, True]


@pytest.mark.parametrize(
    ("error", "unreadable"),
    [
        (InvalidFrameError("x"), True),
        (OverflowError("timestamp"), True),
        (RecursionError(), True),
        (AMQPConnectionError("gone"), False),
        (ConnectionResetError(), False),
        (asyncio.CancelledError(), False),
        (None, False),
    ],
)
def test_why_a_connection_ended(error: BaseException | None, unreadable: bool) -> None:
    assert was_unreadable(error) is unreadable
