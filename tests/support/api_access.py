"""The API key that tests are signed in with, and what an installation needs to know it."""

from pathlib import Path

from scripts.admin_key import store_admin_key as store_key

HASH_KEY = "only-for-tests-0123456789-0123456789-abcdef"
ADMIN_KEY = "ck_testsadmin00_" + "only-for-tests_" * 2 + "abcdefghijklm"
HEADERS = {"X-API-Key": ADMIN_KEY}

ENVIRONMENT = {
    "API_KEY_HASH_KEY": HASH_KEY,
    "INITIAL_ADMIN_KEY": ADMIN_KEY,
    "AGENT_POLICY": str(Path(__file__).with_name("policy.toml")),
    "RATE_LIMIT": "100000000",
}


def store_admin_key(database_url: str) -> None:
    """For a test that starts an edge without the access service."""
    store_key(database_url, HASH_KEY, ADMIN_KEY)
