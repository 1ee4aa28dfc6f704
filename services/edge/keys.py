"""API keys: ``/api/v1/keys``. Made here and shown once; kept by the access service, which is given only their hash."""

import hashlib
import time
from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response, status

from contracts.access import (
    KEY_ID_PATTERN,
    ApiKey,
    ApiKeyStored,
    CreateApiKey,
    RevokeApiKey,
    RotateApiKey,
)
from contracts.envelope import Message
from services.edge import key_examples as examples
from services.edge.access.requirements import needs
from services.edge.access.scopes import Scope
from services.edge.bodies import read_model
from services.edge.commands import service
from services.edge.dependencies import Client, CorrelationId, Edge, EdgeParts, IdempotencyKey, href_of
from services.edge.key_models import KeyMade, KeyPage, KeyView, NewKey, RotateKey, show_key
from services.edge.openapi import body, ok, problems
from services.edge.problems import Problem
from services.edge.reading import After, Limit
from services.runtime.security.api_keys import KeyText, new_key_text, secret_hash
from services.runtime.store.base import Page

router = APIRouter(prefix="/keys", tags=["keys"])

KeyId = Annotated[str, Path(pattern=KEY_ID_PATTERN, examples=[examples.KEY_ID])]

_SERVICE: Final = service("access service")
_LOST: Final = "the key cannot be shown again: where GET /api/v1/keys lists it, rotate it to have another, or revoke it"
_DIGITS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


@router.get("/", include_in_schema=False, dependencies=[needs(Scope.KEYS_ADMIN)])
@router.get(
    "",
    operation_id="listKeys",
    dependencies=[needs(Scope.KEYS_ADMIN)],
    summary="List API keys, the revoked and expired ones too",
    responses={**ok({"items": [examples.KEY], "next": examples.CURSOR}), **problems(400, 422, 503)},
)
async def list_keys(request: Request, edge: EdgeParts, limit: Limit = 50, after: After = None) -> KeyPage:
    """By id. Of a key's secret there is nothing to be shown."""
    async with edge.reads.in_time():
        keys, following = await edge.store.list_api_keys(Page(limit, after))
    return KeyPage(items=[_shown(request, key) for key in keys], next=following)


@router.post("/", status_code=status.HTTP_201_CREATED, include_in_schema=False, dependencies=[needs(Scope.KEYS_ADMIN)])
@router.post(
    "",
    operation_id="createKey",
    dependencies=[needs(Scope.KEYS_ADMIN)],
    summary="Make an API key, which is shown this once",
    status_code=status.HTTP_201_CREATED,
    responses={
        **ok(examples.MADE, status=201, description="Made", headers={"Location": "Where it is described."}),
        **problems(400, 408, 409, 413, 415, 422, 503, examples=examples.PROBLEMS),
    },
    openapi_extra=body("NewKey", examples.NEW_KEY, required=True),
)
async def create_key(
    request: Request,
    response: Response,
    edge: EdgeParts,
    client: Client,
    key: IdempotencyKey,
    correlation_id: CorrelationId,
) -> KeyMade:
    """With an Idempotency-Key, a repeated request makes no second key. It is answered with 409 and the id of the first,
    which nobody can show again."""
    wanted = await read_model(request, NewKey)
    hash_key = _hash_key(edge)
    text = _new_key(key, client, "create")
    made = ApiKey(
        id=text.id,
        name=wanted.name,
        role=wanted.role,
        secret_hash=secret_hash(text.secret, hash_key),
        created_at=time.time(),
        created_by=client,
        expires_at=wanted.end,
        rate_limit=wanted.rate_limit,
    )
    stored = await _ask(edge, CreateApiKey(key=made), text.id, client, correlation_id, made=text)
    return _made(request, response, stored, text)


@router.get(
    "/{key_id}",
    operation_id="getKey",
    dependencies=[needs(Scope.KEYS_ADMIN)],
    summary="Get what is known of an API key",
    responses={**ok(examples.KEY), **problems(404, 422, 503, examples=examples.PROBLEMS)},
)
async def get_key(request: Request, edge: EdgeParts, key_id: KeyId) -> KeyView:
    async with edge.reads.in_time():
        key = await edge.store.get_api_key(key_id)
    if key is None:
        raise Problem("not-found", f"there is no API key {key_id!r}")
    return _shown(request, key)


