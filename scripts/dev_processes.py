"""The processes behind ``start_dev.py``: one instance a folder, what a killed one left behind, and the services."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from scripts.servers import LocalServer, MongoServer, ServerFailed
from scripts.setup_environment import ROOT
from services.runtime.settings import Settings

STALE_GRACE = 15.0
LOG_LINES_SHOWN = 30


class CannotStart(Exception):
    """Something stands in the way; the message says what, and what to do."""


# ---- one instance a folder


@contextlib.contextmanager
def only_instance(folder: Path) -> Iterator[TextIO]:
    """Hold the folder for this process. The operating system lets go of it however this process ends.

    Yields a file in which the holder may write what a second instance should be told.

    Raises:
        CannotStart: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "instance").open("a+", encoding="utf-8") as note:
        try:
            fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note.seek(0)
            told = note.read().strip() or "it is just starting"
            raise CannotStart(f"Conclave already runs on {folder}: {told}. Stop it first (Ctrl-C there).") from None
        note.truncate(0)
        yield note


def check_port_is_free(host: str, port: int) -> None:
    """
    Raises:
        CannotStart: something listens there already, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotStart(
                f"port {port} on {host} cannot be used ({error.strerror}):"
                f" set API_PORT to another one, for example API_PORT={port + 1}, or API_PORT=0 for any"
            ) from None


# ---- what a killed instance left behind


class Pidfile:
    """Which processes an instance started, so that the next one can end what a ``kill -9`` left running."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._births: dict[str, str | None] = {}

    def add(self, pid: int) -> None:
        self._births[str(pid)] = _birth(pid)
        self._path.write_text(json.dumps(self._births), encoding="utf-8")

    def end_leftovers(self) -> list[int]:
        """End those that still run; a process that only has the same number is left alone. Returns their ids."""
        try:
            remembered: Mapping[str, str | None] = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return []
        left = [int(pid) for pid, birth in remembered.items() if birth and _birth(int(pid)) == birth]
        for pid in left:
            _end(pid)
        self.forget()
        return left

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


def _birth(pid: int) -> str | None:
    """When a process began, as the system tells it: with its number, its identity. None if it does not run."""
    status = Path(f"/proc/{pid}/stat")
    if status.parent.parent.joinpath("self").exists():
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else fields[19]
    told = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return told.stdout.strip() or None


def _end(pid: int) -> None:
    for number, patience in ((signal.SIGTERM, STALE_GRACE), (signal.SIGKILL, STALE_GRACE)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + patience
        while _birth(pid) is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        if _birth(pid) is None:
            return
    raise CannotStart(f"process {pid}, left by an instance that was killed, cannot be ended")


# ---- the children


class _Remembered(LocalServer):
    """A server whose process is written down as soon as it exists."""

    pidfile: Pidfile

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        process = super()._spawn(command)
        self.pidfile.add(process.pid)
        return process

    def _before_start(self) -> None:
        """The log of the last run is kept, that of the one before is not."""
        super()._before_start()
        if self._log.exists():
            self._log.replace(self._log.with_suffix(".log.1"))


class Store(_Remembered, MongoServer):
    """The embedded document store, with its data in ``folder``."""

    def __init__(self, folder: Path, pidfile: Pidfile) -> None:
        super().__init__(folder)
        self.pidfile = pidfile


class Services(_Remembered):
    """``python -m services``: every service in one process."""

    def __init__(self, folder: Path, settings: Settings, pidfile: Pidfile) -> None:
        super().__init__(folder, settings.api_port)
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # nosec B104
        host = anywhere.get(settings.api_host, settings.api_host)
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self.origin = "services"
        self.pidfile = pidfile

    def _command(self) -> Sequence[str]:
        return [sys.executable, "-m", "services"]

    def _environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(ROOT)}

    def _answers(self) -> bool:
        """Whether the edge reaches its store and its bus."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:  # nosec B310
                return bool(answer.status == 200)
        except OSError:  # not reached, or an answer that is no success
            return False


def wait_for_the_end(children: Sequence[LocalServer]) -> None:
    """Wait for an interrupt.

    Raises:
        ServerFailed: a child ended by itself; with the end of its log.
    """
    while True:
        for child in children:
            if not child.running:
                tail = (child.folder / "server.log").read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
                raise ServerFailed("\n".join([f"{child.origin} ended unexpectedly:", *tail]))
        time.sleep(0.5)
