"""The processes of a benchmark, from the side of the one who starts them and tells them what to do."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.flight import RoundFailed

ROOT = Path(__file__).resolve().parents[1]
_LOG_LINES = 15
_ENDS_WITHIN = 40.0


class Served:
    """``python -m benchmarks.serve NAME ...`` with its log in ``folder``. It ends when we do, however that happens."""

    def __init__(self, names: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.names = tuple(names)
        self._log = folder / f"{'+'.join(names)}.log"
        self._rest = b""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.serve", *names],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for us: we end them in good order
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, order: str, *, within: float, **arguments: Any) -> Any:
        """Give an order and return its answer.

        Raises:
            RoundFailed: it could not be done, the process ended, or ``within`` seconds passed.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": order, **arguments}).encode() + b"\n")
            answer = json.loads(self._line(time.monotonic() + within))
        except (BrokenPipeError, TimeoutError, EOFError) as error:
            raise RoundFailed(f"{order}: {error or type(error).__name__}\n{self.log_tail()}") from error
        if "error" in answer:
            raise RoundFailed(answer["error"])
        return answer["answer"]

    def log_tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        return "\n".join([f"--- {self._log.stem}", *lines])

    def ask_to_end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """End it in good order, by force if that takes too long."""
        self.ask_to_end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDS_WITHIN)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _line(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        answers = self._process.stdout.fileno()
        pieces = [self._rest]
        while b"\n" not in pieces[-1]:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([answers], [], [], left)[0]:
                raise TimeoutError(f"{' '.join(self.names)} did not answer in time")
            piece = os.read(answers, 1 << 20)
            if not piece:
                raise EOFError(f"{' '.join(self.names)} ended")
            pieces.append(piece)
        line, _, self._rest = b"".join(pieces).partition(b"\n")
        return line


def wait_until_healthy(url: str, within: float) -> None:
    """Return once ``url`` answers with success.

    Raises:
        RoundFailed: it did not ``within`` that many seconds; with what it said last.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError as error:  # not reached, or an answer that is no success
            if time.monotonic() > deadline:
                raise RoundFailed(f"{url} is not healthy after {within:.0f} s: {error}") from error
        time.sleep(0.1)
