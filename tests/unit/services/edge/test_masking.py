"""Secrets in an agent's configuration are not shown."""

import pytest

from services.edge.masking import MASK, masked, names_a_secret


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "DB_PASSWORD",
        "dbPassword",
        "passphrase",
        "secret",
        "client-secret",
        "clientSecret",
        "token",
        "access_token",
        "api_key",
        "apiKey",
        "APIKey",
        "apikey",
        "OPENAI_API_KEY",
        "private_key",
        "credentials",
        "Authorization",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert names_a_secret(name)


@pytest.mark.parametrize(
    "name", ["max_tokens", "key", "keys", "sort_key", "keyboard", "secretary", "method", "weights", "passenger", ""]
)
def test_names_of_no_secrets(name: str) -> None:
    assert not names_a_secret(name)


def test_only_secrets_are_masked_however_deep() -> None:
    config = {
        "method": "topsis",
        "max_tokens": 100,
        "api_key": "sk-123",
        "pin": {"password": 1234, "hint": "year"},
        "sources": [{"url": "https://ann:hunter2@data.test/x", "token": ["a", "b"]}],
        "secret": None,
    }
    assert masked(config) == {
        "method": "topsis",
        "max_tokens": 100,
        "api_key": MASK,
        "pin": {"password": MASK, "hint": "year"},
        "sources": [{"url": "https://ann:***@data.test/x", "token": MASK}],
        "secret": None,
    }
    assert config["api_key"] == "sk-123", "what is shown is a copy"
