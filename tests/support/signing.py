"""Message keys of a test's own, and buses that sign with them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from services.runtime.bus.base import Bus
from services.runtime.bus.secured import SecuredBus
from services.runtime.bus.secured_opening import secured
from services.runtime.security import key_ring
from services.runtime.security.key_files import PublicEntry
from services.runtime.security.principal import SenderKind
from services.runtime.settings import Mode, Settings

NOW = 1_800_000_000.0  # epoch seconds, where a test sets the clock


def add_key(
    folder: Path, name: str, kind: SenderKind = SenderKind.SERVICE, types: Sequence[str] = (), *, now: float = 1.0
) -> PublicEntry:
    """A key made long ago, unless ``now`` says otherwise."""
    with key_ring.opened(folder, now) as ring:
        return ring.create(name, kind, types)


def signing_settings(folder: Path, mode: Mode = Mode.REQUIRED, **fields: object) -> Settings:
    return Settings(message_signing=mode, message_keys=folder, **fields)  # type: ignore[arg-type]


def signing_bus(bus: Bus, folder: Path, name: str = "edge", mode: Mode = Mode.REQUIRED, **fields: object) -> SecuredBus:
    """The bus of service ``name``, which has a key already."""
    return secured(bus, signing_settings(folder, mode, **fields), name)


def all_signing(make_bus: Callable[[float], Bus], folder: Path) -> Callable[[float], Bus]:
    """Every bus that is made signs, all with the same key, and takes nothing unsigned."""
    add_key(folder, "edge")
    return lambda drain_timeout: signing_bus(make_bus(drain_timeout), folder)
