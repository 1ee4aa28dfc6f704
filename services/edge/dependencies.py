"""What the routers share: the edge's parts, who the client is, and what its request is called."""

import hashlib
import uuid
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Path, Request

from contracts.execution import EXECUTION_ID_PATTERN
from services.edge.access.authentication import Authenticator
from services.edge.access.caller import Caller
from services.edge.commands import Commands
from services.edge.live import LiveFeed
from services.edge.outline import Outlines
from services.edge.pressure import Pressure
from services.edge.problems import Problem
from services.edge.readiness import Readiness
from services.edge.reading import Reads
from services.edge.waiting import Waiting
from services.runtime.bus.base import Bus
from services.runtime.settings import Settings
from services.runtime.store.base import Store
from services.runtime.telemetry.telemetry import Telemetry

LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Edge:
    """What a request may need. The store is for reading: everything that changes something is a command."""

    settings: Settings
    store: Store
    reads: Reads
    bus: Bus
    commands: Commands
    live: LiveFeed
    outlines: Outlines
    pressure: Pressure
    waiting: Waiting
    authenticator: Authenticator
    telemetry: Telemetry
    readiness: Readiness


# Async although nothing is awaited: the framework runs plain functions in a thread, which costs more than they do.


async def get_edge(request: Request) -> Edge:
    edge: Edge = request.app.state.edge
    return edge


async def caller_of(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def client_of(request: Request) -> str:
    """Who sends this request, as messages, executions and idempotency keys call it: ``key:NAME`` or ``user:SUB``. The
    kind stands in front, so that a user cannot have the name of a key, nor either that of a program on the broker."""
    caller: Caller = request.state.caller
    return caller.actor


async def correlation_id_of(request: Request) -> str:
    correlation_id: str = request.state.correlation_id
    return correlation_id


async def idempotency_key(
    given: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Makes repeating this request safe: the same key with the same body is the same execution,"
            " agent or message. With another body it is refused (422), where that can be told. 1 to 255 printable ASCII"
            " characters.",
            examples=["8e03978e-40d5-43dd-bc93-6894a57f9324"],
        ),
    ] = None,
) -> str | None:
    """The key, without the quotes that the IETF draft (draft-ietf-httpapi-idempotency-key-header) puts around it.

    Raises:
        Problem: empty, too long, or with characters that are not printable ASCII.
    """
    if given is None:
        return None
    key = given.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 1 <= len(key) <= LONGEST_KEY or not (key.isascii() and key.isprintable()):
        message = f"an Idempotency-Key has 1 to {LONGEST_KEY} printable ASCII characters; this one has {len(key)}"
        fault = {"path": "header.Idempotency-Key", "code": "bad_idempotency_key", "message": message}
        raise Problem("malformed", message, errors=[fault])
    return key


def execution_id_for(client: str, key: str | None) -> str:
    """The id of the execution that a request starts."""
    return id_for("exec", key, client)


def id_for(kind: str, key: str | None, *whose: str) -> str:
    """An id for what a request makes: of its key and ``whose`` that is, so that a repeated request names the same thing
    whichever edge it reaches, or new where there is no key."""
    if key is None:
        return f"{kind}-{uuid.uuid4().hex}"
    digest = hashlib.sha256(b"\0".join(part.encode() for part in (*whose, key))).hexdigest()
    return f"{kind}-{digest[:32]}"


def href_of(request: Request, route: str, **parameters: str) -> str:
    """The path at which a client finds what the route of this name serves."""
    root: str = request.scope.get("root_path", "").rstrip("/")
    return root + str(request.app.url_path_for(route, **parameters))


EdgeParts = Annotated[Edge, Depends(get_edge)]
Client = Annotated[str, Depends(client_of)]
SignedIn = Annotated[Caller, Depends(caller_of)]
CorrelationId = Annotated[str, Depends(correlation_id_of)]
IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]
ExecutionId = Annotated[str, Path(pattern=EXECUTION_ID_PATTERN, examples=["exec-2f1c5b7d9a3e4f60a1b2c3d4e5f60718"])]
WorkflowId = Annotated[str, Path(min_length=1, max_length=200, examples=["wf-test"])]
AgentId = Annotated[str, Path(min_length=1, max_length=200, examples=["chooser"])]
DeadLetterId = Annotated[str, Path(min_length=1, max_length=400, examples=["8a6f2f0c5d6e4c0f9e5b1f7a3c2d4e6f"])]
