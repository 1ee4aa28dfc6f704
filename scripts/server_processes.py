"""Servers as processes of ours: RabbitMQ and the embedded document store, started, stopped and killed.

Only the standard library is imported here.
"""

from __future__ import annotations  # so that an older Python is told which one is needed

import atexit
import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

START_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
HOST = "127.0.0.1"
# Debian's command of the same name refuses everyone but root, and changes the user; this is the server's own script.
_DEBIAN_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
# Its standard input ends when the process that started it does, however that happens.
_GUARD = """
import os, signal, subprocess, sys, threading
children = []
signal.signal(signal.SIGTERM, lambda *_: [child.terminate() for child in children])
children.append(subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL))
def end_with_parent():
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=end_with_parent, daemon=True).start()
os._exit(children[0].wait())  # a thread that still reads standard input would make a clean end fatal
"""


class ServerFailed(Exception):
    """A server was found but did not start; the message holds the end of its log."""


class Server:
    """A server that runs somewhere. ``url`` is how to reach it, ``origin`` says in words where it came from."""

    url: str
    origin: str

    def start(self) -> None:
        """Start it and wait until it answers; does nothing if it runs. Data of an earlier run is still there."""

    def stop(self) -> None:
        """Stop it in good order; does nothing if it does not run."""

    def kill(self) -> None:
        """End it at once, as ``kill -9`` does."""
        raise ServerFailed(f"the server at {self.origin} is not ours to kill")

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class LocalServer(Server):
    """A process of ours, with its data in ``folder`` (a temporary one, deleted at the end, if none is given).

    ``dies_with_us``: it is killed when this process ends without having stopped it, by a ``kill -9`` for example.
    """

    dies_with_us = False

    def __init__(self, folder: Path | None = None, port: int | None = None) -> None:
        self.port = port or free_port()
        self._temporary = folder is None
        self.folder = (folder or Path(tempfile.mkdtemp(prefix="conclave-"))).resolve()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        if self.running:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._before_start()
        self._process = self._spawn(self._command())
        atexit.register(self.close)
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stop, and delete the data if it was kept in a temporary folder."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)

    def __exit__(self, *_: object) -> None:
        self.close()

    def _command(self) -> Sequence[str]:
        raise NotImplementedError

    def _environment(self) -> dict[str, str]:
        return {}

    def _before_start(self) -> None:
        pass

    def _answers(self) -> bool:
        raise NotImplementedError

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        if self.dies_with_us:
            command = [sys.executable, "-c", _GUARD, *command]
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal must not reach the server before its clients.
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE if self.dies_with_us else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment()},
                cwd=self.folder,
                start_new_session=True,
            )

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if process.poll() is not None:
                self.stop()
                raise ServerFailed(f"{self.origin} ended with code {process.returncode}:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self.origin} did not answer in {START_TIMEOUT:.0f} s:\n{self._log_tail()}")
            time.sleep(0.1)

    def _log_tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            _end_process(process, how)


class RabbitServer(LocalServer):
    """A RabbitMQ node of our own, with its own name, ports and name server (epmd): it meets no other node."""

    dies_with_us = True

    def __init__(self, folder: Path | None = None, port: int | None = None) -> None:
        super().__init__(folder, port)
        self.url = f"amqp://guest:guest@{HOST}:{self.port}/"
        self.origin = f"rabbitmq-server in {self.folder}"
        self._distribution_port = free_port()
        self._epmd_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None

    def _command(self) -> Sequence[str]:
        return [str(rabbitmq_program())]

    def _environment(self) -> dict[str, str]:
        place = str(self.folder)
        return {
            "HOME": place,  # the Erlang cookie is made here
            "RABBITMQ_NODENAME": "conclave@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": f"{place}/mnesia",
            "RABBITMQ_LOG_BASE": f"{place}/log",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{place}/config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{place}/enabled_plugins",
            "RABBITMQ_CONFIG_FILE": f"{place}/rabbitmq",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{place}/advanced",
            "RABBITMQ_CONF_ENV_FILE": f"{place}/rabbitmq-env.conf",
            "RABBITMQ_PID_FILE": f"{place}/rabbitmq.pid",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": HOST,
        }

    def _before_start(self) -> None:
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "rabbitmq.conf").write_text("log.console = true\nlog.file = false\n")
        # Erlang would start epmd as a daemon that outlives the node, so it is started here, as a child.
        epmd = shutil.which("epmd")
        if epmd is None:
            raise ServerFailed("rabbitmq-server needs Erlang's epmd, which is not on the PATH")
        self._epmd = self._spawn([epmd, "-port", str(self._epmd_port), "-address", HOST])

    def _answers(self) -> bool:
        return takes_amqp_login(HOST, self.port)

    def _end(self, how: signal.Signals) -> None:
        super()._end(how)
        if self._epmd is not None:
            _end_process(self._epmd, signal.SIGKILL)
            self._epmd = None


