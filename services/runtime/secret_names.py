"""Which names say that what stands under them is secret."""

import re
from functools import lru_cache
from itertools import pairwise

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LONGEST = 200  # characters that are looked at: a name is what anyone may have sent

# Anywhere in a name, also as the end of a longer word: dbPassword, clientsecret, PGPASSWORD.
_SECRET_ENDS = ("password", "passwd", "pwd", "passphrase", "secret", "secrets", "apikey", "privatekey")
_SECRET = frozenset(("authorization", "cookie", "credential", "credentials", "dsn", "jwt"))
# A key of these is secret, a sort_key is not.
_KEY_OF = frozenset(
    ("access", "account", "api", "auth", "encryption", "hash", "hmac", "master", "private", "secret", "signing", "ssh")
)
# A token is secret where it is what the name is about: access_token, and not token_count, max_tokens or next_token.
_PLAIN_TOKENS = frozenset(
    ("bos", "continuation", "end", "eos", "mask", "next", "pad", "page", "start", "stop", "sync", "unk", "unknown")
)
_TOKENS_OF = frozenset(("access", "api", "auth", "bearer", "refresh"))
# "pass" is a word of many meanings; after these it is short for a password.
_PASS_OF = frozenset(
    (
        *("account", "admin", "amqp", "database", "db", "email", "ftp", "http", "imap", "login", "mail"),
        *("mongo", "my", "mysql", "pg", "postgres", "proxy", "rabbit", "rabbitmq", "redis", "root", "service"),
        *("smtp", "ssh", "user"),
    )
)


def names_a_secret(name: str) -> bool:
    """``api_key``, ``dbPassword``, ``X-Api-Key`` and ``ACCESS-TOKEN`` do; ``max_tokens``, ``key``, ``keyboard`` and
    ``token_count`` do not."""
    return _names_a_secret(name if len(name) <= _LONGEST else name[: _LONGEST // 2] + name[-_LONGEST // 2 :])


@lru_cache(maxsize=4096)
def _names_a_secret(name: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words:
        return False
    if any(word.endswith(_SECRET_ENDS) or word in _SECRET for word in words):
        return True
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last == "token":
        return before not in _PLAIN_TOKENS
    if (last == "tokens" and before in _TOKENS_OF) or last in ("accesstoken", "authtoken", "refreshtoken"):
        return True
    if last == "pass":
        return not before or before in _PASS_OF
    return any(
        (after in ("key", "keys") and word in _KEY_OF) or (word, after) == ("connection", "string")
        for word, after in pairwise(words)
    )
