"""Secrets in what is shown: an agent's configuration may hold a password, which whoever lists agents need not see."""

import re
from itertools import pairwise
from typing import Any

MASK = "***"

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET = frozenset(
    (
        "apikey",
        "authorization",
        "credential",
        "credentials",
        "dsn",
        "passphrase",
        "passwd",
        "password",
        "pwd",
        "secret",
        "secrets",
        "token",
    )
)
_KEY_OF = frozenset(("api", "access", "private", "signing", "encryption", "auth"))
_URL_PASSWORD = re.compile(r"(://[^/@:\s]*:)[^/@\s]*@")


def masked(value: Any) -> Any:
    """The same with ``***`` for what stands under a name that says it is secret, and for passwords in URLs."""
    if isinstance(value, dict):
        return {
            name: MASK if names_a_secret(name) and part is not None else masked(part) for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(part) for part in value]
    if isinstance(value, str):
        return _URL_PASSWORD.sub(rf"\1{MASK}@", value)
    return value


def names_a_secret(name: str) -> bool:
    """``api_key``, ``dbPassword`` and ``ACCESS-TOKEN`` do; ``max_tokens``, ``key`` and ``keyboard`` do not."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not _SECRET.isdisjoint(words):
        return True
    return any(after in ("key", "keys") and word in _KEY_OF for word, after in pairwise(words))
