"""What ``python -m services keys`` does, and what it says then."""

import json
import time
from argparse import Namespace
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from contracts.access import ApiKey, RotateApiKey
from services.access.durations import UNITS, seconds_in
from services.access.keeping import Keeper
from services.access.keys_table import shown, table, time_text
from services.runtime.security.api_keys import KeyText, new_key_text, read_key_text, secret_hash
from services.runtime.settings import BadSettings
from services.runtime.store.base import Store

LONGEST_OVERLAP = 90 * UNITS["d"]
LONGEST_LIFE = 3_650 * UNITS["d"]


class CannotDo(Exception):
    """The command cannot be carried out; the message says why."""


@dataclass(frozen=True, slots=True)
class Done:
    """``text`` is for whoever gave the command, ``subject`` and ``detail`` for the audit log."""

    text: str
    subject: str = ""
    detail: str = ""


class Doing:
    """One method a command; ``options`` are its arguments. ``by`` is who gave it."""

    def __init__(self, store: Store, hash_key: str, by: str) -> None:
        self._store = store
        self._keeper = Keeper(store)
        self._hash_key = hash_key
        self._by = by

    async def create(self, options: Namespace) -> Done:
        text, now = new_key_text(), time.time()
        fields: dict[str, Any] = {
            "id": text.id,
            "name": options.name,
            "role": options.role,
            "secret_hash": self._hashed(text),
            "created_at": now,
            "created_by": self._by,
            "expires_at": _end(options.expires_in, now),
            "rate_limit": options.rate_limit,
        }
        try:
            wanted = ApiKey.model_validate(fields)
        except ValidationError as error:
            raise CannotDo(_in_words(error)) from None
        key = await self._keeper.create(wanted)
        return Done(_new_key(key, text, options), key.id, f"{key.name}, {key.role.value}")

    async def list(self, options: Namespace) -> Done:
        keys, now = await self._keeper.all(), time.time()
        if options.json:
            return Done(_json([shown(key, now) for key in keys]))
        return Done(table(keys, now) if keys else "there are no API keys")

    async def rotate(self, options: Namespace) -> Done:
        text, now = new_key_text(), time.time()
        old = _id_in(options.id)
        command = RotateApiKey(
            id=old,
            new_id=text.id,
            new_secret_hash=self._hashed(text),
            overlap=seconds_in(options.overlap, least=0, most=LONGEST_OVERLAP),
            expires_at=_end(options.expires_in, now),
        )
        key = await self._keeper.rotate(command, by=self._by)
        more = f"It takes the place of {old}, which is valid for {options.overlap} at most."
        return Done(_new_key(key, text, options, more), old, f"replaced by {key.id}")

    async def revoke(self, options: Namespace) -> Done:
        key = await self._keeper.revoke(_id_in(options.id), force=options.force)
        since = time_text(key.revoked_at or 0.0)
        text = f"{key.id} ({key.name}) is revoked since {since}; edges refuse it within seconds"
        text = _json(shown(key, time.time())) if options.json else text
        return Done(text, key.id, "forced" if options.force else "")

    def _hashed(self, text: KeyText) -> str:
        if not self._hash_key:
            raise BadSettings(
                "API_KEY_HASH_KEY is not set: keys are hashed with it, so it has to be the one that the edges have. For"
                " a new installation, `python -c 'import secrets; print(secrets.token_urlsafe(32))'` makes one"
            )
        return secret_hash(text.secret, self._hash_key)


def _new_key(key: ApiKey, text: KeyText, options: Namespace, more: str = "") -> str:
    if options.json:
        return _json({"key": str(text), **shown(key, time.time())})
    end = "does not expire" if key.expires_at is None else f"expires at {time_text(key.expires_at)}"
    said = f"The key of {key.name}, role {key.role.value}, {end}. It is shown this once. {more}"
    return f"{text}\n\n{said.rstrip()}"


def _end(life: str | None, now: float) -> float | None:
    return None if life is None else now + seconds_in(life, least=1, most=LONGEST_LIFE)


def _id_in(given: str) -> str:
    """Of a leaked key its finder may have nothing but the whole."""
    whole = read_key_text(given)
    return given if whole is None else whole.id


def _in_words(error: ValidationError) -> str:
    faults = (f"{'.'.join(map(str, fault['loc']))}={fault['input']!r}: {fault['msg']}" for fault in error.errors())
    return "; ".join(faults)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2)
