"""Every operation of the OpenAPI document, attacked with requests made from it and against it (Schemathesis), signed in
with each role and with none: no 5xx, no answer that the document does not describe, nothing open that should not be."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from contracts.access import Role
from services.access.app import build as build_access
from services.dead_letters.app import build as build_dead_letters
from services.edge.access.scopes import SCOPES
from services.edge.app import create_application
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from tests.support.edge_world import edge_settings, stored_key, whole_world
from tests.support.memory_store import MemoryStore
from tests.support.patience import patient_edge

EXAMPLES, WHEN_REFUSED = 20, 5  # a request; what is refused before it is read needs fewer
PATIENT = 30.0  # seconds
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
KEYS = {role: f"ck_attacker{role.value[:4]}_{role.value:_<43}" for role in Role}
PUBLIC = {"/health", "/health/live", "/health/ready", "/asyncapi", "/asyncapi.json"}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where everything runs, in a thread of its own: the attacks are not asynchronous."""
    started, address = threading.Event(), ""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        with patient_edge():
            await serve_patiently()

    async def serve_patiently() -> None:
        nonlocal address
        async with whole_world() as world:
            world.keep(*(stored_key(KEYS[role], name=f"the-{role.value}", role=role) for role in Role))
            await world.run(build_dead_letters(world.settings, world.bus(), world.store))
            await world.run(build_access(world.settings, world.bus(), world.store))
            await world.run_monitor()
            address = str(world.clients[0].base_url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(60)
    yield address
    loop.call_soon_threadsafe(stop.set)
    thread.join(60)
    loop.close()


def operations() -> list[APIOperation]:
    """Of the document, but for event streams, which do not end."""
    document = create_application(edge_settings(), MemoryStore(), DirectBus(DirectBroker())).openapi()
    found = [one.ok() for one in schemathesis.openapi.from_dict(document).get_all_operations()]
    return [one for one in found if not one.path.endswith("/events")]


def scope_of(operation: APIOperation) -> str | None:
    """What the document says that an operation asks for; None: it is open."""
    asked = operation.definition.raw.get("security", [])
    scopes = {scope for one in asked for scopes in one.values() for scope in scopes}
    assert len(scopes) <= 1, operation.label
    return next(iter(scopes), None)


def attack(operation: APIOperation, address: str, headers: dict[str, str], allowed: bool) -> None:
    @given(case=operation.as_strategy(GenerationMode.POSITIVE) | operation.as_strategy(GenerationMode.NEGATIVE))
    @settings(
        max_examples=EXAMPLES if allowed else WHEN_REFUSED,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def run(case: Case) -> None:
        for credentials in ("Authorization", "X-API-Key"):  # those that Schemathesis made up
            case.headers.pop(credentials, None)
        if allowed and isinstance(wait := (case.query or {}).get("timeout"), float | int) and wait < PATIENT:
            case.query["timeout"] = PATIENT  # who waits less may be told 503, which is then no fault
        answer = case.call(base_url=address, headers=headers, timeout=60)
        case.validate_response(answer, checks=CHECKS)
        if not allowed:
            assert answer.status_code == (403 if headers else 401), answer.text

    run()


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("operation", operations(), ids=lambda one: one.label)
def test_every_operation_holds_for_each_role(operation: APIOperation, role: Role, address: str) -> None:
    scope = scope_of(operation)
    allowed = scope is None or scope in SCOPES[role]
    attack(operation, address, {"X-API-Key": KEYS[role]}, allowed)


@pytest.mark.parametrize("operation", operations(), ids=lambda one: one.label)
def test_nothing_is_open_that_should_not_be(operation: APIOperation, address: str) -> None:
    is_open = scope_of(operation) is None
    assert is_open == (operation.path in PUBLIC)
    attack(operation, address, {}, allowed=is_open)
