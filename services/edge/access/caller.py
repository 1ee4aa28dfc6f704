"""Who sends a request, once that is known."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from contracts.access import ApiKey, Role
from services.edge.access.scopes import Scope, scopes_of


@dataclass(frozen=True, slots=True)
class Caller:
    """``request.state.caller``.

    ``actor`` is what the audit log and the messages that follow call it: ``key:NAME``, ``user:SUB`` or ``anonymous``;
    no two callers share one, so idempotency keys belong to it. ``rate_limit``: requests a minute, None for the edge's
    own setting. ``expires_at``: epoch seconds, None for never.
    """

    actor: str
    name: str
    roles: frozenset[Role] = frozenset()
    scopes: frozenset[Scope] = frozenset()
    key_id: str = ""
    rate_limit: int | None = None
    expires_at: float | None = None

    @property
    def signed_in(self) -> bool:
        return self is not ANONYMOUS


ANONYMOUS: Final = Caller(actor="anonymous", name="anonymous")


def caller_of_key(key: ApiKey) -> Caller:
    return Caller(
        actor=f"key:{key.name}",
        name=key.name,
        roles=frozenset({key.role}),
        scopes=scopes_of({key.role}),
        key_id=key.id,
        rate_limit=key.rate_limit,
        expires_at=key.expires_at,
    )


def caller_of_token(subject: str, roles: Iterable[Role], expires_at: float) -> Caller:
    held = frozenset(roles)
    return Caller(actor=f"user:{subject}", name=subject, roles=held, scopes=scopes_of(held), expires_at=expires_at)
