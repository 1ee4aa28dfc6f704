"""The worker processes of a peer: started on a leash, stopped in good order, killed with whoever started them."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_LEASH = Path(__file__).with_name("leash.py")
_STOP_TIMEOUT = 8.0


class Workers:
    """Commands that run as long as this process does, at the most; a context manager that stops them."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, command: Sequence[str]) -> None:
        self._processes.append(
            subprocess.Popen(
                [sys.executable, str(_LEASH), *command],
                stdin=subprocess.PIPE,
                stdout=sys.stderr,  # standard output belongs to the line protocol
                start_new_session=True,
            )
        )

    def check(self) -> None:
        """Raises RuntimeError if one has ended."""
        for process in self._processes:
            if process.poll() is not None:
                raise RuntimeError(f"a worker ended with code {process.returncode}")

    def cpu_seconds(self) -> float | None:
        """CPU time of all worker processes that still run; None where there is no /proc to tell."""
        groups = {process.pid for process in self._processes}
        ticks = 0
        if not Path("/proc/self/stat").exists():
            return None
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # The name of the program stands in brackets and may hold blanks.
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[2]) in groups:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_TIMEOUT)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()