class MongoServer(LocalServer):
    """The embedded document store (SecantusDB) as a process; every acknowledged write is on disk.

    ``python`` is the interpreter of the virtual environment that it is installed in.
    """

    def __init__(
        self,
        folder: Path | None = None,
        port: int | None = None,
        *,
        database: str = "conclave",
        python: str = sys.executable,
    ) -> None:
        super().__init__(folder, port)
        self.url = f"mongodb://{HOST}:{self.port}/{database}"
        self.origin = f"embedded document store in {self.folder}"
        self._program = secantus_program(python)

    def _command(self) -> Sequence[str]:
        if self._program is None:
            raise ServerFailed("SecantusDB is not installed beside this Python: pip install 'conclave[embedded]'")
        return [
            str(self._program),
            *("--host", HOST, "--port", str(self.port)),
            *("--storage-path", str(self.folder / "data"), "--sync-on-commit", "--log-level", "WARNING"),
        ]

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
            return True
        return False


def free_port() -> int:
    """A TCP port of this host that nobody listens on, and that nobody else is given while this process lives.

    The socket stays bound, without listening: the system gives its port to no other process that asks for any free
    port, and a server that sets SO_REUSEADDR, as all of ours do, may listen there. Otherwise two test runs are given
    the same port, and one takes the other's server for its own.
    """
    probe = socket.socket()
    if os.name == "posix":  # elsewhere the option means something else
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
        probe.detach()  # open until this process ends; no child inherits it
        return port
    with probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def rabbitmq_program() -> Path | None:
    if _DEBIAN_RABBITMQ.exists():
        return _DEBIAN_RABBITMQ
    found = shutil.which("rabbitmq-server")
    return Path(found) if found else None


def secantus_program(python: str = sys.executable) -> Path | None:
    beside = Path(python).parent
    return next((p for p in (beside / "secantusd-py", beside / "secantusd-py.exe") if p.exists()), None)


def takes_amqp_login(host: str, port: int, user: str = "guest", password: str = "guest") -> bool:  # nosec B107
    """Whether a broker there speaks AMQP 0-9-1 and takes this login, by the first three frames of the protocol."""
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.settimeout(5)
            stream = connection.makefile("rwb")
            stream.write(b"AMQP\x00\x00\x09\x01")
            stream.flush()
            if _read_method(stream) != (10, 10):  # Connection.Start
                return False
            secret = f"\0{user}\0{password}".encode()
            start_ok = struct.pack(">HHI", 10, 11, 0) + b"\x05PLAIN" + struct.pack(">I", len(secret)) + secret
            start_ok += b"\x05en_US"
            stream.write(struct.pack(">BHI", 1, 0, len(start_ok)) + start_ok + b"\xce")
            stream.flush()
            return _read_method(stream) == (10, 30)  # Connection.Tune: the login was taken
    except (OSError, struct.error):
        return False


def _read_method(stream: Any) -> tuple[int, int]:
    _kind, _channel, size = struct.unpack(">BHI", stream.read(7))
    payload = stream.read(size + 1)
    class_id, method_id = struct.unpack_from(">HH", payload)
    return class_id, method_id


def _end_process(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Signal a process and everything it started, and wait for its end; by force if it takes too long."""
    for attempt in (how, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            if attempt is signal.SIGKILL:
                os.killpg(process.pid, attempt)
            else:
                process.send_signal(attempt)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT)
            break
    if process.stdin is not None:
        process.stdin.close()
