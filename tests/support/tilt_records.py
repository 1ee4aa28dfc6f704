"""What a Tiltfile asks Tilt for, as tests read it."""

from collections.abc import Mapping
from dataclasses import dataclass

Strings = str | list[str]


class TiltfileError(Exception):
    """Tilt would refuse it; the message says why."""


@dataclass(frozen=True, slots=True)
class Blob:
    text: str


@dataclass(frozen=True, slots=True)
class FallBackOn:
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sync:
    local: str
    remote: str


@dataclass(frozen=True, slots=True)
class Run:
    command: Strings


Step = FallBackOn | Sync | Run


@dataclass(frozen=True, slots=True)
class PortForward:
    local: int
    container: int
    link_path: str


@dataclass(frozen=True, slots=True)
class Image:
    ref: str
    context: str
    build_args: Mapping[str, str]
    only: tuple[str, ...]
    ignore: tuple[str, ...]
    target: str
    entrypoint: tuple[str, ...]
    live_update: tuple[Step, ...]
    restart_file: str


@dataclass(frozen=True, slots=True)
class Resource:
    workload: str
    ports: tuple[PortForward, ...]
    deps: tuple[str, ...]
    labels: tuple[str, ...]
    manual: bool


@dataclass(frozen=True, slots=True)
class LocalResource:
    command: tuple[str, ...]
    manual: bool
    auto_init: bool
    deps: tuple[str, ...]
    labels: tuple[str, ...]
