"""Peers as contestants: their programs' lines, what an answer must be, and that nothing outlives who started it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.peers import FLOORS, PEERS, PeerContestant, PeerFailed, all_peers, environment
from benchmarks.peers.contestant import PEERS_FOLDER, checked_round
from benchmarks.peers.environment import SetUpFailed, make_environment
from benchmarks.rounds import Servers, Workload

ROOT = Path(__file__).resolve().parents[3]
WORKLOAD = Workload("chain", "chain", steps=3, workflows=4, in_flight=2)
# A peer with one worker process; its variant says how it behaves.
PEER = """
import asyncio, sys, time
from line_protocol import Conversation, converse, in_lanes
from step_counter import count_step
from workers import Workers

async def main(variant):
    with Workers() as workers:
        conversation = Conversation(workers)
        workers.start([sys.executable, "-c", "import time; time.sleep(600)"])
        print("libraries may print what they like")
        if variant == "silent":
            time.sleep(600)
        if variant == "mute":
            raise SystemExit("it is broken")

        async def run_one(workload, number):
            for step in range(workload.steps - (variant == "lossy" and number == 1)):
                count_step()
                await asyncio.sleep(0)
            if variant == "wrong":
                raise RuntimeError(f"workflow {number} is wrong")
            if variant == "slow":
                time.sleep(600)

        async def run(workload, latencies):
            await in_lanes(workload, latencies, run_one)

        conversation.ready([], processes="one")
        await converse(conversation, run)

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of peers with the one above, to be run by this Python."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "main.py").write_text(PEER, encoding="utf-8")
    monkeypatch.setattr("benchmarks.peers.contestant.make_environment", lambda *_: Path(sys.executable))
    return tmp_path


def fake(folders: Path, variant: str, **options: float) -> PeerContestant:
    return PeerContestant("fake", "fake", variant, (), folders=folders, **options)


def descendants() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


def new_descendants(before: set[int], count: int) -> set[int]:
    deadline = time.monotonic() + 30
    while len(descendants() - before) < count:
        assert time.monotonic() < deadline, f"only {len(descendants() - before)} of {count} processes began"
        time.sleep(0.05)
    return descendants() - before


