"""What start_dev.py stands on: one instance a folder, free ports, and the end of what a killed one left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.dev_processes import CannotStart, Pidfile, check_port_is_free, only_instance


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_a_second_instance_is_told_of_the_first(tmp_path: Path) -> None:
    with only_instance(tmp_path) as note:
        note.write("process 1234 serves http://127.0.0.1:8000")
        note.flush()
        with pytest.raises(CannotStart, match="process 1234 serves"), only_instance(tmp_path):
            pass


def test_the_folder_is_free_again_afterwards(tmp_path: Path) -> None:
    with only_instance(tmp_path / "new"):
        pass
    with only_instance(tmp_path / "new") as note:
        note.seek(0)
        assert note.read() == ""


def test_the_folder_is_free_again_after_a_kill(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom scripts.dev_processes import only_instance\n"
        "with only_instance(Path(sys.argv[1])) as note:\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(CannotStart), only_instance(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with only_instance(tmp_path):
        pass


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"port {port} on 127\.0\.0\.1 .* API_PORT={port + 1}"):
            check_port_is_free("127.0.0.1", port)
    check_port_is_free("127.0.0.1", port)


def test_leftovers_are_ended(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    Pidfile(tmp_path / "processes.json").add(sleeper.pid)
    assert Pidfile(tmp_path / "processes.json").end_leftovers() == [sleeper.pid]
    assert sleeper.wait(5) == -signal.SIGTERM
    assert not (tmp_path / "processes.json").exists()


def test_a_process_that_only_has_the_same_number_is_left_alone(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    path = tmp_path / "processes.json"
    path.write_text(json.dumps({str(sleeper.pid): "another birth"}), encoding="utf-8")
    assert Pidfile(path).end_leftovers() == []
    assert sleeper.poll() is None


def test_nothing_is_left_over_where_nothing_was_written_or_it_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "processes.json"
    assert Pidfile(path).end_leftovers() == []
    path.write_text("{", encoding="utf-8")
    assert Pidfile(path).end_leftovers() == []


def test_an_orderly_end_leaves_nothing_to_end(tmp_path: Path) -> None:
    pidfile = Pidfile(tmp_path / "processes.json")
    pidfile.add(os.getpid())
    pidfile.forget()
    assert Pidfile(tmp_path / "processes.json").end_leftovers() == []
