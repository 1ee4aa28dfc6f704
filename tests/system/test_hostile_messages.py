"""Thousands of hostile messages straight onto the broker: the services stay up, and every message is accounted for."""

import asyncio
import time
from pathlib import Path

import aiormq
import httpx
import pytest

from scripts.servers import Server
from services.runtime.security.principal import SenderKind
from services.runtime.settings import Settings
from services.runtime.store.open import open_store
from tests.support.api_access import HEADERS
from tests.support.cluster import Cluster
from tests.support.hostile import Hostile, hostile_messages
from tests.support.signing import add_key

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

COUNT = 1_000
AGENTS = ("data_agent", "decision_agent")
SERVICES = ("orchestrator", "registry", "dead_letters", "access", "auditor", "edge")
WORKFLOW = {
    "name": "after_the_attack",
    "steps": [
        {"id": "one", "agent_type": "data_agent", "action": "profile", "inputs": {"data_source": [{"x": 1}]}},
    ],
}


async def publish(url: str, messages: list[Hostile]) -> None:
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=True)
        for begin in range(0, len(messages), 100):
            await asyncio.gather(
                *(
                    channel.basic_publish(
                        message.body,
                        exchange=message.address.exchange.value,
                        routing_key=message.address.key,
                        properties=message.properties,
                    )
                    for message in messages[begin : begin + 100]
                )
            )
    finally:
        await connection.close()


def dead_letters(cluster: Cluster) -> dict[str, str]:
    """Reason by message id."""
    found: dict[str, str] = {}
    after: str | None = None
    with httpx.Client(timeout=30, headers=HEADERS) as client:
        while True:
            parameters = {"limit": "200", **({"after": after} if after else {})}
            answer = client.get(f"{cluster.url}/monitoring/dead-letters", params=parameters)
            if answer.status_code == 503:  # the store has much to do just now, and this is asked again
                return found
            page = answer.raise_for_status().json()
            found |= {row["message_id"]: row["reason"] for row in page["items"]}
            if (after := page.get("next")) is None:
                return found


async def audited(database_url: str, wanted: set[str]) -> set[str]:
    """Those message ids that the audit log has as refused, once it has all of them or nothing new comes."""
    store = open_store(Settings(database_url=database_url))
    await store.start()
    try:
        found: set[str] = set()
        after, quiet = 0, 0
        while wanted - found and quiet < 60:
            entries = await store.read_audit(after, 500)
            found |= {entry.record.id.rpartition("/")[2] for entry in entries if entry.record.result == "refused"}
            after = entries[-1].n if entries else after
            quiet = 0 if entries else quiet + 1
            await asyncio.sleep(0 if entries else 0.5)
        return found & wanted
    finally:
        await store.stop()


@pytest.mark.timeout(900)  # up to two minutes on a machine that has nothing else to do
@pytest.mark.parametrize("signing", ["off", "required"])
def test_services_survive_hostile_messages_and_account_for_each(
    cluster: Cluster, system_rabbit: Server, tmp_path: Path, signing: str
) -> None:
    """Each is a dead letter, and on the audit log; the services are up, and go on working."""
    for name in SERVICES:
        add_key(tmp_path / "keys", name)
    for name in AGENTS:
        add_key(tmp_path / "keys", name, SenderKind.AGENT, [name])
    cluster.start(*SERVICES, *AGENTS, extra={"MESSAGE_SIGNING": signing, "MESSAGE_KEYS": str(tmp_path / "keys")})
    cluster.wait_until_ready(*AGENTS)
    messages = list(hostile_messages(20_261_122, COUNT))
    asyncio.run(publish(system_rabbit.url, messages))

    sent = {message.id for message in messages}
    deadline = time.monotonic() + 480
    while missing := sent - dead_letters(cluster).keys():
        if time.monotonic() > deadline:
            kinds = [(one.kind, str(one.address.key), one.type, one.body[:80]) for one in messages if one.id in missing]
            raise AssertionError(f"{len(missing)} of {COUNT} are not accounted for: {kinds[:10]}")
        time.sleep(0.5)

    assert all(cluster.alive(name) for name in (*SERVICES, *AGENTS))
    ids = [cluster.start_execution(WORKFLOW) for _ in range(20)]
    assert {one["status"] for one in cluster.wait_until_ended(ids)} == {"completed"}
    refused = asyncio.run(audited(cluster.database_url, sent))
    assert len(refused) == COUNT, f"{len(sent - refused)} are not on the audit log, e.g. {sorted(sent - refused)[:5]}"
