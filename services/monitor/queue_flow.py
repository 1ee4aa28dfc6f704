"""What went through queues, by what the services that take from them counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.monitor.percentiles import Distribution
from services.monitor.windows import Windows


@dataclass(frozen=True, slots=True)
class Flow:
    """By queues' families, over ``seconds``: messages that were ``taken`` for the first time, and how long those waited
    that were read (``lags``). ``known`` is False where nobody has reported anything, so that nothing is not zero."""

    known: bool = False
    seconds: float = 0.0
    taken: Mapping[str, float] = field(default_factory=dict)
    lags: Mapping[str, Distribution] = field(default_factory=dict)

    def rate(self, family: str) -> float | None:
        """Messages taken a second."""
        return self.taken.get(family, 0.0) / self.seconds if self.known and self.seconds > 0 else None


def flow_of(windows: Windows, seconds: float, *, known: bool) -> Flow:
    """Over the last ``seconds``."""
    found = windows.over(seconds)
    received = found.sums("conclave_messages_received_total", "queue")
    again = found.sums("conclave_messages_redelivered_total", "queue")
    lags = found.distributions("conclave_message_lag_seconds", "queue")
    return Flow(
        known=known,
        seconds=found.seconds,
        taken={place[0]: max(0.0, count - again.get(place, 0.0)) for place, count in received.items()},
        lags={place[0]: lag for place, lag in lags.items()},
    )
