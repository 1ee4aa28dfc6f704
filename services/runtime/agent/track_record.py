"""What an agent has done so far, by action: how often, how long it took, how often it failed."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Record:
    """Of one action. ``seconds`` is the sum over its successes."""

    succeeded: int = 0
    failed: int = 0
    seconds: float = 0.0

    @property
    def mean_seconds(self) -> float | None:
        """Of a success; None where there was none."""
        return self.seconds / self.succeeded if self.succeeded else None

    @property
    def success_rate(self) -> float:
        """By Laplace's rule of succession (1814), (successes + 1) / (runs + 2): 1/2 where nothing is known, and never
        quite 0 or 1."""
        return (self.succeeded + 1) / (self.succeeded + self.failed + 2)


@dataclass(slots=True)
class TrackRecord:
    """Since the agent was started in this process. ``in_progress`` counts the calls under way, of any action."""

    in_progress: int = 0
    _records: dict[str, Record] = field(default_factory=dict)

    def of(self, action: str) -> Record:
        return self._records.get(action, Record())

    @contextmanager
    def measured(self, action: str) -> Iterator[None]:
        """Count the call within: its time if it ends well, a failure if it raises. A cancelled call is neither."""
        began = time.perf_counter()
        self.in_progress += 1
        try:
            yield
        except asyncio.CancelledError:
            raise
        except Exception:
            self._records.setdefault(action, Record()).failed += 1
            raise
        else:
            record = self._records.setdefault(action, Record())
            record.succeeded += 1
            record.seconds += time.perf_counter() - began
        finally:
            self.in_progress -= 1
