"""What of a host's words is granted. Hosts say what they can do; the registry's own policy, what they may. Pure."""

from collections.abc import Iterable

from contracts.agents import AgentDescriptor, AgentRecord
from contracts.hosts import AgentTaken, HostAnnounced, PluginFault
from services.runtime.security.policy import AgentPolicy


def granted(message: HostAnnounced, policy: AgentPolicy) -> tuple[HostAnnounced, tuple[PluginFault, ...]]:
    """An announcement with what is granted of it, and a fault for everything that was left out. The faults are in the
    announcement, too, after its own."""
    descriptors: list[AgentDescriptor] = []
    faults: list[PluginFault] = []
    for descriptor in message.descriptors:
        agent_type = descriptor.agent_type
        names = [capability.name for capability in descriptor.capabilities]
        if not policy.admits(agent_type):
            faults.append(_fault(agent_type, policy.left_out(agent_type), policy))
            continue
        reasons = {name: policy.why_not(agent_type, name) for name in names}
        refused = {name for name, reason in reasons.items() if reason}
        faults += [_fault(agent_type, reasons[name], policy) for name in names if name in refused]
        kept = tuple(capability for capability in descriptor.capabilities if capability.name not in refused)
        descriptors.append(descriptor.model_copy(update={"capabilities": kept}) if refused else descriptor)
    if not faults:
        return message, ()
    update = {"descriptors": tuple(descriptors), "faults": (*message.faults, *faults)}
    return message.model_copy(update=update), tuple(faults)


def granted_taken(message: AgentTaken, agent_type: str, policy: AgentPolicy) -> AgentTaken:
    """What a host says of an agent that it took, with the capabilities that are granted to its type."""
    kept = _kept(agent_type, message.capabilities, policy)
    return message if kept == message.capabilities else message.model_copy(update={"capabilities": kept})


def granted_record(record: AgentRecord, policy: AgentPolicy) -> AgentRecord:
    """An agent's record without capabilities that its type is not granted, or not any more."""
    kept = _kept(record.agent_type, record.capabilities, policy)
    return record if kept == record.capabilities else record.model_copy(update={"capabilities": kept})


def _kept(agent_type: str, names: Iterable[str], policy: AgentPolicy) -> tuple[str, ...]:
    grants = policy.grants_of(agent_type)
    return tuple(name for name in names if grants.capability(name))


def _fault(agent_type: str, error: str, policy: AgentPolicy) -> PluginFault:
    return PluginFault(plugin=agent_type, source=policy.source, error=error)
