"""What becomes of API keys: pure decisions about what is stored, what is asked for, and the time (epoch seconds).

Every decision, taken again for the same command, gives the same answer: commands may come twice.
"""

from collections.abc import Iterable
from typing import Literal

from contracts.access import ApiKey, Role, RotateApiKey
from contracts.execution import Refused

Code = Literal["invalid", "not_found", "conflict", "already_exists"]


class KeyRefused(Exception):
    """Not done; ``refused`` says why."""

    def __init__(self, code: Code, key_id: str, message: str) -> None:
        super().__init__(message)
        self.refused = Refused(code=code, subject=key_id, message=message)


def created(wanted: ApiKey, stored: ApiKey | None, now: float) -> ApiKey:
    """The key to store, or the one that this very command stored before.

    Raises:
        KeyRefused: the id is taken, or it would never be valid.
    """
    if stored is not None:
        if _same_but_for_what_became_of_it(wanted, stored):
            return stored
        raise KeyRefused("already_exists", wanted.id, f"there is an API key {wanted.id} already")
    if wanted.revoked_at is not None or wanted.replaced_by is not None:
        raise KeyRefused("invalid", wanted.id, "a new API key is neither revoked nor replaced")
    _check_end(wanted.id, wanted.expires_at, now)
    return wanted


def rotated(
    command: RotateApiKey, old: ApiKey | None, taken: ApiKey | None, now: float, *, by: str = ""
) -> tuple[ApiKey, ApiKey]:
    """The new key, and the old one as it is from now on.

    The new one has the old one's name, role and rate limit. Where the command does not say when it expires, it lives as
    long as the old one was meant to. ``taken`` is what is stored under the new id.

    Raises:
        KeyRefused: there is no such key, it is not valid or was rotated before, or the new id is taken.
    """
    if old is None:
        raise KeyRefused("not_found", command.id, f"there is no API key {command.id}")
    if taken is not None:
        if not _is_successor(taken, old, command):
            raise KeyRefused("already_exists", command.new_id, f"there is an API key {command.new_id} already")
        if old.replaced_by == taken.id or not old.valid(now):
            return taken, old
        return taken, _outgoing(old, command, now)
    _check_may_rotate(old, now)
    expires_at = command.expires_at
    if expires_at is None and old.expires_at is not None:
        expires_at = now + (old.expires_at - old.created_at)
    _check_end(command.new_id, expires_at, now)
    new = ApiKey(
        id=command.new_id,
        name=old.name,
        role=old.role,
        secret_hash=command.new_secret_hash,
        created_at=now,
        created_by=by,
        expires_at=expires_at,
        rate_limit=old.rate_limit,
    )
    return new, _outgoing(old, command, now)


def revoked(key_id: str, stored: Iterable[ApiKey], now: float, *, force: bool = False) -> ApiKey:
    """The key, revoked now or before. ``stored`` are all keys there are.

    Raises:
        KeyRefused: there is no such key; or, unless ``force``, nobody would have a valid admin key any more.
    """
    keys = {key.id: key for key in stored}
    key = keys.get(key_id)
    if key is None:
        raise KeyRefused("not_found", key_id, f"there is no API key {key_id}")
    if key.revoked_at is not None:
        return key
    if (
        not force
        and _is_lasting_admin(key, now)
        and not any(_is_lasting_admin(other, now) for other in keys.values() if other.id != key_id)
    ):
        raise KeyRefused(
            "conflict",
            key_id,
            f"{key_id} ({key.name}) is the last valid admin key. Create another first, or rotate this one;"
            f" `python -m services keys revoke {key_id} --force` revokes it all the same",
        )
    return key.model_copy(update={"revoked_at": now})


def _check_may_rotate(old: ApiKey, now: float) -> None:
    if old.revoked_at is not None:
        raise KeyRefused("conflict", old.id, f"API key {old.id} is revoked; create a new one")
    if not old.valid(now):
        raise KeyRefused("conflict", old.id, f"API key {old.id} has expired; create a new one")
    if old.replaced_by is not None:
        raise KeyRefused("conflict", old.id, f"API key {old.id} was rotated before; {old.replaced_by} took its place")


def _check_end(key_id: str, expires_at: float | None, now: float) -> None:
    if expires_at is not None and expires_at <= now:
        raise KeyRefused("invalid", key_id, "an API key expires in the future or not at all")


def _outgoing(old: ApiKey, command: RotateApiKey, now: float) -> ApiKey:
    end = now + command.overlap
    return old.model_copy(
        update={
            "expires_at": end if old.expires_at is None else min(end, old.expires_at),
            "replaced_by": command.new_id,
        }
    )


def _is_successor(taken: ApiKey, old: ApiKey, command: RotateApiKey) -> bool:
    """Whether ``taken`` is what this command made when it came before."""
    return (
        (taken.secret_hash, taken.name, taken.role) == (command.new_secret_hash, old.name, old.role)
        and old.replaced_by in (None, taken.id)
    )  # fmt: skip


def _same_but_for_what_became_of_it(wanted: ApiKey, stored: ApiKey) -> bool:
    fixed = ("secret_hash", "name", "role", "created_at", "rate_limit")
    return all(getattr(wanted, field) == getattr(stored, field) for field in fixed)


def _is_lasting_admin(key: ApiKey, now: float) -> bool:
    """A key that another replaces is not counted: it will be gone soon."""
    return key.role is Role.ADMIN and key.valid(now) and key.replaced_by is None
