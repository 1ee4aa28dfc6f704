"""Upper bounds of histograms' buckets. Seconds, unless the name says otherwise."""

from typing import Final

Bounds = tuple[float, ...]

BROKER: Final[Bounds] = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""What a broker or a store takes for one thing."""

WORK: Final[Bounds] = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""What an agent takes for one action, and how long one thing waits for another."""

EXECUTIONS: Final[Bounds] = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    *(60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0),
)
"""What an execution takes: some are done at once, some wait for people."""

ITEMS: Final[Bounds] = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""How many are done together."""
