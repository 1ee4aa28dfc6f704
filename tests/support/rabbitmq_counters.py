"""What a RabbitMQ of the tests' own has counted since it was started: no service has a part in these figures."""

import re
import subprocess
from dataclasses import dataclass

from scripts.server_processes import RabbitServer
from tests.support.rabbitmq_users import rabbitmqctl


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Messages that it has given to consumers, and how many of those it had given to one before."""

    delivered: int
    redelivered: int

    def __sub__(self, before: "Deliveries") -> "Deliveries":
        return Deliveries(self.delivered - before.delivered, self.redelivered - before.redelivered)


def deliveries(server: RabbitServer) -> Deliveries:
    command, environment = rabbitmqctl(server)
    answer = subprocess.run(
        [command, "eval", "rabbit_global_counters:overview()."],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return Deliveries(
        _sum(answer.stdout, "messages_delivered_total"), _sum(answer.stdout, "messages_redelivered_total")
    )


def _sum(overview: str, counter: str) -> int:
    counts = re.findall(rf"\b{counter} => (\d+)", overview)
    assert counts, f"RabbitMQ counts no {counter}:\n{overview}"
    return sum(map(int, counts))
