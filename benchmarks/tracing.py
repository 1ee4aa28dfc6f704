"""What traces cost: ``python -m benchmarks.tracing``

Processor time for each span, the least of several rounds, in microseconds: where the work is (a span of an attempt in
the orchestrator, a span of an action in an agent's host), and in the thread that encodes and delivers them; then the
encoding alone, beside that of OpenTelemetry's exporter. The collector is a process of its own that reads and forgets.
docs/tracing.md says what the figures mean.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource

from contracts.execution import RunSteps, StepCommand, StepResult
from contracts.history import LogEntry
from contracts.workflow import WorkflowDefinition
from services.orchestrator.engine import EngineMessage, ExecutionState, Limits, Start, advance, execution_plan
from services.orchestrator.spans import ExecutionSpans, Trace
from services.runtime.hosting.spans import AgentSpans
from services.runtime.process import collect_rarely
from services.runtime.settings import Settings
from services.runtime.telemetry.span_sorts import Attributes, Kind, Sort
from services.runtime.telemetry.trace_context import TraceContext, attempt_traceparent, child_of, execution_root
from services.runtime.telemetry.tracing import Tracing, open_tracing
from services.runtime.telemetry.tracing_encoding import EncodedSpan, Encoder, readable, request

ROUNDS = 5
EXECUTIONS = 500
STEPS = 10
AT_ONCE = 20
AT_ONCE_ENCODED = 2_048
PAUSE = 0.02  # seconds after so many executions, in which the thread delivers

Record = Callable[[], int]
"""Records the spans of one execution; returns how many."""
Layer = Callable[[Tracing, str], Record]

CHAIN = WorkflowDefinition.model_validate(
    {
        "name": "chain10",
        "steps": [
            {
                "id": f"s{i}",
                "agent_type": "data_agent",
                "action": "process_data",
                "depends_on": [f"s{i - 1}"] if i else [],
            }
            for i in range(STEPS)
        ],
    }
)


def main() -> None:
    collector, port = _start_collector()
    try:
        asyncio.run(_measure(f"http://127.0.0.1:{port}"))
    finally:
        collector.terminate()
        collector.join()
    _measure_encoding()


async def _measure(endpoint: str) -> None:
    print(f"{'microseconds a span':<24}{'where the work is':>20}{'exporter thread':>18}")
    for name, layer in {"orchestrator, chain10": _orchestrator, "agent's host": _agent}.items():
        rounds = [await _round(endpoint, layer) for _ in range(ROUNDS)]
        here, beside = (min(figures) for figures in zip(*rounds, strict=True))
        print(f"{name:<24}{here:>20.1f}{beside:>18.1f}")


async def _round(endpoint: str, layer: Layer) -> tuple[float, float]:
    tracing = open_tracing(Settings.model_validate({"otlp_endpoint": endpoint}), "benchmark")
    assert tracing is not None
    prepared = [layer(tracing, f"exec-{number:032d}") for number in range(EXECUTIONS)]
    collect_rarely()
    all_began, loop_began, here, spans = time.process_time(), time.thread_time(), 0.0, 0
    for number, record in enumerate(prepared):
        began = time.thread_time()
        spans += record()
        here += time.thread_time() - began
        if number % AT_ONCE == 0:
            await asyncio.sleep(PAUSE)
    await tracing.stop()
    beside = time.process_time() - all_began - (time.thread_time() - loop_began)
    return here / spans * 1e6, beside / spans * 1e6


def _orchestrator(tracing: Tracing, execution_id: str) -> Record:
    """A chain of ten steps, of which nothing but the recording is left to do."""
    state = ExecutionState(execution_id, execution_plan(CHAIN, Limits()))
    state.traced = True
    entries = [_entry(state, Start("d", "r", "chain10", traceparent=execution_root(execution_id, 1.0).traceparent))]
    for step in range(STEPS):
        result = StepResult(result_id=f"r{step}", execution_id=execution_id, step=f"s{step}", attempt=1, ok=True)
        entries.append(_entry(state, result))
    spans = ExecutionSpans(tracing)

    def record() -> int:
        trace = Trace()
        for entry in entries:
            spans.record(state, trace, entry)
        return STEPS + 1

    return record


def _entry(state: ExecutionState, message: EngineMessage) -> LogEntry:
    decision = advance(state, message, 1_700_000_000.0)
    n = state.n = state.n + 1
    events = tuple(decision.events)
    return LogEntry(execution_id=state.execution_id, n=n, at=1_700_000_000.0, applied=(decision.cause,), events=events)


def _agent(tracing: Tracing, execution_id: str) -> Record:
    """Ten steps that are done, of which nothing but the recording is left to do."""
    root = execution_root(execution_id, 1.0).traceparent
    commands = tuple(
        StepCommand(
            execution_id=execution_id,
            step=f"s{step}",
            attempt=1,
            timeout=5,
            reply_key="shard.0",
            traceparent=attempt_traceparent(root, execution_id, f"s{step}", 1),
        )
        for step in range(STEPS)
    )
    message = RunSteps(agent_type="data_agent", action="process_data", commands=commands)
    times = {"started_at": 1_700_000_000.0, "finished_at": 1_700_000_000.5}
    results = [
        StepResult(result_id="r", execution_id=execution_id, step=one.step, attempt=1, ok=True, **times)
        for one in commands
    ]
    spans = AgentSpans(tracing)

    def record() -> int:
        for command, result in zip(commands, results, strict=True):
            spans.acted(spans.begin(command), message, command, result)
        return STEPS

    return record


# ---- the encoding


def _measure_encoding() -> None:
    resource = Resource.create({"service.name": "benchmark"})
    encoder = Encoder()
    recorded = [_recorded(number) for number in range(AT_ONCE_ENCODED)]
    theirs = [readable(EncodedSpan(resource, encoder.span(*one))) for one in recorded]
    layers: dict[str, Callable[[], bytes]] = {
        "encoding, ours": lambda: request(EncodedSpan(resource, encoder.span(*one)) for one in recorded),
        "encoding, OpenTelemetry's": lambda: bytes(encode_spans(theirs).SerializePartialToString()),
    }
    for name, encode in layers.items():
        seconds = min(_seconds(encode) for _ in range(4 * ROUNDS))
        print(f"{name:<24}{seconds / len(recorded) * 1e6:>20.1f}")


def _seconds(work: Callable[[], bytes]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


_Recorded = tuple[Sort, TraceContext, TraceContext, float, float, Attributes, str]

SORT_OF_STEP = tuple(
    Sort(
        "step data_agent.process_data",
        Kind.PRODUCER,
        {
            "conclave.workflow.name": "chain10",
            "conclave.step": f"s{step}",
            "conclave.attempt": 1,
            "conclave.agent.type": "data_agent",
            "conclave.action": "process_data",
            "conclave.agent.id": "data_agent",
        },
    )
    for step in range(STEPS)
)


def _recorded(number: int) -> _Recorded:
    execution_id, began = f"exec-{number // STEPS:032d}", 1_700_000_000.0
    parent, own = execution_root(execution_id, 1.0), {"conclave.execution.id": execution_id}
    return SORT_OF_STEP[number % STEPS], child_of(parent), parent, began, began + 1, own, ""


# ---- the collector


def _start_collector() -> tuple[BaseProcess, int]:
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    process = context.Process(target=_collect, args=(its,), daemon=True)
    process.start()
    return process, int(mine.recv())


def _collect(port: Connection) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_address[1])
    server.serve_forever()


if __name__ == "__main__":
    main()
