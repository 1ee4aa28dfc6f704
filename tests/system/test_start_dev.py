"""``scripts/start_dev.py`` as a person uses it: as a process, on a folder of its own."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.servers import free_port
from services.runtime.security.api_keys import new_key_text

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "start_dev.py"
PATIENCE = 150.0
POINTERS = ("DATABASE_URL", "RABBITMQ_URL", "REDIS_URL", "COMMUNICATION_PROTOCOL", "COMM_PROTOCOL", "API_PORT")
ACCESS = ("API_KEY_HASH_KEY", "INITIAL_ADMIN_KEY", "AGENT_POLICY", "RATE_LIMIT")


def environment(**settings: str) -> dict[str, str]:
    """This one's, without what would point at other servers, and without what tests get in with."""
    return {**{name: value for name, value in os.environ.items() if name not in (*POINTERS, *ACCESS)}, **settings}


def once(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--once", "--folder", str(folder)]
    return subprocess.run(
        command,
        env=environment(**settings),
        cwd=folder.parent,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Instance:
    """A start_dev that stays up; its output so far in ``text``."""

    def __init__(self, process: subprocess.Popen[str], output: Path, port: int, key_file: Path) -> None:
        self.process = process
        self.key_file = key_file
        self.url = f"http://127.0.0.1:{port}"
        self._output = output

    @property
    def text(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def wait_until(self, words: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while words not in self.text:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.1)

    def get(self, path: str) -> Any:
        """The answer, asked for again while it is the 503 of a busy machine."""
        request = urllib.request.Request(f"{self.url}{path}", headers={"X-API-Key": self.key_file.read_text().strip()})
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503 or time.monotonic() > deadline:
                    raise
            time.sleep(1)


@contextmanager
def staying_up(folder: Path, **settings: str) -> Iterator[Instance]:
    port = free_port()
    output = folder.parent / f"output-{port}.txt"
    command = [sys.executable, str(SCRIPT), "--folder", str(folder)]
    with (
        output.open("w", encoding="utf-8") as out,
        subprocess.Popen(
            command,
            env=environment(API_PORT=str(port), **settings),
            cwd=folder.parent,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # Where the tests themselves run in the background of a shell, Ctrl-C is ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process,
    ):
        instance = Instance(process, output, port, folder / "secrets" / "admin-key")
        try:
            instance.wait_until("Conclave is up")
            yield instance
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(60)


def pasted(line: str) -> str:
    """What a shell prints for it."""
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=30, check=True).stdout


def children(folder: Path) -> list[int]:
    return [int(pid) for pid in json.loads((folder / "processes.json").read_text(encoding="utf-8"))]


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # no such file system here, or the process has gone meanwhile
        return not Path("/proc/self/stat").exists()


def test_help_needs_no_environment() -> None:
    """It is told with the standard library alone: nothing is made, and nothing else is loaded."""
    command = [sys.executable, "-I", "-S", str(SCRIPT), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert "--folder" in done.stdout
    assert "setup:" not in done.stdout


def test_once_runs_the_example_prints_the_decision_and_leaves_nothing_running(tmp_path: Path) -> None:
    done = once(tmp_path / "data")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^Decision: \S", done.stdout, re.MULTILINE)
    assert "vote (condorcet)" in done.stdout
    assert "plugins: 1 agent type (unit_converter)" in done.stdout
    for step in ("data_check", "punctuality", "scorecard", "passengers", "travel_office", "balanced", "vote", "report"):
        assert re.search(rf"^  {step}: succeeded", done.stdout, re.MULTILINE), step
    assert not (tmp_path / "data" / "processes.json").exists()


def test_the_api_is_protected_from_the_first_start_on_and_says_how(tmp_path: Path) -> None:
    folder = tmp_path / "my data"  # a shell needs quotes for that
    with staying_up(folder) as first:
        assert "protected: the API listens on 127.0.0.1 only" in first.text
        assert f"the admin key is in {first.key_file}" in first.text
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{first.url}/api/v1/executions", timeout=10)
        (curl, health, post) = (line.strip() for line in first.text.splitlines() if line.strip().startswith("curl "))
        assert len(json.loads(pasted(curl))["items"]) == 1
        assert json.loads(pasted(health))["status"] in ("ok", "degraded")
        assert json.loads(pasted(post))["workflow_id"]
        key = first.key_file.read_text()
        modes = [
            stat.S_IMODE(path.stat().st_mode) for path in (first.key_file.parent, *first.key_file.parent.iterdir())
        ]
        assert modes == [0o700, 0o600, 0o600]
    with staying_up(folder) as again:
        assert again.key_file.read_text() == key
        assert len(again.get("/api/v1/executions")["items"]) == 2
    secret = key.strip()[16:]
    said = [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert said == [again.key_file], "a key is in its file and nowhere else: not in the output, a log or the store"


def test_a_store_that_knows_another_key_is_told_before_anything_starts(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert once(folder).returncode == 0
    for name in ("admin-key", "hash-key"):
        (folder / "secrets" / name).unlink()
        refused = once(folder)
        assert refused.returncode == 1
        assert "the store has admin keys already" in refused.stdout
        assert f"delete {folder / 'store'}" in refused.stdout
        assert "services:" not in refused.stdout


def test_keys_of_ones_own_are_used_as_they_are(tmp_path: Path) -> None:
    key = str(new_key_text())
    given = {"API_KEY_HASH_KEY": "h" * 32, "INITIAL_ADMIN_KEY": key}
    done = once(tmp_path / "data", **given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the admin key is the one in INITIAL_ADMIN_KEY" in done.stdout
    assert not (tmp_path / "data" / "secrets").exists()
    assert key[16:] not in done.stdout + done.stderr


def test_plugins_that_were_not_loaded_are_named_until_they_are(tmp_path: Path) -> None:
    """Over a store that keeps what an earlier process said of its plugins."""
    folder = tmp_path / "data"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "typo.py").write_text("import pydantik\n", encoding="utf-8")
    for plugin_folder, error in (
        ("mine", "typo: ModuleNotFoundError: No module named 'pydantik'"),
        ("nowhere", f"PLUGIN_FOLDER: PLUGIN_FOLDER names {tmp_path / 'nowhere'}, which cannot be listed"),
    ):
        done = once(folder, PLUGIN_FOLDER=plugin_folder)
        assert done.returncode == 0, done.stdout
        assert "plugins: none loaded" in done.stdout
        assert done.stdout.count("not loaded: ") == 1
        assert f"not loaded: {error}" in done.stdout
    assert "not loaded:" not in once(folder).stdout


def test_ctrl_c_stops_everything_and_data_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with staying_up(folder) as first:
        pids = children(folder)
        assert len(pids) == 2
        (kept,) = first.get("/api/v1/executions")["items"]
        assert first.get("/asyncapi.json")["asyncapi"].startswith("3.")
        second = once(folder)
        assert second.returncode == 1
        assert f"already runs on {folder}" in second.stdout
        assert first.url in second.stdout
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait(60) == 0
        assert [pid for pid in pids if runs(pid)] == []
    with staying_up(folder) as again:
        assert again.get(f"/api/v1/executions/{kept['execution_id']}")["status"] == "completed"
        assert len(again.get("/api/v1/executions")["items"]) == 2


def test_what_a_kill_left_behind_is_ended_by_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with staying_up(folder) as killed:
        pids = children(folder)
        killed.process.kill()
        killed.process.wait()
        assert all(runs(pid) for pid in pids), "the children outlive a kill -9, or this test says nothing"
    after = once(folder)
    assert after.returncode == 0, after.stdout
    assert all(f"ended process {pid}" in after.stdout for pid in pids)
    assert [pid for pid in pids if runs(pid)] == []


def test_services_that_die_end_it_with_their_last_words(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with staying_up(folder) as instance:
        services = children(folder)[1]
        os.kill(services, signal.SIGKILL)
        assert instance.process.wait(60) == 1
        assert "services ended unexpectedly" in instance.text


def test_a_port_in_use_and_a_bad_setting_are_named(tmp_path: Path) -> None:
    with staying_up(tmp_path / "data") as instance:
        port = instance.url.rpartition(":")[2]
        refused = once(tmp_path / "other", API_PORT=port)
        assert refused.returncode == 1
        assert f"port {port} on 127.0.0.1 cannot be used" in refused.stdout
    bad = once(tmp_path / "data", LOG_LEVEL="loud")
    assert bad.returncode == 1
    assert "LOG_LEVEL" in bad.stdout


def test_an_example_that_fails_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = once(tmp_path / "data", DATA_FOLDER="empty")
    assert done.returncode == 1
    assert "the example ended as failed" in done.stdout
    assert "new_york_san_francisco_2013.csv" in done.stdout


def test_an_example_that_fails_does_not_keep_it_from_staying_up(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with staying_up(tmp_path / "data", DATA_FOLDER="empty") as instance:
        assert "the example ended as failed" in instance.text
        deadline = time.monotonic() + PATIENCE
        while (health := instance.get("/health"))["status"] != "ok":  # where one takes two seconds to say how it is
            assert time.monotonic() < deadline, health
            time.sleep(0.2)
