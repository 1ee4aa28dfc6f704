"""PostgreSQL as a process of ours, started, stopped and killed.

Only the standard library is imported here.
"""

from __future__ import annotations  # so that an older Python is told which one is needed

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.server_processes import HOST, STOP_TIMEOUT, LocalServer, ServerFailed

USER = "postgres"
_DEBIAN_FOLDERS = Path("/usr/lib/postgresql")
_PROTOCOL_3 = 196608
# PostgreSQL refuses to run as root. Python is there for certain, setpriv and runuser are not.
_AS_USER = """
import os, pwd, sys
user = pwd.getpwnam(sys.argv[1])
os.initgroups(user.pw_name, user.pw_gid)
os.setgid(user.pw_gid)
os.setuid(user.pw_uid)
os.execv(sys.argv[2], sys.argv[2:])
"""


class PostgresServer(LocalServer):
    """A PostgreSQL of our own, on the loopback interface only and trusting it, with its default durability: what is
    committed is on disk.

    Where this process is root, the server runs as the user ``postgres``, whom its folder then belongs to; the folders
    above must let that user through.
    """

    dies_with_us = True

    def __init__(self, folder: Path | None = None, port: int | None = None, *, database: str = "conclave") -> None:
        super().__init__(folder, port)
        self.url = f"postgresql://{USER}@{HOST}:{self.port}/{database}"
        self.origin = f"PostgreSQL in {self.folder}"
        self._database = database
        self._programs = postgres_programs()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _command(self) -> Sequence[str]:
        where = ("-D", str(self._data), "-h", HOST, "-p", str(self.port), "-k", "")
        return self._as_user("postgres", *where, "-c", "logging_collector=off")

    def _before_start(self) -> None:
        if _is_root():
            _give_to(USER, self.folder)
        if not (self._data / "PG_VERSION").exists():
            self._create()

    def _create(self) -> None:
        # A cluster is made beside its place and then moved there, so that a half-made one is never started.
        made = self.folder / "data.new"
        shutil.rmtree(made, ignore_errors=True)
        self._run("initdb", "-D", str(made), "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C")
        create = f'CREATE DATABASE "{self._database}"\n'
        self._run("postgres", "--single", "-D", str(made), "postgres", said=create)
        made.rename(self._data)

    def _run(self, program: str, *arguments: str, said: str = "") -> None:
        command = self._as_user(program, *arguments)
        done = subprocess.run(command, cwd=self.folder, input=said, capture_output=True, text=True, check=False)
        if done.returncode != 0 or "ERROR:" in done.stderr + done.stdout:
            raise ServerFailed(f"{program} failed with code {done.returncode}:\n{done.stdout}{done.stderr}")

    def _as_user(self, program: str, *arguments: str) -> list[str]:
        if self._programs is None:
            raise ServerFailed("PostgreSQL's initdb and postgres are neither on the PATH nor where Debian keeps them")
        command = [str(self._programs / program), *arguments]
        return [sys.executable, "-c", _AS_USER, USER, *command] if _is_root() else command

    def _answers(self) -> bool:
        return takes_postgres_login(HOST, self.port, USER, self._database)

    def _end(self, how: signal.Signals) -> None:
        """SIGTERM would wait for clients to leave, so SIGINT is what stops it in good order. To kill it, each of its
        processes is killed by id, for they are in sessions of their own and would write on; and before the process
        that guards it, which must collect it: to the next start a dead one that nobody collected is one that runs.
        """
        process = self._process
        postmaster = self._postmaster() if self.running else None
        if process and postmaster:
            kill = how is signal.SIGKILL
            for pid in (postmaster, *_children(postmaster)) if kill else (postmaster,):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if kill else signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT)
        super()._end(how)

    def _postmaster(self) -> int | None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int((self._data / "postmaster.pid").read_text().splitlines()[0])
        return None


def postgres_programs() -> Path | None:
    """The folder of ``initdb`` and ``postgres``: on the PATH, else the newest where Debian keeps them."""
    found = shutil.which("initdb")
    if found and (folder := Path(found).resolve().parent) and (folder / "postgres").exists():
        return folder
    versions = [path for path in _DEBIAN_FOLDERS.glob("*/bin") if re.fullmatch(r"[0-9]+", path.parent.name)]
    whole = [path for path in versions if (path / "initdb").exists() and (path / "postgres").exists()]
    return max(whole, key=lambda path: int(path.parent.name), default=None)


def takes_postgres_login(host: str, port: int, user: str, database: str) -> bool:
    """Whether a PostgreSQL there lets this user in without a password and is ready for queries."""
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.settimeout(5)
            stream = connection.makefile("rwb")
            said = f"user\0{user}\0database\0{database}\0\0".encode()
            stream.write(struct.pack(">II", len(said) + 8, _PROTOCOL_3) + said)
            stream.flush()
            while (kind := _read_message(stream)) in (b"R", b"S", b"K", b"N"):
                pass
            return kind == b"Z"  # ReadyForQuery
    except (OSError, struct.error):
        return False


def _read_message(stream: Any) -> bytes:
    """The kind of the next message; nothing where the server asks for a password, since it would wait for it."""
    kind, size = struct.unpack(">cI", stream.read(5))
    body = stream.read(size - 4)
    return b"" if kind == b"R" and body[:4] != b"\0\0\0\0" else kind


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _give_to(user: str, folder: Path) -> None:
    try:
        for path in (folder, *(path for path in (folder / "server.log",) if path.exists())):
            shutil.chown(path, user, user)
    except LookupError as error:
        raise ServerFailed(f"PostgreSQL cannot run as root, and there is no user {user} to run it as") from error


def _children(parent: int) -> list[int]:
    """Ids of the processes that ``parent`` started, as far as this system tells them."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(status.parent.name))
    return found
