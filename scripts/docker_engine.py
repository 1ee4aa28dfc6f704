"""Find a Docker engine, or start one: on Debian, as root, its package docker.io is installed if need be.

    python scripts/docker_engine.py start     and leave it running, for docker and docker-compose
    python scripts/docker_engine.py stop      the one that was started so

``docker_engine()`` gives a running :class:`Engine` for as long as its block lasts, and stops it if it was started for
that and nobody else uses it: several processes may ask at once, and share one. Images stay in /var/lib/docker.

Only the standard library is imported here.
"""

from __future__ import annotations  # so that an older Python is told which one is needed

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.debian_packages import installed_from_debian, is_root

SOCKET = "unix:///var/run/docker.sock"
PID_FILE = Path("/var/run/docker.pid")  # the daemon's own
STATE = Path("/run/conclave-docker")  # who uses the engine that was started here, and its log
ADMINISTRATORS = Path("/etc/docker/daemon.json")  # a configuration that wins over ours
CONFIGURATION = {"builder": {"gc": {"enabled": True, "defaultKeepStorage": "6GB"}}}  # or what was built stays for ever
ALSO_IN = ("/usr/bin",)  # where Debian has its client, should the PATH lead to another
START_TIMEOUT = 60.0  # seconds
STOP_TIMEOUT = 60.0  # seconds; it stops its containers first
ASK_TIMEOUT = 20.0  # seconds
BUILDKIT_BUILT_IN_BEFORE = 23  # since then the client needs its plugin buildx


class EngineNotFound(Exception):
    """No way led to an engine; the message lists every way and why it failed."""


class DockerFailed(Exception):
    """A docker command failed; the message holds the command and the end of what it said."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine. ``client`` is a docker command that can build with BuildKit, ``host`` the engine's address as
    DOCKER_HOST takes it, ``origin`` says in words where it came from."""

    client: Path
    host: str
    origin: str

    def variables(self) -> dict[str, str]:
        """With these, ``docker``, Compose and Docker's libraries find this engine and this client."""
        path = os.environ.get("PATH", "")
        if shutil.which("docker") != str(self.client):
            path = f"{self.client.parent}{os.pathsep}{path}"
        return {"PATH": path, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "1"}

    def environment(self) -> dict[str, str]:
        """This process's, with :meth:`variables`."""
        return {**os.environ, **self.variables()}

    def run(
        self,
        *arguments: str,
        timeout: float = 600,
        environment: Mapping[str, str] | None = None,
        given: str | None = None,
    ) -> str:
        """What ``docker ARGUMENTS`` writes to its standard output, without the last line break.

        Args:
            arguments: of the command, ``"ps"`` for example.
            timeout: seconds until it is ended.
            environment: variables beside those of :meth:`environment`.
            given: the command's standard input.

        Raises:
            DockerFailed: it ended with another code than 0, or not in time.
        """
        command = [str(self.client), *arguments]
        try:
            done = subprocess.run(
                command,
                env=self.environment() | dict(environment or {}),
                input=given if given is not None else "",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DockerFailed(f"{' '.join(command)}: not done in {timeout:.0f} s") from error
        if done.returncode:
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-40:])
            raise DockerFailed(f"{' '.join(command)} ended with code {done.returncode}:\n{said}")
        return done.stdout.rstrip("\n")

    def has_image(self, name: str) -> bool:
        with contextlib.suppress(DockerFailed):
            self.run("image", "inspect", "--format", "{{.Id}}", name)
            return True
        return False

    def compose(self, *, install: bool = False) -> list[str]:
        """The command of Docker Compose: version 2, the client's plugin, or version 1, ``docker-compose``.

        Raises:
            EngineNotFound: there is neither.
        """
        with contextlib.suppress(DockerFailed):
            self.run("compose", "version", timeout=ASK_TIMEOUT)
            return [str(self.client), "compose"]
        found = shutil.which("docker-compose")
        if found is None and install and installed_from_debian("docker-compose"):
            found = shutil.which("docker-compose")
        if found is None:
            raise EngineNotFound("no Docker Compose: the client has no plugin compose, no docker-compose on the PATH")
        return [found]


def running_engine() -> Engine:
    """The engine that DOCKER_HOST or the client's context names, or the one at the default socket.

    Raises:
        EngineNotFound: none answers, or no client here can build with BuildKit.
    """
    client = building_client()
    host = os.environ.get("DOCKER_HOST") or _context_host(client)
    engine = Engine(client, host, f"Docker at {host}")
    try:
        version = engine.run("version", "--format", "{{.Server.Version}}", timeout=ASK_TIMEOUT)
    except DockerFailed as error:
        raise EngineNotFound(f"no engine answers at {host}: {str(error).splitlines()[-1]}") from error
    return Engine(client, host, f"Docker {version} at {host}")


