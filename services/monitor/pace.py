"""How often the monitor looks, and how long something lasts before it is called a problem."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """All in seconds.

    ``look``: between two looks at queues and store. ``patience``: what is found must be found for that long; a service
    that is restarted is not a problem. ``settled_after``: from when on what was not heard of is not there.
    ``forgotten_after``: a process or host that went silent and was not replaced is mentioned for that long.
    ``overdue_after``: a timer may be late by that. ``stuck_after``: so long after the last moment at which its log says
    that something must happen, an execution is stuck. ``recent`` against ``usual``: what happened lately, and in the
    time before that. ``long_wait``: a queue in which messages wait for longer is behind.
    """

    look: float = 5.0
    patience: float = 10.0
    settled_after: float = 20.0
    forgotten_after: float = 900.0
    overdue_after: float = 30.0
    stuck_after: float = 60.0
    recent: float = 300.0
    usual: float = 3_600.0
    long_wait: float = 30.0
