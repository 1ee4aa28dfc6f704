"""Samples of a standing system: memory, file handles, processor time and queue depths, each with its time."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import aio_pika
import psutil
from aio_pika.exceptions import ChannelClosed

from benchmarks.definitions import AGENT_TYPE
from contracts import topology

_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: ``at`` in seconds since the first, memory in MB, by process; messages ready, by queue."""

    at: float
    rss: Mapping[str, float]
    uss: Mapping[str, float]
    handles: Mapping[str, int]
    cpu_seconds: Mapping[str, float]
    queues: Mapping[str, int]


def watched_queues() -> list[str]:
    queues = [
        topology.orchestrator_commands(),
        topology.orchestrator_starts(),
        *topology.orchestrator_shards(),
        topology.agent_type_queue(AGENT_TYPE),
        topology.registry_queue(),
        topology.dead_letters(),
    ]
    return [queue.name for queue in queues]


@dataclass
class Sampler:
    """Takes a sample every ``period`` seconds while it runs."""

    pids: Mapping[str, int]
    rabbitmq_url: str
    period: float = 1.0
    samples: list[Sample] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Sampler":
        self._task = asyncio.create_task(self._run(), name="samples")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    @property
    def now(self) -> float:
        return time.monotonic() - self._began

    def between(self, begin: float, end: float) -> list[Sample]:
        return [sample for sample in self.samples if begin <= sample.at < end]

    async def _run(self) -> None:
        roots = {name: psutil.Process(pid) for name, pid in self.pids.items()}
        async with await aio_pika.connect(self.rabbitmq_url) as connection:
            while True:
                began = time.monotonic()
                depths = await _depths(connection)
                self.samples.append(await asyncio.to_thread(_sample, self.now, roots, depths))
                await asyncio.sleep(max(0.0, self.period - (time.monotonic() - began)))


def _sample(at: float, roots: Mapping[str, psutil.Process], depths: Mapping[str, int]) -> Sample:
    looks = {name: _look(root) for name, root in roots.items()}
    rss, uss, handles, cpu = ({name: look[i] for name, look in looks.items()} for i in range(4))
    return Sample(at, rss, uss, {name: int(count) for name, count in handles.items()}, cpu, depths)


def _look(root: psutil.Process) -> tuple[float, float, float, float]:
    """RSS and USS in MB, open files, CPU seconds: of a process and its children."""
    rss = uss = handles = cpu = 0.0
    with suppress(psutil.NoSuchProcess):
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                memory, times = process.memory_full_info(), process.cpu_times()
                rss, uss = rss + memory.rss / _MB, uss + memory.uss / _MB
                handles, cpu = handles + process.num_fds(), cpu + times.user + times.system
    return rss, uss, handles, cpu


async def _depths(connection: Any) -> dict[str, int]:
    depths: dict[str, int] = {}
    for name in watched_queues():
        channel = await connection.channel()
        with suppress(ChannelClosed):  # it has not been declared yet
            queue = await channel.declare_queue(name, passive=True)
            depths[name] = int(queue.declaration_result.message_count or 0)
            await channel.close()
    return depths


def middle(samples: Sequence[Sample], of: str, name: str) -> float:
    """The median of one figure of one process (or queue) over samples; 0 where there are none."""
    values = [float(getattr(sample, of).get(name, 0)) for sample in samples]
    return median(values) if values else 0.0


def peak(samples: Sequence[Sample], of: str, name: str) -> float:
    return max((float(getattr(sample, of).get(name, 0)) for sample in samples), default=0.0)