@contextlib.contextmanager
def docker_engine(*, start: bool = True, install: bool = False) -> Iterator[Engine]:
    """A running engine while the block lasts.

    Args:
        start: whether one may be started, as root, where none runs.
        install: whether Debian's packages may be installed for that.

    Raises:
        EngineNotFound: saying why each way failed.
    """
    if not is_root():
        yield running_engine()
        return
    import fcntl

    STATE.mkdir(mode=0o755, exist_ok=True)
    with (STATE / "users.lock").open("w") as users:
        with _turn():
            fcntl.flock(users, fcntl.LOCK_SH)
            engine = _running_or_started(start, install)
        try:
            yield engine
        finally:
            with _turn():
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass  # somebody else uses it, and will stop it
                else:
                    _stop_ours()


def building_client() -> Path:
    """The first docker command here that can build with BuildKit.

    Raises:
        EngineNotFound: there is none.
    """
    reasons = []
    for folder in [*os.environ.get("PATH", "").split(os.pathsep), *ALSO_IN]:
        client = Path(folder or ".") / "docker"
        if not os.access(client, os.X_OK):
            continue
        if _builds(client):
            return client
        reasons.append(f"{client} lacks its plugin buildx")
    raise EngineNotFound("; ".join(dict.fromkeys(reasons)) or "no docker command on the PATH")


def _builds(client: Path) -> bool:
    try:
        said = _ask(client, "--version")  # Docker version 28.2.2, build e6534b4
        major = int(said.split("version ")[1].split(".")[0])
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return False
    if major < BUILDKIT_BUILT_IN_BEFORE:
        return True
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        _ask(client, "buildx", "version")
        return True
    return False


def _context_host(client: Path) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return _ask(client, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}") or SOCKET
    return SOCKET


def _ask(client: Path, *arguments: str) -> str:
    done = subprocess.run(
        [client, *arguments], capture_output=True, text=True, timeout=ASK_TIMEOUT, check=True, stdin=subprocess.DEVNULL
    )
    return done.stdout.strip()


# ---- starting and stopping one


def _running_or_started(start: bool, install: bool) -> Engine:
    try:
        return running_engine()
    except EngineNotFound as error:
        if not start:
            raise
        reasons = [str(error)]
    if os.environ.get("DOCKER_HOST", SOCKET) != SOCKET:
        raise EngineNotFound("; ".join([*reasons, "DOCKER_HOST names another than the one that could be started"]))
    try:
        _provide_programs(install)
        process = _start_daemon()
    except (OSError, subprocess.SubprocessError, EngineNotFound) as error:
        raise EngineNotFound("; ".join([*reasons, str(error)])) from error
    _marker().write_text(str(process.pid), encoding="ascii")
    return running_engine()


def _provide_programs(install: bool) -> None:
    """The daemon and a client that can build.

    Raises:
        EngineNotFound: there are none.
    """
    try:
        building_client()
    except EngineNotFound:
        if not (install and installed_from_debian("docker.io")):
            raise
    if shutil.which("dockerd") is None and not (install and installed_from_debian("docker.io")):
        raise EngineNotFound("no dockerd on the PATH, and Debian's package docker.io cannot be installed")


def _start_daemon() -> subprocess.Popen[bytes]:
    STATE.mkdir(mode=0o755, exist_ok=True)
    log = STATE / "dockerd.log"
    command = ["dockerd", "--host", SOCKET]
    if not ADMINISTRATORS.exists():
        (STATE / "daemon.json").write_text(json.dumps(CONFIGURATION), encoding="utf-8")
        command += ["--config-file", str(STATE / "daemon.json")]
    with log.open("wb") as output:
        # A session of its own: Ctrl-C must not reach it before its containers' users, and others may use it longer.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with contextlib.suppress(EngineNotFound):
            running_engine()
            return process
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
            raise EngineNotFound(f"dockerd did not start; it said last: {said[-1]}")
        time.sleep(0.2)


def _marker() -> Path:
    """Holds the process id of a daemon that ends with its last user."""
    return STATE / "started.pid"


def _stop_ours() -> None:
    if _marker().exists():
        _stop_daemon(int(_marker().read_text(encoding="ascii")))
        _marker().unlink()


def _stop_daemon(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if _is_daemon(process):
            os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    while _is_daemon(process):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, os.WNOHANG)  # ours, if this process started it: else it stays a zombie
        if time.monotonic() > deadline:
            raise DockerFailed(f"dockerd, process {process}, did not stop in {STOP_TIMEOUT:.0f} s")
        time.sleep(0.1)


def _is_daemon(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/comm").read_text(encoding="ascii").strip() == "dockerd"
    except OSError:
        return False


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """One process at a time starts or stops the engine."""
    import fcntl

    with (STATE / "turn.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["start", "stop"])
    what = parser.parse_args(arguments).what
    if not is_root():
        print("only root can start and stop an engine", file=sys.stderr)
        return 2
    STATE.mkdir(mode=0o755, exist_ok=True)
    try:
        with _turn():
            if what == "start":
                engine = _running_or_started(start=True, install=True)
                _marker().unlink(missing_ok=True)  # so that no user stops it
                print(f"{engine.origin}; the client that can build is {engine.client}")
            elif PID_FILE.exists():
                _stop_daemon(int(PID_FILE.read_text(encoding="ascii")))
                _marker().unlink(missing_ok=True)
                print("stopped")
            else:
                print("no engine runs")
    except (EngineNotFound, DockerFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
