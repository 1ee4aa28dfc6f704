"""Secrets are masked by name and by shape, nothing else is, and no text makes it slow."""

import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime.masking import DEEPEST, MASK, TOO_DEEP, masked, masked_text, names_a_secret, without_keys

OWN_KEY = "ck_abcdefghijkl_" + "only-for-tests_" * 2 + "abcdefghijklm"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7-x\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


@pytest.mark.parametrize(
    "name",
    [
        *("password", "DB_PASSWORD", "dbPassword", "dbpassword", "db_pass", "PGPASSWORD", "userPass", "passphrase"),
        *("secret", "client-secret", "clientSecret", "clientsecret", "token", "access_token", "refreshTokens"),
        *("api_key", "apiKey", "APIKey", "apikey", "OPENAI_API_KEY", "x-api-key", "X-API-Key", "private_key"),
        *("ssh_key", "AWS_SECRET_ACCESS_KEY", "credentials", "Authorization", "Cookie", "Set-Cookie", "dsn"),
        *("connection_string", "jwt", "API_KEY_HASH_KEY"),
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert names_a_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("max_tokens", "token_count", "tokens", "next_token", "key", "keys", "sort_key", "reply_key", "keyboard"),
        *("idempotency_key", "secretary", "method", "weights", "passenger", "bypass", "low_pass", "pass_rate", ""),
        *("compass", "author", "monkey", "1234", "routing_key", "key_id"),
    ],
)
def test_names_of_no_secrets(name: str) -> None:
    assert not names_a_secret(name)


def test_a_name_of_any_length_is_judged_by_its_ends() -> None:
    assert names_a_secret("x" * 1_000_000 + "_password")
    assert not names_a_secret("x" * 1_000_000)


def test_only_secrets_are_masked_however_deep() -> None:
    config = {
        "method": "topsis",
        "max_tokens": 100,
        "api_key": "sk-123",
        "pin": {"password": 1234, "hint": "year"},
        "sources": [{"url": "https://ann:hunter2@data.test/x", "token": ["a", "b"]}],
        "secret": None,
        f"for {OWN_KEY}": 1,
    }
    assert masked(config) == {
        "method": "topsis",
        "max_tokens": 100,
        "api_key": MASK,
        "pin": {"password": MASK, "hint": "year"},
        "sources": [{"url": "https://ann:***@data.test/x", "token": MASK}],
        "secret": None,
        "for ***": 1,
    }
    assert config["api_key"] == "sk-123", "what is shown is a copy"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"used {OWN_KEY} twice", "used *** twice"),
        (f"before\n{PEM}\nafter", "before\n***\nafter"),
        (PEM[:50], MASK),
        (f"refused: {JWT}", "refused: ***"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("authorization: Basic YW5uOnB3, next", "authorization: ***, next"),
        ("sent Bearer 9f8e7d6c5b4a to it", "sent Bearer *** to it"),
        ("amqp://ann:p@ss/w@broker:5672/x", "amqp://ann:***@broker:5672/x"),
        ("postgresql+asyncpg://ann:pw@db/x?password=y", "postgresql+asyncpg://ann:***@db/x?password=***"),
        ("mongodb+srv://ann:pw@a,b/db", "mongodb+srv://ann:***@a,b/db"),
        ("redis://:pw@cache", "redis://:***@cache"),
        ("host=db user=ann password='a b' port=1", "host=db user=ann password='***' port=1"),
        ("PGPASSWORD=x psql", "PGPASSWORD=*** psql"),
        ('{"api_key": "a\\"b", "n": 1}', '{"api_key": "***", "n": 1}'),
        ('{\\"secret\\": \\"x y\\", \\"n\\": 1}', '{\\"secret\\": \\"***\\", \\"n\\": 1}'),
        ("{'db_pass': 'x'}", "{'db_pass': '***'}"),
        ('{"password": "cut off he', '{"password": "***'),
        ("https://x.test/?api_key=abc&n=1", "https://x.test/?api_key=***&n=1"),
        ("AKIAIOSFODNN7EXAMPLE is an id", "*** is an id"),
        ("ghp_" + "a1B2" * 9, MASK),
        ("xoxb-1234567890-abcdef", MASK),
        ("sk-proj-" + "a1B2" * 10, MASK),
    ],
)
def test_secrets_in_texts(text: str, shown: str) -> None:
    assert masked_text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "unexpected token: ','",
        "max_tokens=100, token_count: 7, sort_key=name",
        "http://localhost:8000/a@b and http://x:80 and user@host",
        "the bearer of bad news; bearer authentication is needed",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "ck_abcdefghijkl is the visible part of a key",
        "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..iv.cipher.tag",
        "step 'a' failed: the key is missing: 'id'",
        "task-risk-desk-asks sk-1",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert masked_text(text) == text


