"""API keys: how one is made, read and recognised.

A key is ``ck_PREFIX_SECRET``: 12 visible characters, which are its id, and 256 random bits as base64url. Stored is only
HMAC-SHA256 of the secret under the installation's own hash key (RFC 2104), so that neither a copy of the store nor a
guess at a secret is of use by itself.
"""

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass

from contracts.access import ApiKey

_ALPHABET = string.ascii_lowercase + string.digits
_KEY = re.compile(r"(ck_[a-z0-9]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class KeyText:
    """A key as its holder has it. ``str()`` of it is the key: to be shown once and never logged."""

    id: str
    secret: str

    def __str__(self) -> str:
        return f"{self.id}_{self.secret}"

    def __repr__(self) -> str:
        return f"KeyText({self.id})"


def new_key_text() -> KeyText:
    return KeyText("ck_" + "".join(secrets.choice(_ALPHABET) for _ in range(12)), secrets.token_urlsafe(32))


def read_key_text(text: str) -> KeyText | None:
    """The parts of a key; None if it is none."""
    found = _KEY.fullmatch(text)
    return None if found is None else KeyText(found[1], found[2])


def secret_hash(secret: str, hash_key: str) -> str:
    """64 hexadecimal digits."""
    return hmac.new(hash_key.encode(), secret.encode(), hashlib.sha256).hexdigest()


def is_key(text: KeyText, stored: ApiKey, hash_key: str) -> bool:
    """Whether this is the stored key; takes as long whatever the answer is. Whether it is still valid is another
    question."""
    return hmac.compare_digest(secret_hash(text.secret, hash_key), stored.secret_hash)
