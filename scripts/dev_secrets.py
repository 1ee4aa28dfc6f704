"""What protects the API of a development installation: a hash key and an admin key, made at its first start."""

import os
import secrets
import shlex
import tempfile
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from scripts.admin_key import store_admin_key
from scripts.dev_processes import CannotStart
from services.runtime.security.api_keys import new_key_text
from services.runtime.settings import Mode, Protocol, Settings
from services.runtime.store.base import StoreError

HASH_KEY, ADMIN_KEY = "API_KEY_HASH_KEY", "INITIAL_ADMIN_KEY"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Protection:
    """``key_in_shell`` is how a shell has the key, ``key_from`` says it in words."""

    key_in_shell: str
    key_from: str

    def curl(self, header: str) -> str:
        return f'curl -H "{header}: {self.key_in_shell}"'


def protect(folder: Path, environment: MutableMapping[str, str]) -> Protection:
    """Have the environment name a hash key and an admin key: those that it names already, or those in ``folder``, which
    are made where they are missing. Nobody but their owner may read them."""
    if not (environment.get(HASH_KEY) or environment.get(f"{HASH_KEY}_FILE")):
        environment[f"{HASH_KEY}_FILE"] = str(_secret(folder / "hash-key", lambda: secrets.token_urlsafe(32)))
    if environment.get(ADMIN_KEY):
        return Protection(f"${ADMIN_KEY}", f"the one in {ADMIN_KEY}")
    if not environment.get(f"{ADMIN_KEY}_FILE"):
        environment[f"{ADMIN_KEY}_FILE"] = str(_secret(folder / "admin-key", lambda: str(new_key_text())))
    file = environment[f"{ADMIN_KEY}_FILE"]
    return Protection(f"$(cat {shlex.quote(file)})", f"in {file}")


def let_in(settings: Settings, protection: Protection, data: Path | None) -> dict[str, str]:
    """Let the installation know its admin key, and return the headers of requests that are signed in with it.

    ``data`` is where the store keeps its data, if it is ours.

    Raises:
        CannotStart: the store does not answer, or has keys of its own and not this one.
    """
    key = settings.initial_admin_key.get_secret_value()
    try:
        known = store_admin_key(settings.database_url, settings.api_key_hash_key.get_secret_value(), key)
    except TimeoutError:
        raise CannotStart("the store does not answer; its log, or DATABASE_URL, may tell why") from None
    except StoreError as error:
        raise CannotStart(f"the admin key cannot be stored: {error}") from error
    if not known:
        raise CannotStart(
            f"the store has admin keys already, and the admin key ({protection.key_from}) is not among those that are"
            f" valid, or was hashed with another {HASH_KEY}. If it was rotated or revoked, put a valid one in its"
            f" place. Otherwise set {HASH_KEY} and {ADMIN_KEY} to those of that installation; while its store runs, and"
            " with its hash key, `python -m services keys create NAME --role admin` makes a new one"
            + (f". To begin anew, without the data, delete {data}" if data else "")
        )
    return {settings.api_key_header: key}


def in_words(settings: Settings, protection: Protection) -> list[str]:
    """How the API and the messages are protected, in a line each."""
    if settings.api_host in LOOPBACK:
        reach = f"the API listens on {settings.api_host} only: nobody but this machine reaches it"
    else:
        reach = f"the API listens on {settings.api_host}, without TLS: other machines may reach it"
    return [
        reach,
        f"every request needs an API key or a token; the admin key is {protection.key_from}",
        _of_messages(settings),
    ]


def _of_messages(settings: Settings) -> str:
    bus = settings.communication_protocol.value
    off = settings.message_signing is settings.message_encryption is Mode.OFF
    if settings.communication_protocol is Protocol.DIRECT and off:
        return "messages do not leave the process, so they are neither signed nor encrypted"
    if off:
        return (
            f"messages over {bus} are neither signed nor encrypted; MESSAGE_SIGNING and MESSAGE_ENCRYPTION change that"
        )
    signing, encryption = settings.message_signing.value, settings.message_encryption.value
    return f"messages over {bus}: signing {signing}, encryption {encryption}"


def _secret(path: Path, make: Callable[[], str]) -> Path:
    """A file with a secret, which is made if it is not there, and is whole if it is."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    if not path.exists():
        number, unfinished = tempfile.mkstemp(dir=path.parent)  # for its owner's eyes only
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).replace(path)
    path.chmod(0o600)
    return path