def test_users_data_lose_only_what_is_a_secret_beyond_doubt() -> None:
    output = {"password": "hunter2", "url": "https://ann:pw@x.test", "token": JWT, "rows": [[1, None, "a"]]}
    assert without_keys(output) is output
    assert without_keys({**output, "pem": PEM, "keys": [OWN_KEY]}) == {**output, "pem": MASK, "keys": [MASK]}


def test_what_holds_itself_or_is_no_json_comes_to_an_end() -> None:
    ring: list[Any] = []
    ring.append(ring)
    seen, levels = masked(ring), 0
    while isinstance(seen, list):
        (seen,), levels = seen, levels + 1
    assert (seen, levels) == (TOO_DEEP, DEEPEST)
    assert without_keys({"half": "\ud800", "key": OWN_KEY}) == {"half": "\ud800", "key": MASK}


N = 400_000
ADVERSARIAL = {
    "one long word": "a" * N,
    "names in a row": "a." * N + "password=",
    "hyphens": "a-" * N + "secret",
    "URLs": "://a:" * N + "@",
    "URL that does not end": "://" + "u" * 200 + ":" + "p" * N,
    "begun keys": "-----BEGIN PRIVATE KEY-----" * (N // 20),
    "begun and begun": "-----BEGIN RSA " * N + "PRIVATE KEY",
    "dashes": "-" * N + "PRIVATE KEY-----",
    "begun tokens": "eyJ" * N,
    "begun tokens with dots": ".eyJaaaaaa" * N,
    "own keys": "ck_aaaaaaaaaaaa_" * (N // 10),
    "bearers": "bearer " * N,
    "bearers and space": "bearer" + " " * N,
    "assignments": 'password="' * N,
    "backslashes": 'password="' + "\\" * N,
    "escaped quotes": 'password=\\"' * N,
    "other keys": "sk-sk_ghp_xoxb-AIza" * (N // 10),
    "names of fields": "Aa" * N + "password:x",
}


@pytest.mark.parametrize("text", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_no_text_takes_more_than_linear_time(text: str) -> None:
    """Half a megabyte and more of each: what took quadratic time here was seen to take minutes."""
    assert masked_text(masked_text(text)) == masked_text(text)


PIECES = st.sampled_from(
    [
        *[
            "password",
            "token",
            "secret=",
            ": ",
            "=",
            '"',
            "'",
            "\\",
            "://",
            ":",
            "@",
            "bearer ",
            "Authorization",
            "***",
        ],
        *["eyJ", "eyJhbGciOi", ".", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "ck_", OWN_KEY, JWT],
        *[" ", "\n", "a1", "AKIA", "A" * 16, "ghp_", "b2" * 20, "sk-", "{", "}", ",", "é", "\ud800", "pass", "api_key"],
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=25).map("".join), st.text(string.printable))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXTS, below, max_size=4),
    max_leaves=15,
)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_a_masked_text_is_masked_for_good(text: str) -> None:
    once = masked_text(text)
    assert masked_text(once) == once
    assert OWN_KEY not in once


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_any_value_can_be_masked(value: Any) -> None:
    once = masked(value)
    assert repr(masked(once)) == repr(once)
    assert OWN_KEY not in repr(once)
    assert OWN_KEY not in repr(without_keys(value))