@router.post(
    "/{key_id}/rotate",
    operation_id="rotateKey",
    dependencies=[needs(Scope.KEYS_ADMIN)],
    summary="Put a new key in the place of this one; both are valid for a while",
    status_code=status.HTTP_201_CREATED,
    responses={
        **ok(examples.ROTATED, status=201, description="The new key", headers={"Location": "Where it is described."}),
        **problems(400, 404, 408, 409, 413, 415, 422, 503, examples=examples.PROBLEMS),
    },
    openapi_extra=body("RotateKey", examples.ROTATE_KEY, required=False),
)
async def rotate_key(
    request: Request,
    response: Response,
    edge: EdgeParts,
    key_id: KeyId,
    client: Client,
    key: IdempotencyKey,
    correlation_id: CorrelationId,
) -> KeyMade:
    """The new key has the name, role and rate limit of the old one."""
    wanted = await read_model(request, RotateKey)
    hash_key = _hash_key(edge)
    text = _new_key(key, client, "rotate", key_id)
    command = RotateApiKey(
        id=key_id,
        new_id=text.id,
        new_secret_hash=secret_hash(text.secret, hash_key),
        overlap=wanted.overlap,
        expires_at=wanted.end,
    )
    stored = await _ask(edge, command, key_id, client, correlation_id, made=text)
    return _made(request, response, stored, text)


@router.delete(
    "/{key_id}",
    operation_id="revokeKey",
    dependencies=[needs(Scope.KEYS_ADMIN)],
    summary="Revoke an API key for good",
    responses={**ok(examples.REVOKED), **problems(404, 409, 422, 503, examples=examples.PROBLEMS)},
)
async def revoke_key(
    request: Request, edge: EdgeParts, key_id: KeyId, client: Client, correlation_id: CorrelationId
) -> KeyView:
    """Every edge refuses it within a few seconds. It goes on being listed."""
    stored = await _ask(edge, RevokeApiKey(id=key_id), key_id, client, correlation_id)
    return _shown(request, stored)


async def _ask(
    edge: Edge, command: Message, key_id: str, client: str, correlation_id: str, *, made: KeyText | None = None
) -> ApiKey:
    """The key as it is stored then; ``made`` is the new one where the command brings one.

    Raises:
        Problem: as the answer says.
    """
    try:
        stored = await edge.commands.ask(
            command,
            ApiKeyStored,
            actor=client,
            correlation_id=correlation_id,
            members={"key_id": key_id},
            repeating="repeating this request is safe" if made is None else _LOST,
            of=_SERVICE,
        )
    except Problem as problem:
        if problem.kind != "already-exists" or made is None:
            raise
        detail = f"an earlier request with this Idempotency-Key made {made.id}; {_LOST}"
        raise Problem("already-exists", detail, members={"key_id": made.id}) from None
    return stored.key


def _hash_key(edge: Edge) -> str:
    """
    Raises:
        Problem: this edge takes bearer tokens alone.
    """
    hash_key = edge.settings.api_key_hash_key.get_secret_value()
    if not hash_key:
        raise Problem("conflict", "this installation has no API_KEY_HASH_KEY: it takes bearer tokens and no API keys")
    return hash_key


def _new_key(idempotency_key: str | None, *whose: str) -> KeyText:
    """A new key; its id is of the idempotency key where there is one, so that a repetition finds it taken. Its secret
    is new in any case."""
    made = new_key_text()
    if idempotency_key is None:
        return made
    number = int.from_bytes(hashlib.sha256("\0".join((*whose, idempotency_key)).encode()).digest(), "big")
    characters = []
    for _ in range(12):
        number, digit = divmod(number, len(_DIGITS))
        characters.append(_DIGITS[digit])
    return replace(made, id="ck_" + "".join(characters))


def _made(request: Request, response: Response, stored: ApiKey, text: KeyText) -> KeyMade:
    shown = _shown(request, stored)
    response.headers["Location"] = shown.href
    return KeyMade(**shown.model_dump(), key=str(text))


def _shown(request: Request, key: ApiKey) -> KeyView:
    return show_key(key, href_of(request, "get_key", key_id=key.id))
