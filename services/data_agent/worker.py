"""A worker process: takes one job after another from its standard input and answers on its standard output.

A process of its own, because DuckDB's limits do not hold for everything: ``repeat('x', 4000000000)`` and
``list_sum(range(500000000))`` were seen to take 8 and 17 GB past a memory limit of 256 MB and to ignore an interrupt
for a minute. Here the operating system bounds the memory, and the parent can kill what will not end.

It is sent the configuration, answers ``{"ready": true}``, and is then sent jobs.
"""

import json
import os
import signal
import sys
import traceback
from typing import Any

from pydantic import ValidationError

from services.data_agent.config import DataAgentConfig
from services.data_agent.faults import ENGINE_FAULT, out_of_memory
from services.data_agent.frames import read_frame, write_frame
from services.data_agent.jobs import JOBS
from services.data_agent.sandbox import Sandbox
from services.runtime.agent import CapabilityError
from services.runtime.masking import masked_text

# Beyond DuckDB's own limit: Python with its rows, DuckDB's code, stacks, and memory that DuckDB does not count.
_BESIDE_DUCKDB = 768 * 2**20


def answer(job: dict[str, Any], config: DataAgentConfig, sandbox: Sandbox) -> bytes:
    """Run ``{"name": ..., "request": ...}``.

    The reply is ``{"output": ...}``, or ``{"error": ...}`` with the parts of a CapabilityError.
    """
    try:
        kind = JOBS[job["name"]]
        output = kind.run(kind.request.model_validate(job["request"]), config, sandbox)
        return b'{"output":' + output.model_dump_json().encode() + b"}"
    except CapabilityError as error:
        return _error(error)
    except MemoryError:
        return _error(out_of_memory())
    except ValidationError as error:
        return _error(CapabilityError(f"inputs do not fit: {error}", code="InvalidInputs"))
    except RecursionError:
        return _error(CapabilityError("the data is nested too deeply", code="NestedTooDeep"))
    except Exception as error:
        # A fault of ours: its trace goes to the service's log, its name to the caller, and this process is replaced.
        fault = CapabilityError(f"{type(error).__name__}: {error}", code=ENGINE_FAULT, retryable=True)
        return _error(fault, masked_text(traceback.format_exc()))


def main() -> None:
    # Ctrl-C goes to every process of a terminal; the parent decides when this one ends, by closing its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    commands = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever prints must not end up between two frames.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    first = read_frame(commands)
    if first is None:
        return
    config = DataAgentConfig.model_validate_json(first)
    _bound_memory(config)
    sandbox = Sandbox(config)
    write_frame(answers, b'{"ready":true}')
    while (frame := read_frame(commands)) is not None:
        write_frame(answers, answer(json.loads(frame), config, sandbox))


def _error(error: CapabilityError, trace: str = "") -> bytes:
    parts = {"message": str(error), "code": error.code, "retryable": error.retryable, "details": error.details}
    return json.dumps({"error": parts, "trace": trace}).encode()


def _bound_memory(config: DataAgentConfig) -> None:
    try:
        import resource
    except ImportError:  # there is none on Windows, where DuckDB's own limit has to do
        return
    limit = config.memory_limit_mb * 2**20 + _BESIDE_DUCKDB
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
    # Skips the interpreter's end, where DuckDB's binding complains about objects that the process takes with it.
    sys.stdout.flush()
    os._exit(0)