def gone(pids: set[int]) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not any(runs(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_peer_runs_rounds_and_ends_with_its_workers(folders: Path) -> None:
    before = descendants()
    peer = fake(folders, "plain")
    peer.set_up()
    peer.start(Servers())
    started = new_descendants(before, 3)  # the program, the leash, the worker
    try:
        assert peer.about()["processes"] == "one"
        for _ in range(2):
            done = peer.run(WORKLOAD)
            assert (done.steps, len(done.latencies_ms)) == (12, 4)
            assert done.seconds > 0
            assert set(done.figures["cpu_seconds"]) >= {"client"}
    finally:
        peer.stop()
    assert gone(started)
    with pytest.raises(PeerFailed, match="not started"):
        peer.run(WORKLOAD)


@pytest.mark.parametrize(
    ("variant", "reason"),
    [("lossy", "executed 11 steps of chain where 12 were due"), ("wrong", "workflow [01] is wrong")],
)
def test_a_round_that_is_not_whole_fails(folders: Path, variant: str, reason: str) -> None:
    peer = fake(folders, variant)
    peer.start(Servers())
    try:
        with pytest.raises(PeerFailed, match=reason):
            peer.run(WORKLOAD)
    finally:
        peer.stop()


def test_a_peer_that_takes_too_long_is_ended(folders: Path) -> None:
    before = descendants()
    peer = fake(folders, "slow", round_timeout=0.5)
    peer.start(Servers())
    started = new_descendants(before, 3)
    with pytest.raises(PeerFailed, match=r"no answer in [01] s"):
        peer.run(WORKLOAD)
    peer.stop()
    assert gone(started)


def test_a_peer_that_does_not_start_says_why_and_leaves_nothing(folders: Path) -> None:
    before = descendants()
    with pytest.raises(PeerFailed, match=r"(?s)ended with code 1.*it is broken"):
        fake(folders, "mute").start(Servers())
    assert gone(descendants() - before)


@pytest.mark.parametrize("victim", ["parent", "program"])
@pytest.mark.parametrize("variant", ["slow", "silent"])
def test_no_worker_outlives_whoever_was_killed(folders: Path, variant: str, victim: str) -> None:
    script = (
        "import sys; from pathlib import Path; from benchmarks.peers import contestant as c;"
        "from benchmarks.rounds import *; c.make_environment = lambda *_: Path(sys.executable);"
        f"peer = c.PeerContestant('fake', 'fake', {variant!r}, (), folders=Path({str(folders)!r}));"
        "peer.start(Servers()); peer.run(Workload('chain', 'chain', 3, 4, 2))"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL) as parent:
        deadline = time.monotonic() + 30
        children: list[psutil.Process] = []
        while len(children) < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
            children = psutil.Process(parent.pid).children(recursive=True)
        pids = {process.pid for process in children}
        assert len(pids) == 3
        time.sleep(0.5)  # into the round
        (program,) = psutil.Process(parent.pid).children()
        os.kill(parent.pid if victim == "parent" else program.pid, signal.SIGKILL)
        assert gone(pids)
        parent.wait(60)


def test_a_server_that_is_missing_is_named() -> None:
    peer = next(one for one in all_peers() if one.name == "celery-durable")
    with pytest.raises(PeerFailed, match="celery-durable needs a server that is not there: redis"):
        peer.start(Servers(rabbitmq_url="amqp://there"))


def test_a_shape_that_peers_cannot_run_is_refused_by_name(folders: Path) -> None:
    peer = fake(folders, "plain")
    peer.start(Servers())
    try:
        with pytest.raises(PeerFailed, match="cannot run grow: its shape is layered"):
            peer.run(Workload("grow", "layered", steps=10, workflows=1, in_flight=1))
    finally:
        peer.stop()


def test_an_answer_with_too_few_workflows_is_refused() -> None:
    with pytest.raises(PeerFailed, match="finished 3 workflows of chain, not 4"):
        checked_round("x", WORKLOAD, {"steps": 12, "seconds": 1.0, "latencies_ms": [1, 2, 3]})


def test_every_peer_has_its_program_and_pinned_requirements() -> None:
    assert [peer.name for peer in all_peers()] == list(PEERS)
    assert set(FLOORS) <= PEERS.keys()
    folders = {folder for folder, _, _ in PEERS.values()}
    assert folders | {"common"} == {path.name for path in PEERS_FOLDER.iterdir() if path.is_dir()} - {"__pycache__"}
    for folder in folders:
        assert (PEERS_FOLDER / folder / "main.py").exists()
        asked = requirements(PEERS_FOLDER / folder / "requirements.in")
        pinned = requirements(PEERS_FOLDER / folder / "requirements.txt")
        assert all(re.fullmatch(r"[a-z0-9-]+==[^ ]+( ; .*)?", line) for line in pinned)
        names = {line.partition("==")[0] for line in pinned}
        assert {re.split(r"[\[=<>]", line)[0] for line in asked} <= names


def test_every_peer_is_written_down() -> None:
    page = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8")
    assert [name for name in PEERS if f"`{name}`" not in page] == []


def test_an_environment_is_made_once_and_anew_when_its_requirements_change(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# nothing\n", encoding="utf-8")
    python = make_environment(requirements, tmp_path / "venv")
    code = "import sys; print(sys.prefix)"
    prefix = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert Path(prefix) == tmp_path / "venv"

    mark = tmp_path / "venv" / "mark"
    mark.touch()
    assert make_environment(requirements, tmp_path / "venv") == python
    assert mark.exists()
    requirements.write_text("# still nothing\n", encoding="utf-8")
    make_environment(requirements, tmp_path / "venv")
    assert not mark.exists()


def test_an_environment_that_cannot_be_made_says_so_and_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("x\n", encoding="utf-8")
    failing = [sys.executable, "-c", "print('no such version'); raise SystemExit(7)"]
    monkeypatch.setattr(environment, "_commands", lambda *_: [failing])
    for _ in range(2):
        with pytest.raises(SetUpFailed, match=r"(?s)code 7.*no such version"):
            make_environment(requirements, tmp_path / "venv")


def requirements(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.lstrip().startswith("#")]
