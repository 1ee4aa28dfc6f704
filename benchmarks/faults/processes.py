"""The services of a run, each a process that can be killed, stopped and started again."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STOP_PATIENCE = 90.0  # seconds that a service has to end in good order before it counts as hanging
STARTING = 30.0  # seconds in which a service may not have taken charge of its signals yet


class ServiceProcess:
    """``python -m MODULE ...`` with its log in ``log``. A process group of its own: what it started dies with it."""

    def __init__(self, name: str, module: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = [sys.executable, "-m", *module]
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def wanted(self) -> bool:
        """Whether it was started and nobody has ended it since."""
        return self._process is not None

    @property
    def ended_with(self) -> int | None:
        """The exit code of a process that ended by itself."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        self._started_at = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()

    def pause(self) -> None:
        if self._process is not None:
            _signal_group(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        if self._process is not None:
            _signal_group(self._process.pid, signal.SIGCONT)

    async def stop(self) -> int | None:
        """End it in good order; its exit code, or None if it had to be killed. One that dies of the signal while it is
        still being loaded holds nothing, and counts as ended in good order."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(signal.SIGTERM)
        try:
            code = await asyncio.to_thread(process.wait, STOP_PATIENCE)
            loading = time.monotonic() - self._started_at < STARTING
            return 0 if loading and code == -signal.SIGTERM else code
        except subprocess.TimeoutExpired:
            return None
        finally:
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()


def service_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with ``settings``, and with the project on the path."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **settings}


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
