"""Secrets in texts, known by their shape: our own API keys, private keys, tokens, passwords in URLs and assignments.

Every pattern takes time linear in the text: what repeats is bounded, possessive, or ends where the next match could
begin. Before the patterns a search for the few words without which none of them can match: most texts hold none.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from services.runtime.secret_names import names_a_secret

MASK: Final = "***"
Masking = Callable[[str], str]

# What is a secret beyond doubt, in whatever data it stands.
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----END))*+(?:-----END [A-Z0-9 ]{0,60}-----)?"
)
_OWN_KEY = re.compile(r"ck_[a-z0-9]{12}_[A-Za-z0-9_-]{43}")

_URL_PASSWORD = re.compile(r"(://[^\s/@:\"'<>]{0,200}:)(?!\d{1,5}(?:[/?#\s\"']|$))(?:[^\s\"'<>:]|:(?!//)){0,400}@")
# The first is a JWT; a JWE has nothing between its first two dots.
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}+\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]*+"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\b(?:gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{22,255}|glpat-[A-Za-z0-9_-]{20,255})"
    r"|\b(?:xox[abeoprs]-[A-Za-z0-9-]{10,255}|AIza[A-Za-z0-9_-]{35}|[rs]k[-_](?:[a-z]{2,10}[-_])?[A-Za-z0-9_-]{20,255})"
)
_BEARER = re.compile(r"\b(bearer\s{1,3})(?=[^\s\"',;]{0,200}\d)[^\s\"',;]{8,}+", re.IGNORECASE)
_NAME = re.compile(r"(?<![\w.-])([A-Za-z][\w.-]{0,127})(\\?[\"']?\s{0,3}[:=]\s{0,3})")
_VALUE = re.compile(
    r"(?:\\\"(?:[^\"\\]|\\[^\"])*+(?:\\\"|$)|\"(?:[^\"\\]|\\.)*+(?:\"|\\?$)|'(?:[^'\\]|\\.)*+(?:'|\\?$)"
    r"|(?:(?:basic|bearer|digest|negotiate|token)\s{1,3})?[^\s,;&\"'()\[\]{}<>]++)",
    re.IGNORECASE | re.DOTALL,
)
# One of these stands in every text that an assignment can have something to say about, in small letters.
_WORDS = ("pass", "pwd", "secret", "token", "key", "credential", "authorization", "cookie", "dsn", "jwt", "connection")
# Unquoted and with a space before it, after these follows a sentence as often as a secret: "unexpected token: x".
_OF_SENTENCES = frozenset(("token", "secret", "secrets", "credential", "credentials", "key", "cookie", "jwt"))
_SHORTEST_ALONE = 12

_BEYOND_DOUBT = (("PRIVATE KEY", _PRIVATE_KEY), ("ck_", _OWN_KEY))
_SHORTEST_TOKEN = 12


def without_keys(text: str) -> str:
    """The text without what is a secret beyond doubt: private keys in PEM, and API keys of Conclave."""
    for mark, pattern in _BEYOND_DOUBT:
        if mark in text:
            text = pattern.sub(MASK, text)
    return text


def may_hold_keys(json: bytes) -> bool:
    """Whether ``without_keys`` may find anything in the texts of a JSON document."""
    return any(mark.encode() in json for mark, _ in _BEYOND_DOUBT)


def without_secrets(text: str) -> str:
    """The text with ``***`` for everything in it that has the shape of a secret, or is assigned to a name of one."""
    text = without_keys(text)
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1{MASK}@", text)
    if len(text) >= _SHORTEST_TOKEN:
        if _may_hold_tokens(text):
            text = _TOKENS.sub(MASK, text)
        if "earer" in text or "EARER" in text:
            text = _BEARER.sub(rf"\1{MASK}", text)
    if (":" in text or "=" in text) and _has_any(text.lower(), _WORDS):
        text = "".join(_without_assigned(text))
    return text


def _may_hold_tokens(text: str) -> bool:
    # Spelt out: with a loop it takes three times as long, and this is asked for each text of each log line.
    return (
        "eyJ" in text
        or "gh" in text
        or "xox" in text
        or "sk" in text
        or "rk" in text
        or "AKIA" in text
        or "ASIA" in text
        or "AIza" in text
        or "glpat-" in text
    )


def _has_any(text: str, words: Iterable[str]) -> bool:
    return any(word in text for word in words)


def _without_assigned(text: str) -> Iterator[str]:
    """The text in pieces, with a mask for each value that is assigned to the name of a secret."""
    done = 0
    for found in _NAME.finditer(text):
        name, sign = found.groups()
        # Of a path (inputs.password, db.pool.secret_key) the last name counts.
        if found.start() < done or not names_a_secret(name.rpartition(".")[2] or name):
            continue
        value = _VALUE.match(text, found.end())
        if value is None or _is_a_sentence(name, sign, value[0]):
            continue
        yield text[done : found.end()]
        yield _masked_value(value[0])
        done = value.end()
    yield text[done:]


def _masked_value(value: str) -> str:
    """The mask, in the quotes that the value stands in."""
    opening = next((quote for quote in ('\\"', '"', "'") if value.startswith(quote)), "")
    closing = opening if opening and value.endswith(opening) and len(value) >= 2 * len(opening) else ""
    return f"{opening}{MASK}{closing}"


def _is_a_sentence(name: str, sign: str, value: str) -> bool:
    if name.lower() not in _OF_SENTENCES or "=" in sign or sign[:1] in "\\\"'" or not sign[-1:].isspace():
        return False
    return len(value) < _SHORTEST_ALONE or not any(map(str.isdigit, value))
