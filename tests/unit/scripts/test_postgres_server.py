"""A PostgreSQL of our own: it starts, stops, dies and starts again with what was committed."""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from scripts import postgres_server
from scripts.postgres_server import PostgresServer, postgres_programs, takes_postgres_login
from scripts.servers import ServerFailed, ServerNotFound, find_postgresql, free_port
from tests.support.postgres import sql

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.postgres
async def test_what_was_committed_outlives_a_restart_and_kill_9(own_postgres: PostgresServer) -> None:
    with own_postgres:
        await sql(own_postgres.url, "CREATE TABLE things (number integer)", "INSERT INTO things VALUES (1)")
        port = own_postgres.port
        own_postgres.restart()
        await sql(own_postgres.url, "INSERT INTO things VALUES (2)")
        own_postgres.kill()
        assert not own_postgres.running
        assert not takes_postgres_login("127.0.0.1", port, "postgres", "conclave")
        own_postgres.start()
        assert own_postgres.port == port
        assert [row[0] for row in await sql(own_postgres.url, "SELECT number FROM things ORDER BY number")] == [1, 2]
    assert not own_postgres.running
    assert not own_postgres.folder.exists()


@pytest.mark.postgres
async def test_it_is_durable_on_the_loopback_interface_only_and_not_run_by_root(own_postgres: PostgresServer) -> None:
    own_postgres.start()
    rows = await sql(
        own_postgres.url,
        "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes',"
        " 'listen_addresses', 'unix_socket_directories', 'server_encoding')",
    )
    assert {row["name"]: row["setting"] for row in rows} == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "server_encoding": "UTF8",
    }
    postmaster = own_postgres._postmaster()
    assert postmaster is not None
    assert os.stat(f"/proc/{postmaster}").st_uid != 0


@pytest.mark.postgres
def test_kill_leaves_none_of_its_processes_to_write_on(own_postgres: PostgresServer) -> None:
    own_postgres.start()
    postmaster = own_postgres._postmaster()
    assert postmaster is not None
    children = postgres_server._children(postmaster)
    assert len(children) > 3
    own_postgres.kill()
    deadline = time.monotonic() + 60
    while any(map(runs, (postmaster, *children))) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [pid for pid in (postmaster, *children) if runs(pid)] == []


@pytest.mark.postgres
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_is_found_ends_with_whoever_found_it(own_postgres: PostgresServer, how: signal.Signals) -> None:
    script = (
        "import time; from scripts.servers import find_postgresql;"
        " server = find_postgresql(own=True, containers=False);"
        " print(server._postmaster(), flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as finder:
        assert finder.stdout is not None
        postmaster = int(finder.stdout.readline())
        assert runs(postmaster)
        finder.send_signal(how)
        finder.wait()
    deadline = time.monotonic() + 60
    while runs(postmaster) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs(postmaster)


def runs(pid: int) -> bool:
    """Whether it is a process that is not dead; a dead one may wait to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("programs", "found"),
    [
        ({"9.6": ("initdb", "postgres"), "15": ("initdb", "postgres"), "13": ("initdb", "postgres")}, "15"),
        ({"15": ("initdb", "postgres"), "17": ("psql",), "9": ("initdb", "postgres")}, "15"),
        ({"17": ("initdb",)}, None),
        ({}, None),
    ],
)
def test_the_newest_whole_version_of_debians_is_taken(
    programs: dict[str, tuple[str, ...]], found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version, names in programs.items():
        (tmp_path / version / "bin").mkdir(parents=True)
        for name in names:
            (tmp_path / version / "bin" / name).touch()
    monkeypatch.setattr(postgres_server, "_DEBIAN_FOLDERS", tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert postgres_programs() == (tmp_path / found / "bin" if found else None)


def test_programs_on_the_path_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("initdb", "postgres"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert postgres_programs() == tmp_path


def test_a_program_that_fails_shows_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    initdb = tmp_path / "initdb"
    initdb.write_text("#!/bin/sh\necho the disk is full >&2\nexit 3\n")
    initdb.chmod(0o755)
    server = PostgresServer(tmp_path / "folder")
    monkeypatch.setattr(server, "_programs", tmp_path)
    monkeypatch.setattr(postgres_server, "_is_root", lambda: False)
    with pytest.raises(ServerFailed, match=r"(?s)initdb failed with code 3.*the disk is full"):
        server.start()
    assert not server.running


def test_no_way_to_a_server_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.servers.postgres_programs", lambda: None)
    monkeypatch.setattr("scripts.servers._postgres_container", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ServerNotFound) as caught:
        find_postgresql(own=True, install=True)
    for way in ("no Docker", "no initdb and postgres on the PATH", "Debian's package postgresql"):
        assert way in str(caught.value)


READY = b"R\0\0\0\x08\0\0\0\0" + b"S\0\0\0\x08a\0b\0" + b"Z\0\0\0\x05I"
PASSWORD_WANTED = b"R\0\0\0\x08\0\0\0\x03"
REFUSED = b"E\0\0\0\x0cFATAL\0\0\0"


@pytest.mark.parametrize(
    ("answer", "taken"),
    [(READY, True), (PASSWORD_WANTED, False), (REFUSED, False), (b"", False), (b"HTTP/1.1 400\r\n\r\n", False)],
)
def test_only_a_server_that_is_ready_takes_a_login(answer: bytes, taken: bool) -> None:
    said = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                said.append(connection.recv(1024))
                connection.sendall(answer)

        speaker = threading.Thread(target=speak)
        speaker.start()
        assert takes_postgres_login("127.0.0.1", listener.getsockname()[1], "me", "db") is taken
        speaker.join()
    assert said == [struct.pack(">II", len(said[0]), 196608) + b"user\0me\0database\0db\0\0"]
    assert not takes_postgres_login("127.0.0.1", free_port(), "me", "db")
