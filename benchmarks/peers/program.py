"""A peer's program as a child process: one JSON line in, one JSON line out."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_STOP_TIMEOUT = 20.0
_LOG_LINES = 15


class PeerFailed(Exception):
    """A peer did not start, did not answer, or got a workload wrong; the message holds the end of its log."""


class PeerProgram:
    """Runs ``command`` in ``folder``; what it writes to its standard error goes to ``log``.

    It and its workers end when this process does, however that happens: its standard input closes.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> None:
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors:
            # A session of its own: Ctrl-C must reach this process alone, which then ends the peer in good order.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **environment},
                cwd=folder,
                start_new_session=True,
            )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, question: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Send a line and wait for the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise PeerFailed(f"the peer has ended{self._log_tail()}") from error
        return self.answer(timeout)

    def answer(self, timeout: float) -> dict[str, Any]:
        """The next line that it writes.

        Raises:
            PeerFailed: if it says that it failed, ends, writes something else or takes more than ``timeout`` seconds.
        """
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise PeerFailed(f"no answer in {timeout:.0f} s{self._log_tail()}") from None
        if not line:
            raise PeerFailed(f"the peer ended with code {self._process.wait()}{self._log_tail()}")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise PeerFailed(f"the peer wrote {line[:200]!r} where a JSON object is due{self._log_tail()}")
        if "error" in answer:
            raise PeerFailed(f"{answer['error']}{self._log_tail()}")
        return answer

    def stop(self) -> None:
        """Ask it to end, and end it by force if it does not; its workers end with it either way."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(timeout=1)
        assert self._process.stdout is not None
        if not self._reader.is_alive():
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _log_tail(self) -> str:
        time.sleep(0.1)  # what it wrote as it ended may still be on its way
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        return "".join(f"\n    {line}" for line in lines)
