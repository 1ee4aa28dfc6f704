"""The agent host: the service that runs agents of one type, or of several. Every agent service is one of these."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from contracts import topology
from contracts.agents import AgentDescriptor, AgentLimits, AgentState
from contracts.envelope import Message, new_id
from contracts.execution import RunSteps, StepsCancelled
from contracts.hosts import HostAssignment, PluginFault
from contracts.registry import AgentMail
from services.runtime.agent import BaseAgent
from services.runtime.bus.base import Bus
from services.runtime.hosting.agents import Agents
from services.runtime.hosting.announcing import Announcer, NamedAgents
from services.runtime.hosting.bus_messenger import BusMessenger
from services.runtime.hosting.cancellation import Cancellations
from services.runtime.hosting.counting import counts_for
from services.runtime.hosting.granted_actions import log_what_is_not_granted
from services.runtime.hosting.granted_messenger import granted_messengers
from services.runtime.hosting.hosted import AgentFactory, HostedType, shared_prefetch
from services.runtime.hosting.instances import Instances
from services.runtime.hosting.mailroom import Mailroom
from services.runtime.hosting.performer import Performer
from services.runtime.hosting.progress import ProgressSender
from services.runtime.hosting.quarantine import Quarantine
from services.runtime.hosting.results import ResultSender
from services.runtime.hosting.spans import AgentSpans
from services.runtime.hosting.worker import Worker
from services.runtime.logs import logging_elsewhere
from services.runtime.requests import Requests
from services.runtime.security.policy import open_policy
from services.runtime.service import Intake, Outbox, Resource, Route, Service
from services.runtime.settings import Settings
from services.runtime.telemetry.telemetry import Telemetry
from services.runtime.telemetry.tracing_sends import SendSpans

__all__ = ["HostedType", "agent_service", "hosting_service"]


def agent_service(
    agent_class: type[BaseAgent],
    settings: Settings,
    bus: Bus,
    config: Mapping[str, Any] | None = None,
    *,
    telemetry: Telemetry | None = None,
) -> Service:
    """A service that runs agents of ``agent_class``. ``config`` is the service's own configuration: its default agent
    has it, and an instance that somebody creates sets its own over it, but for the class's ``fixed_config``."""
    hosted = [HostedType(agent_class, config or {})]
    return hosting_service(agent_class.agent_type, hosted, settings, bus, telemetry=telemetry)


def hosting_service(
    name: str,
    hosted: Sequence[HostedType],
    settings: Settings,
    bus: Bus,
    faults: Sequence[PluginFault] = (),
    *,
    apart: bool = False,
    telemetry: Telemetry | None = None,
) -> Service:
    """A service that runs agents of several types in one process. ``faults`` are agent types that could not be loaded,
    which it announces with the others. ``apart``: a type whose default agent cannot start leaves the others as they
    are; otherwise the service does not start without it.

    Raises:
        ValueError: two of the classes have the same ``agent_type``.
    """
    types = [one.agent_type for one in hosted]
    twice = sorted(agent_type for agent_type, count in Counter(types).items() if count > 1)
    if twice:
        raise ValueError(f"{name} cannot host two classes of one agent type: {', '.join(twice)}")

    host_id = f"{name}-{new_id()[:8]}"
    outbox = Outbox(bus, host_id)
    requests = Requests(bus, host_id)
    tracing = telemetry.tracing_of(name) if telemetry is not None else None
    spans = AgentSpans(tracing)
    messenger = BusMessenger(outbox, requests, settings.agent_timeout, SendSpans(tracing))
    policy = open_policy(settings.agent_policy)
    messenger_of = granted_messengers(messenger, policy, name)
    places = asyncio.Semaphore(settings.agent_concurrency)
    factories = {
        one.agent_type: AgentFactory(one, settings.agent_limits.get(one.agent_type, AgentLimits()), places, policy)
        for one in hosted
    }
    agents = Agents(
        [factory.default() for factory in factories.values()],
        messenger_of,
        start_timeout=settings.agent_timeout if apart else None,
    )

    log_what_is_not_granted(agents.defaults.values(), policy)
    quarantine = Quarantine(logging_elsewhere(settings, name))
    cancellations = Cancellations()
    progress = ProgressSender(outbox)
    counts = counts_for(telemetry, agents.defaults)
    performer = Performer(quarantine, progress, cancellations, counts)
    sender = ResultSender(outbox, settings.shutdown_timeout)
    worker = Worker(
        agents,
        performer,
        sender,
        patience=2 * settings.agent_heartbeat,
        drain_timeout=settings.shutdown_timeout,
        spans=spans,
        counts=counts,
    )
    mailroom = Mailroom(
        agents,
        outbox,
        timeout=settings.agent_timeout,
        retries=settings.max_message_retries,
        spans=spans,
        counts=counts,
    )
    intakes: dict[type[Message], Intake] = {RunSteps: worker.run, AgentMail: mailroom.take}

    listening = asyncio.Event()
    instances = Instances(
        host_id,
        factories,
        agents,
        messenger_of,
        bus,
        outbox,
        intakes,
        concurrency=settings.agent_concurrency,
        start_timeout=settings.agent_timeout,
        announce=lambda: announcer.announce(),
    )

    def describe() -> tuple[AgentDescriptor, ...]:
        return tuple(agent.describe() for agent in agents.defaults.values())

    def states() -> tuple[AgentState, ...]:
        defaults = (
            AgentState(agent_id=one, status=agent.status, error=agents.failures.get(one, ""))
            for one, agent in agents.defaults.items()
        )
        return (*defaults, *instances.states)

    announcer = Announcer(
        host_id,
        name,
        outbox,
        describe=describe,
        states=states,
        faults=faults,
        listening=listening,
        heartbeat=settings.agent_heartbeat,
    )
    named = NamedAgents(_named(settings, types), messenger, listening)
    routes = [
        *(
            Route(
                topology.agent_type_queue(one),
                intakes=intakes,
                prefetch=shared_prefetch(agent, settings.agent_concurrency),
            )
            for one, agent in agents.defaults.items()
        ),
        *(Route(topology.agent_quarantine_queue(one), intakes={RunSteps: worker.run}, prefetch=1) for one in types),
        Route(
            topology.host_queue(host_id, types),
            handlers={HostAssignment: instances.assigned, StepsCancelled: cancellations.steps_cancelled},
        ),
    ]
    # The last is stopped first: work ends and its results go out before anybody is told that the host is gone.
    resources: list[Resource] = [
        agents,
        quarantine,
        requests,
        announcer,
        progress,
        sender,
        worker,
        instances,
        named,
    ]
    # Where commands go that are over their delivery limit, and where this host announces itself: with nobody bound
    # the broker would drop them.
    declares = [topology.orchestrator_crashed(), topology.registry_queue()]
    return Service(
        name, bus, routes=routes, resources=resources, declares=declares, listening=listening, sender=host_id
    )


def _named(settings: Settings, types: Sequence[str]) -> list[tuple[str, str]]:
    """The agents that AGENT_IDS names, of these types."""
    entries = (entry.partition("/") for entry in settings.agent_ids)
    return [(agent_type, agent_id) for agent_type, _, agent_id in entries if agent_type in types]
