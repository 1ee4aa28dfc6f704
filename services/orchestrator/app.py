"""The orchestrator: moves every execution forward. This is its table: what it listens to, and what each meets."""

from faststream import FastStream

from contracts import topology
from contracts.envelope import new_id
from contracts.execution import (
    CancelExecution,
    DescribeExecution,
    RunSteps,
    StartExecution,
    StepResults,
    StepsProgressed,
    WakeExecutions,
)
from contracts.registry import AgentMail
from contracts.workflow import CreateWorkflow, DeleteWorkflow
from services.orchestrator import crashed
from services.orchestrator.admission import Admission, Known
from services.orchestrator.affinity import Affinity
from services.orchestrator.catalogue import Catalogue
from services.orchestrator.committer import Committer
from services.orchestrator.counting import counting_for
from services.orchestrator.definitions import Definitions
from services.orchestrator.describing import Describing
from services.orchestrator.engine import Limits
from services.orchestrator.intake import Intake
from services.orchestrator.outgoing import BatchSizes
from services.orchestrator.shards import Shards
from services.orchestrator.spans import ExecutionSpans
from services.orchestrator.states import States
from services.orchestrator.timers import Recovery, Timers
from services.orchestrator.workflows import Workflows
from services.runtime.bus.base import Bus
from services.runtime.faststream_app import configured_app
from services.runtime.service import Outbox, Resource, Route, Service
from services.runtime.settings import Protocol, Settings
from services.runtime.store.base import Store
from services.runtime.store.open import open_store
from services.runtime.telemetry.health import store_answers
from services.runtime.telemetry.telemetry import Telemetry

NAME = "orchestrator"


def build(settings: Settings, bus: Bus, store: Store | None = None, *, telemetry: Telemetry | None = None) -> Service:
    store = store or open_store(settings)
    counting = counting_for(telemetry)
    tracing = telemetry.tracing_of(NAME) if telemetry is not None else None
    outbox = Outbox(bus, NAME)
    sizes = BatchSizes()
    limits = Limits(default_timeout=settings.agent_timeout, lease=settings.step_lease)
    definitions = Definitions(store, Catalogue(store), limits, bus.declare)
    workflows = Workflows(store, definitions)
    affinity = Affinity()
    committer = Committer(
        store,
        States(store, definitions, on_read=counting.read),
        outbox,
        sizes=sizes,
        affinity=affinity,
        spans=None if tracing is None else ExecutionSpans(tracing),
        counting=counting,
        shutdown_timeout=settings.shutdown_timeout,
    )
    admission = Admission(store, committer.mailbox, settings.max_open_executions)
    intake = Intake(
        committer.mailbox, definitions, workflows, sizes, admission, Known(store), affinity, tracing, counting.metrics
    )
    counting.metrics.admission(lambda: admission.open, lambda: admission.waiting)

    commands = Route(
        topology.orchestrator_commands(),
        handlers={
            CreateWorkflow: workflows.create,
            DeleteWorkflow: workflows.delete,
            DescribeExecution: Describing(store, definitions).describe,
        },
        intakes={StartExecution: intake.start, CancelExecution: intake.cancel},
        prefetch=500,
    )
    # Of those that wait, only as many as are prefetched are in memory.
    starts = Route(topology.orchestrator_starts(), intakes={StartExecution: intake.start}, prefetch=100)
    shards = [
        Route(
            queue,
            intakes={StepResults: intake.results, StepsProgressed: intake.progress, WakeExecutions: intake.wake},
            prefetch=200,
        )
        for queue in topology.orchestrator_shards()
    ]
    quarantine = Route(
        topology.orchestrator_crashed(),
        handlers={RunSteps: crashed.quarantine},
        intakes={AgentMail: crashed.undelivered_mail},
    )

    resources: list[Resource] = [store, committer, admission, Timers(store, outbox)]
    resources.append(Shards(bus, affinity, new_id() if telemetry is None else telemetry.instance))
    if settings.communication_protocol is Protocol.DIRECT:
        resources.append(Recovery(store, outbox))
    return Service(
        NAME,
        bus,
        routes=[commands, starts, *shards, quarantine],
        resources=resources,
        needs={"store": store_answers(store)},
    )


def app() -> FastStream:
    """``faststream run services.orchestrator.app:app --factory``"""
    return configured_app(NAME, build)
