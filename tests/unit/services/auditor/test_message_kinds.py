"""Every message type of the catalog is recorded, or left out on purpose."""

from contracts.catalog import MESSAGES
from contracts.monitoring import DescribeMonitoring
from contracts.registry import SweepHosts
from contracts.topology import Exchange
from services.auditor.message_kinds import ACCESS, ANSWERS, COMMANDS, EVENTS, NOT_RECORDED, RECORDED
from tests.support import audit_samples
from tests.support.audit_samples import SECRET

# What is said over the exchange of commands without being one: a service to itself, and a question how all is.
_NO_COMMANDS = {SweepHosts.TYPE, DescribeMonitoring.TYPE}


def test_every_type_is_in_here_once() -> None:
    listed = [*COMMANDS, *ANSWERS, *EVENTS, ACCESS, *NOT_RECORDED]
    assert sorted(listed) == sorted(MESSAGES)


def test_whatever_goes_to_the_exchange_of_commands_is_recorded() -> None:
    sent = {message.TYPE for message, _ in audit_samples.COMMANDS if message.address().exchange is Exchange.COMMANDS}
    commands = {kind for kind, message in MESSAGES.items() if _goes_to_commands(message)}
    assert commands - _NO_COMMANDS == sent == set(COMMANDS)


def test_there_is_a_sample_of_each() -> None:
    sampled = {message.TYPE for message, _ in (*audit_samples.COMMANDS, *audit_samples.ANSWERS, *audit_samples.EVENTS)}
    assert sampled == set(RECORDED)
    assert any(SECRET in message.model_dump_json() for message, _ in audit_samples.COMMANDS)


def _goes_to_commands(message_class: type) -> bool:
    """Addresses are made of constants, or of one field; a message without fields that are checked tells its own."""
    try:
        address = message_class.model_construct().address()  # type: ignore[attr-defined]
    except (NotImplementedError, AttributeError):
        return False  # a reply, or an address of an agent or a shard
    return bool(address.exchange is Exchange.COMMANDS)
