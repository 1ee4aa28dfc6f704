"""Agent types: what the hosts that are known say they can run. ``/api/v1/agents/types``."""

from collections.abc import Iterable

from fastapi import APIRouter

from contracts.agents import AgentDescriptor
from services.edge import agent_examples as examples
from services.edge.access.requirements import needs
from services.edge.access.scopes import Scope
from services.edge.agent_models import AgentTypes, AgentTypeView, PluginFaultView, TypeHost
from services.edge.dependencies import EdgeParts
from services.edge.models import utc
from services.edge.openapi import ok, problems
from services.runtime.store.base import Host

router = APIRouter(prefix="/agents", tags=["agents"])


@router.get(
    "/types",
    operation_id="listAgentTypes",
    dependencies=[needs(Scope.AGENTS_READ)],
    summary="List agent types with the schemas of their capabilities, and plugins that could not be loaded",
    responses={**ok(examples.TYPES), **problems(503)},
)
async def list_types(edge: EdgeParts) -> AgentTypes:
    async with edge.reads.in_time():
        hosts = await edge.store.list_hosts()
    return types_of(hosts)


def types_of(hosts: Iterable[Host]) -> AgentTypes:
    """Types by name. Where hosts say different things of one type, as they do while a new version comes in, the one
    that is there counts before one that is silent, and then the one heard of last. Faults are those of hosts that are
    there: a host that has been started anew has said anew what it could not load."""
    known = sorted(hosts, key=lambda host: (not host.available, -host.seen_at, host.announced.host_id))
    descriptors: dict[str, AgentDescriptor] = {}
    running: dict[str, list[TypeHost]] = {}
    for host in known:
        for descriptor in host.announced.descriptors:
            descriptors.setdefault(descriptor.agent_type, descriptor)
            running.setdefault(descriptor.agent_type, []).append(_show_host(host))
    return AgentTypes(
        items=[_show_type(descriptors[name], running[name]) for name in sorted(descriptors)],
        faults=[
            PluginFaultView(host_id=host.announced.host_id, **fault.model_dump())
            for host in known
            if host.available
            for fault in host.announced.faults
        ],
    )


def _show_type(descriptor: AgentDescriptor, hosts: list[TypeHost]) -> AgentTypeView:
    return AgentTypeView(
        agent_type=descriptor.agent_type,
        description=descriptor.description,
        status="available" if any(host.available for host in hosts) else "unavailable",
        capabilities=descriptor.capabilities,
        message_types=descriptor.message_types,
        config_schema=descriptor.config_schema,
        limits=descriptor.limits,
        hosts=hosts,
    )


def _show_host(host: Host) -> TypeHost:
    return TypeHost(
        host_id=host.announced.host_id,
        service=host.announced.service,
        available=host.available,
        last_seen=utc(host.seen_at),
    )
