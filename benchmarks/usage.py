"""What processes use: processor time and memory, by name, their children included."""

import threading
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psutil

_SAMPLE_EVERY = 0.5
_DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671, "mongodb": 27017, "postgresql": 5432, "postgres": 5432, "redis": 6379}
_FORWARDERS = ("docker-proxy", "rootlessport", "slirp4netns")  # they listen for a server that is elsewhere
_MB = 1024 * 1024


def listener(url: str) -> int | None:
    """The process on this machine that listens where ``url`` says; None if there is none that can be seen."""
    parts = urlsplit(url)
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    pids = {c.pid for c in connections if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr[1] == port}
    for pid in sorted(pid for pid in pids if pid is not None):
        process = psutil.Process(pid)
        if process.ppid() not in pids and process.name() not in _FORWARDERS:
            return pid
    return None


class Usage:
    """Watches processes: ``{name: pid}``."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._roots = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._peaks: dict[str, int] = {}

    def cpu_seconds(self) -> dict[str, float]:
        """User and system time since each began, with that of its children, the ended ones too."""
        return {name: sum(_cpu(process) for process in _tree(root)) for name, root in self._roots.items()}

    def memory(self) -> dict[str, dict[str, float]]:
        """In MB: ``rss``; ``uss``, what is its alone (shared pages, PostgreSQL's buffers among them, are not in it);
        ``peak_rss``, the most that was seen while ``sampled``."""
        told: dict[str, dict[str, float]] = {}
        for name, root in self._roots.items():
            tree = _tree(root)
            rss = _total(tree, "rss")
            told[name] = {
                "rss": rss / _MB,
                "uss": _total(tree, "uss") / _MB,
                "peak_rss": max(rss, self._peaks.get(name, 0)) / _MB,
            }
        return told

    @contextmanager
    def sampled(self) -> Any:
        """Look at the memory twice a second while the body runs."""
        self._peaks = {}
        over = threading.Event()

        def look() -> None:
            while not over.wait(_SAMPLE_EVERY):
                for name, root in self._roots.items():
                    self._peaks[name] = max(self._peaks.get(name, 0), _total(_tree(root), "rss"))

        thread = threading.Thread(target=look, name="memory", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _tree(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _total(tree: Iterable[psutil.Process], what: str) -> int:
    total = 0
    for process in tree:
        try:
            told = process.memory_full_info() if what == "uss" else process.memory_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        total += getattr(told, what)
    return total
