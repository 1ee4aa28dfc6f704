"""An attacker's tools: messages signed with a stolen or an own key, and changed after that; bodies without an end."""

import asyncio
import json
import socket
import time
from dataclasses import replace
from pathlib import Path

import aiormq

from contracts.envelope import Message
from services.runtime.bus.base import Frame
from services.runtime.envelope_codec import Outgoing, encode
from services.runtime.security.signing_keys import SigningKeys
from services.runtime.security.verifying import signature_headers

CHUNK = 64 * 1024


def signed_frame(folder: Path, name: str, message: Message, *, sender: str = "", message_id: str) -> Frame:
    """A message as the holder of ``name``'s key signs it; its correlation id is its message id."""
    outgoing = Outgoing(message, message_id=message_id, correlation_id=message_id)
    frame = encode(outgoing, sender or name)
    (headers,) = signature_headers([frame], SigningKeys(folder, name).current, time.time())
    return replace(frame, headers=headers)


def altered(frame: Frame, old: bytes, new: bytes) -> Frame:
    """The same with other bytes in its body, under the same signature."""
    assert old in frame.body
    return replace(frame, body=frame.body.replace(old, new))


def publish(url: str, *frames: Frame) -> None:
    """As any program with a login publishes: what the frames say, and nothing else."""
    asyncio.run(_publish(url, frames))


async def _publish(url: str, frames: tuple[Frame, ...]) -> None:
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=True)
        for frame in frames:
            await channel.basic_publish(
                frame.body,
                exchange=frame.address.exchange.value,
                routing_key=frame.address.key,
                properties=aiormq.spec.Basic.Properties(
                    delivery_mode=2,
                    headers=dict(frame.headers) or None,
                    message_type=frame.type,
                    message_id=frame.message_id,
                    correlation_id=frame.correlation_id,
                    reply_to=frame.reply_to or None,
                ),
            )
    finally:
        await connection.close()


def send_a_gigabyte(port: int, path: str, headers: dict[str, str], *, chunked: bool) -> tuple[int, int]:
    """Send a body of 1 GiB for as long as it is taken; the status of the answer, and the bytes sent until then."""
    head = {"Host": "localhost", "Content-Type": "application/json", **headers}
    head |= {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(1024**3)}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    block = f"{CHUNK:x}\r\n".encode() + b" " * CHUNK + b"\r\n" if chunked else b" " * CHUNK
    answer, sent = b"", 0
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall("\r\n".join(lines).encode())
        connection.settimeout(0.01)
        while sent < 1024**3 and not answer:
            try:
                answer = connection.recv(CHUNK)
            except TimeoutError:
                sent += _some(connection, block)
        connection.settimeout(30)
        while b"\r\n" not in answer:
            answer += connection.recv(CHUNK)
    return int(answer.split(b" ", 2)[1]), sent


def _some(connection: socket.socket, block: bytes) -> int:
    connection.settimeout(30)
    try:
        connection.sendall(block)
    except OSError:  # closed by the other side, which has said why
        return 0
    finally:
        connection.settimeout(0.01)
    return CHUNK


def nested(depth: int) -> bytes:
    """A definition whose one step has inputs of so many levels."""
    step = {"id": "a", "agent_type": "data_agent", "action": "profile", "inputs": {"x": "DEEP"}}
    text = json.dumps({"definition": {"name": "deep", "steps": [step]}})
    return text.replace('"DEEP"', "[" * depth + "]" * depth).encode()
