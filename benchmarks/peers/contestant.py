"""A peer as a contestant: its environment, its program, and what its answers must be."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.peers.environment import VENVS, make_environment
from benchmarks.peers.program import PeerFailed, PeerProgram
from benchmarks.rounds import Round, Servers, Workload
from benchmarks.usage import Usage, listener

PEERS_FOLDER = Path(__file__).resolve().parent
START_TIMEOUT = 90.0
ROUND_TIMEOUT = 600.0
SHAPES = ("chain", "fan")
_SENT = ("name", "shape", "steps", "workflows", "in_flight", "payload")


class PeerContestant:
    """Runs ``benchmarks/peers/<folder>/main.py <variant>`` in the virtual environment ``<venvs>/<folder>``."""

    def __init__(
        self,
        name: str,
        folder: str,
        variant: str,
        needs: Sequence[str],
        *,
        venvs: Path = VENVS,
        folders: Path = PEERS_FOLDER,
        round_timeout: float = ROUND_TIMEOUT,
    ) -> None:
        self.name = name
        self._folder = folders / folder
        self._variant = variant
        self._needs = tuple(needs)
        self._venv = venvs / folder
        self._round_timeout = round_timeout
        self._python: Path | None = None
        self._program: PeerProgram | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._about: dict[str, str] = {}
        self._usage = Usage({})

    def set_up(self) -> None:
        """Raises :class:`benchmarks.peers.environment.SetUpFailed` if its packages cannot be installed."""
        self._python = make_environment(self._folder / "requirements.txt", self._venv)

    def start(self, servers: Servers) -> None:
        """Raises :class:`PeerFailed` if a server that it needs is missing, or if it does not become ready."""
        missing = [need.removesuffix("_url") for need in self._needs if getattr(servers, need) is None]
        if missing:
            raise PeerFailed(f"{self.name} needs a server that is not there: {', '.join(missing)}")
        if self._python is None:
            self.set_up()
        self._scratch = tempfile.TemporaryDirectory(prefix=f"conclave-{self.name}-")
        scratch = Path(self._scratch.name)
        self._program = PeerProgram(
            [str(self._python), "main.py", self._variant],
            self._environment(servers, scratch),
            self._folder,
            scratch / "peer.log",
        )
        try:
            ready = self._program.answer(START_TIMEOUT)
            if ready.get("ready") is not True:
                raise PeerFailed(f"{self.name} said {ready} where it should be ready")
        except PeerFailed:
            self.stop()
            raise
        self._about = {**ready.get("versions", {}), **ready.get("settings", {})}
        addresses = {need.removesuffix("_url"): getattr(servers, need) for need in self._needs}
        pids = {name: listener(url) for name, url in addresses.items()}
        self._usage = Usage({name: pid for name, pid in pids.items() if pid is not None})

    def run(self, workload: Workload) -> Round:
        """Raises :class:`PeerFailed` if a workflow did not finish, or more or fewer steps were executed than asked."""
        if self._program is None:
            raise PeerFailed(f"{self.name} is not started")
        if workload.shape not in SHAPES:
            raise PeerFailed(f"{self.name} cannot run {workload.name}: its shape is {workload.shape}, not {SHAPES}")
        question = {name: getattr(workload, name) for name in _SENT}
        before = self._usage.cpu_seconds()
        done = checked_round(self.name, workload, self._program.ask(question, self._round_timeout))
        return replace(done, figures=self._with_servers(done, before))

    def stop(self) -> None:
        program, self._program = self._program, None
        scratch, self._scratch = self._scratch, None
        if program is not None:
            program.stop()
        if scratch is not None:
            scratch.cleanup()

    def about(self) -> Mapping[str, str]:
        return self._about

    def _with_servers(self, done: Round, before: Mapping[str, float]) -> dict[str, Any]:
        """The figures of the peer, and what its servers used."""
        used = {name: seconds - before[name] for name, seconds in self._usage.cpu_seconds().items()}
        return {**done.figures, "cpu_seconds": {**done.figures.get("cpu_seconds", {}), **used}}

    def _environment(self, servers: Servers, scratch: Path) -> dict[str, str]:
        return {
            "RABBITMQ_URL": servers.rabbitmq_url or "",
            "REDIS_URL": servers.redis_url or "",
            "POSTGRESQL_URL": servers.postgresql_url or "",
            "SCRATCH": str(scratch),
            "PYTHONPATH": str(PEERS_FOLDER / "common"),
            "PYTHONUNBUFFERED": "1",
        }


def checked_round(name: str, workload: Workload, answer: Mapping[str, Any]) -> Round:
    """The round that a peer reports, if it did the whole workload.

    Raises:
        PeerFailed: if it executed another number of steps than asked, or a workflow has no time.
    """
    steps, latencies = answer.get("steps"), answer.get("latencies_ms", [])
    if steps != workload.total_steps:
        raise PeerFailed(f"{name} executed {steps} steps of {workload.name} where {workload.total_steps} were due")
    if len(latencies) != workload.workflows:
        raise PeerFailed(f"{name} finished {len(latencies)} workflows of {workload.name}, not {workload.workflows}")
    return Round(workload.name, steps, float(answer["seconds"]), tuple(latencies), answer.get("figures", {}))
