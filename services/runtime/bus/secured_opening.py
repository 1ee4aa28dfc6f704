"""The secured bus that the settings ask for."""

import structlog

from services.runtime.bus.base import Bus
from services.runtime.bus.secured import Opener, SecuredBus
from services.runtime.security.encryption import Cipher, open_cipher
from services.runtime.security.key_files import BadKeys, private_path, trusted_path
from services.runtime.security.policy import open_policy
from services.runtime.security.replays import Replays
from services.runtime.security.signing_keys import SigningKeys
from services.runtime.security.trusted_keys import TrustedKeys
from services.runtime.security.verifying import Verifier
from services.runtime.settings import Mode, Settings

log = structlog.get_logger(__name__)


def secured(bus: Bus, settings: Settings, service_name: str) -> SecuredBus:
    """``bus`` with signatures and encryption as the settings say.

    Raises:
        BadSettings: the keys or the agent policy are missing, or cannot be used. Where signatures are optional a
            service without a key of its own sends without.
    """
    cipher = _cipher(settings)
    opener = Opener(_verifier(settings), cipher, encrypted_only=settings.message_encryption is Mode.REQUIRED)
    return SecuredBus(bus, opener, keys=_keys(settings, service_name), cipher=cipher)


def _verifier(settings: Settings) -> Verifier | None:
    if settings.message_signing is Mode.OFF:
        return None
    path = trusted_path(settings.message_keys)
    if not path.exists():
        raise BadKeys(
            f"MESSAGE_SIGNING={settings.message_signing.value}, and {path}, with the public keys of all who may send,"
            " is not there: `python -m services message-keys create-all` makes it together with a key for each service;"
            " MESSAGE_KEYS names the folder"
        )
    return Verifier(
        keys=TrustedKeys(settings.message_keys, open_policy(settings.agent_policy)),
        replays=Replays(settings.message_replay_window, settings.message_max_age),
        max_age=settings.message_max_age,
        required=settings.message_signing is Mode.REQUIRED,
    )


def _keys(settings: Settings, service_name: str) -> SigningKeys | None:
    if settings.message_signing is Mode.OFF:
        return None
    path = private_path(settings.message_keys, service_name)
    if path.exists():
        return SigningKeys(settings.message_keys, service_name)
    how = (
        f"service {service_name!r} has no signing key: {path} is not there; `python -m services message-keys create"
        f" {service_name}` makes it (MESSAGE_KEYS names the folder)"
    )
    if settings.message_signing is Mode.REQUIRED:
        raise BadKeys(f"MESSAGE_SIGNING=required, and {how}")
    log.warning("messages are sent without signatures", why=how)
    return None


def _cipher(settings: Settings) -> Cipher | None:
    return None if settings.message_encryption is Mode.OFF else open_cipher(settings)
