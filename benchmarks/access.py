"""How a benchmark's clients get in: an API key of the run's own, and settings with which nothing else is measured than
the work."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.key_header import HEADER, KEY_VARIABLE
from scripts.admin_key import store_admin_key
from services.runtime.security.api_keys import new_key_text

_POLICY = Path(__file__).with_name("policy.toml")
_NEVER_REACHED = 100_000_000  # requests a minute


def _new_key() -> str:
    return str(new_key_text())


@dataclass(frozen=True, slots=True)
class Access:
    """A new admin key, for one installation that is made for a run."""

    key: str = field(default_factory=_new_key, repr=False)
    hash_key: str = field(default_factory=secrets.token_urlsafe, repr=False)

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables of every service."""
        return {
            "API_KEY_HASH_KEY": self.hash_key,
            "AGENT_POLICY": str(_POLICY),
            "RATE_LIMIT": str(_NEVER_REACHED),
        }

    @property
    def headers(self) -> dict[str, str]:
        return {HEADER: self.key}

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of a load generator in a process of its own: a command line is for all to see."""
        return {KEY_VARIABLE: self.key}

    def store(self, database_url: str) -> None:
        """Let the key be known in this store, before an edge is started on it."""
        store_admin_key(database_url, self.hash_key, self.key)
