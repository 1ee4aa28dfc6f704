"""The pool of worker processes: one job each at a time, killed when late, replaced when dead."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog

from services.data_agent.config import DataAgentConfig
from services.data_agent.faults import ENGINE_FAULT, MEMORY_LIMIT, timed_out
from services.data_agent.frames import read_frame, write_frame
from services.runtime.agent import CapabilityError, current_step

log = structlog.get_logger(__name__)

# A worker interrupts late work itself and answers; only one that cannot is killed.
GRACE_SECONDS = 2.0
_START_SECONDS = 60.0
_END_SECONDS = 2.0
_LONGEST_LINE = 16 * 1024  # bytes
# After these a process is not trusted to be as it was: memory in pieces, or a database that DuckDB gave up.
_ENDS_WORKER = {MEMORY_LIMIT, ENGINE_FAULT}
# Not the whole environment: a worker runs callers' SQL and has no use for the passwords of broker and store.
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "LC_ALL")


class Workers:
    """Runs jobs in worker processes, as many at once as the configuration says; each is started when first needed.

    ``run`` may be called from several threads; it waits for a free worker.
    """

    def __init__(self, config: DataAgentConfig) -> None:
        self._config = config
        self._places = threading.BoundedSemaphore(config.workers)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._closed = False

    def open(self) -> None:
        self._closed = False

    def close(self) -> None:
        """End every worker, busy ones too."""
        with self._lock:
            self._closed = True
            workers = [*self._idle, *self._busy]
            self._idle.clear()
        for worker in workers:
            worker.end()

    @property
    def process_ids(self) -> list[int]:
        """The workers that are alive, for whoever watches processes."""
        with self._lock:
            return sorted(worker.process_id for worker in [*self._idle, *self._busy])

    @property
    def busy_count(self) -> int:
        with self._lock:
            return len(self._busy)

    def run(self, name: str, request: Mapping[str, Any], time_limit: float | None) -> Any:
        """The job's output as plain JSON.

        Raises:
            CapabilityError: the job's own; ``QueryTimeout``; ``WorkerDied``, if its process ended under it.
            WorkCancelled: the step it was for is cancelled; its process was ended at once.
        """
        limit = min(time_limit or self._config.time_limit_seconds, self._config.time_limit_seconds)
        try:
            frame = json.dumps({"name": name, "request": request}).encode()
        except RecursionError:
            raise CapabilityError("the request is nested too deeply", code="NestedTooDeep") from None
        except ValueError as unwritable:  # an integer of more digits than Python writes out
            raise CapabilityError(f"the request cannot be sent on: {unwritable}", code="InvalidInputs") from unwritable
        step = current_step()
        with self._worker() as worker, step.when_cancelled(worker.kill) if step else contextlib.nullcontext():
            reply = worker.ask(frame, limit + GRACE_SECONDS)
            if reply is None:
                if step is not None:
                    step.raise_if_cancelled()
                raise timed_out(limit) if worker.killed_late else _died(name, worker)
            error = reply.get("error")
            trusted = error is None or error["code"] not in _ENDS_WORKER
            worker.healthy = trusted and not worker.killed_late
        if error is not None:
            if reply.get("trace"):
                log.error("job failed in its worker process", job=name, exception=reply["trace"])
            raise CapabilityError(
                error["message"], code=error["code"], retryable=error["retryable"], details=error["details"]
            )
        return reply["output"]

    @contextlib.contextmanager
    def _worker(self) -> Iterator["_Worker"]:
        """A worker for one job. It goes back to the pool only if the job left it healthy."""
        with self._places:
            if (step := current_step()) is not None:
                step.raise_if_cancelled()
            with self._lock:
                if self._closed:
                    raise CapabilityError("the agent has stopped", code="AgentStopped", retryable=True)
                while self._idle and self._idle[-1].exit_code is not None:
                    self._idle.pop().end()
                worker = self._idle.pop() if self._idle else _Worker(self._config)
                self._busy.add(worker)
            worker.healthy = False
            try:
                yield worker
            finally:
                with self._lock:
                    self._busy.discard(worker)
                    keep = worker.healthy and not self._closed
                    if keep:
                        self._idle.append(worker)
                if not keep:
                    worker.end()


class _Worker:
    """One process. ``healthy`` says whether it may be given another job."""

    def __init__(self, config: DataAgentConfig) -> None:
        self.healthy = False
        self.killed_late = False
        self._ready = False
        self._config = config
        root = str(Path(__file__).resolve().parents[2])
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, sys.path)])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "services.data_agent.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            # Signals sent to the terminal's or the service's group are the parent's to answer.
            start_new_session=True,
        )
        threading.Thread(target=self._log_what_it_writes, name="worker-stderr", daemon=True).start()

    def _log_what_it_writes(self) -> None:
        """What an engine prints before it dies, say: it has no log of its own."""
        if self._process.stderr is not None:
            with self._process.stderr as written:
                while line := written.readline(_LONGEST_LINE):
                    text = line.decode(errors="replace").rstrip()
                    log.warning("worker process wrote", process=self.process_id, text=text)

    @property
    def process_id(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def wait(self) -> int | None:
        """The exit code of a process that is about to end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        return self.exit_code

    def ask(self, frame: bytes, seconds: float) -> dict[str, Any] | None:
        """Send a job and wait for its reply; None if the process ended or had to be killed instead."""
        if not self._ready:
            # Starting takes a second on a busy machine, which is no fault of the job's.
            self._ready = self._exchange(self._config.model_dump_json().encode(), _START_SECONDS) is not None
            if not self._ready:
                return None
        return self._exchange(frame, seconds)

    def end(self) -> None:
        """Let the process end by itself where it can, else kill it. May be called twice, and from another thread."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS if self.healthy else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _exchange(self, frame: bytes, seconds: float) -> dict[str, Any] | None:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            return None
        watch = threading.Timer(seconds, self._kill_late)
        watch.start()
        try:
            write_frame(stdin, frame)
            body = read_frame(stdout)
        except (OSError, ValueError):  # the process ended, or another thread closed the pipe
            return None
        finally:
            watch.cancel()
            watch.join()  # it may be killing at this very moment
        reply: dict[str, Any] | None = None if body is None else json.loads(body)
        return reply

    def kill(self) -> None:
        """End it in the middle of its job. From another thread; does not wait."""
        self._process.kill()

    def _kill_late(self) -> None:
        self.killed_late = True
        self.kill()


def _died(job: str, worker: _Worker) -> CapabilityError:
    message = f"the process that ran {job} ended with exit code {worker.wait()}"
    return CapabilityError(message, code="WorkerDied", retryable=True)
