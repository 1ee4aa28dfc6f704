"""Finding and starting a Docker engine, with commands that stand where docker and dockerd would."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import docker_engine as module
from scripts.docker_engine import (
    DockerFailed,
    Engine,
    EngineNotFound,
    building_client,
    docker_engine,
    main,
    running_engine,
)

pytestmark = pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="an engine is started on Linux only")

# A docker command whose engine runs while a file is there.
CLIENT = """#!{python}
import os, sys
arguments = sys.argv[1:]
if arguments == ["--version"]:
    print("Docker version {version}, build 0000000")
elif arguments[:1] == ["buildx"]:
    sys.exit(0 if {buildx} else 1)
elif arguments[:1] == ["context"]:
    print("{host}")
elif arguments[:1] == ["version"]:
    if not os.path.exists("{running}"):
        sys.exit("Cannot connect to the Docker daemon")
    print("27.0.1")
elif arguments == ["compose", "version"]:
    sys.exit(0 if {buildx} else 1)
elif arguments == ["environment"]:
    print(os.environ["DOCKER_HOST"], os.environ["DOCKER_BUILDKIT"], os.environ["PATH"].split(":")[0], sys.stdin.read())
elif arguments == ["hang"]:
    import time; time.sleep(60)
else:
    print("out"); print("wrong in the end", file=sys.stderr); sys.exit(3)
"""
# A daemon that makes that file, and removes it when it is told to end. The kernel knows it by the name that it sets.
DAEMON = """#!{python}
import os, pathlib, signal, sys, time
pathlib.Path("/proc/self/comm").write_text("dockerd")
running = pathlib.Path("{running}")
def end(*_):
    running.unlink()
    with open("{log}", "a") as log: log.write("stopped\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, end)
with open("{log}", "a") as log: log.write("started\\n")
running.touch()
time.sleep(60)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Docker, whose PATH is the folder ``bin``."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(module, "STATE", tmp_path / "state")
    monkeypatch.setattr(module, "PID_FILE", tmp_path / "docker.pid")
    monkeypatch.setattr(module, "ALSO_IN", ())
    monkeypatch.setattr(module, "is_root", lambda: True)
    monkeypatch.setattr(module, "installed_from_debian", lambda *_: False)
    return tmp_path


def client(place: Path, version: str = "27.0.1", *, buildx: bool = True, folder: str = "bin") -> Path:
    text = CLIENT.format(
        python=sys.executable, version=version, buildx=buildx, host=module.SOCKET, running=place / "running"
    )
    return program(place / folder / "docker", text)


def daemon(place: Path) -> Path:
    text = DAEMON.format(python=sys.executable, running=place / "running", log=place / "log")
    return program(place / "bin" / "dockerd", text)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def log(place: Path) -> list[str]:
    return (place / "log").read_text(encoding="utf-8").split()


@pytest.mark.parametrize(("version", "buildx"), [("27.0.1", True), ("20.10.24+dfsg1", False), ("23.0.0", True)])
def test_a_client_that_can_build_is_taken(version: str, buildx: bool, place: Path) -> None:
    expected = client(place, version, buildx=buildx)
    assert building_client() == expected


def test_a_client_without_its_builder_is_passed_over(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = client(place, "28.2.2", buildx=False)
    with pytest.raises(EngineNotFound, match=f"{without} lacks its plugin buildx"):
        building_client()
    other = client(place, "20.10.24", folder="other")
    monkeypatch.setenv("PATH", f"{without.parent}:{other.parent}")
    assert building_client() == other


def test_where_there_is_no_docker_it_says_so(place: Path) -> None:
    with pytest.raises(EngineNotFound, match="no docker command on the PATH"):
        running_engine()
    with pytest.raises(EngineNotFound, match="no docker command on the PATH"), docker_engine(install=True):
        pass


def test_where_no_engine_answers_it_says_so(place: Path) -> None:
    client(place)
    expected = "no engine answers at unix:///var/run/docker.sock: Cannot connect to the Docker daemon"
    with pytest.raises(EngineNotFound, match=expected):
        running_engine()
    with pytest.raises(EngineNotFound, match=f"{expected}; no dockerd on the PATH"), docker_engine():
        pass


def test_an_engine_that_runs_is_used_and_left_alone(place: Path) -> None:
    found = client(place)
    (place / "running").touch()
    with docker_engine() as engine:
        assert engine == Engine(found, module.SOCKET, "Docker 27.0.1 at unix:///var/run/docker.sock")
    assert (place / "running").exists()


def test_another_engine_is_named_by_the_environment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client(place)
    daemon(place)
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    with (
        pytest.raises(EngineNotFound, match=r"tcp://elsewhere:2375.*DOCKER_HOST names another than the one that could"),
        docker_engine(),
    ):
        pass
    (place / "running").touch()
    assert running_engine().host == "tcp://elsewhere:2375"


def test_who_is_not_root_starts_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client(place)
    daemon(place)
    monkeypatch.setattr(module, "is_root", lambda: False)
    with pytest.raises(EngineNotFound, match="no engine answers"), docker_engine():
        pass
    assert not (place / "log").exists()


def test_an_engine_is_started_and_stopped(place: Path) -> None:
    client(place)
    daemon(place)
    with pytest.raises(EngineNotFound), docker_engine(start=False):
        pass
    with docker_engine() as engine:
        assert engine.origin == "Docker 27.0.1 at unix:///var/run/docker.sock"
        assert log(place) == ["started"]
    assert log(place) == ["started", "stopped"]
    assert not (place / "running").exists()


def test_the_last_of_several_users_stops_it(place: Path) -> None:
    client(place)
    daemon(place)
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(docker_engine())
        second.enter_context(docker_engine(start=False))
        first.close()
        assert log(place) == ["started"]
        second.close()
    assert log(place) == ["started", "stopped"]


def test_what_a_killed_process_left_is_stopped_by_the_next(place: Path) -> None:
    client(place)
    daemon(place)
    program_text = (
        "import sys, time; from pathlib import Path; from scripts import docker_engine as module\n"
        f"module.STATE = Path({str(place / 'state')!r}); module.is_root = lambda: True\n"
        "with module.docker_engine(): print('up', flush=True); time.sleep(60)\n"
    )
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen([sys.executable, "-c", program_text], stdout=subprocess.PIPE, cwd=root) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"up\n"
        user.send_signal(signal.SIGKILL)
    assert log(place) == ["started"]
    with docker_engine():
        assert log(place) == ["started"]
    assert log(place) == ["started", "stopped"]


def test_a_daemon_that_ends_says_why(place: Path) -> None:
    client(place)
    program(place / "bin" / "dockerd", f"#!{sys.executable}\nimport sys\nsys.exit('failed: no cgroups here')\n")
    with (
        pytest.raises(EngineNotFound, match="dockerd did not start; it said last: failed: no cgroups"),
        docker_engine(),
    ):
        pass


def test_packages_are_installed_only_where_that_is_wanted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = []

    def install(*packages: str) -> bool:
        wanted.append(packages)
        client(place)
        daemon(place)
        return True

    monkeypatch.setattr(module, "installed_from_debian", install)
    with pytest.raises(EngineNotFound), docker_engine():
        pass
    assert wanted == []
    with docker_engine(install=True):
        assert wanted == [("docker.io",)]


def test_a_command_is_given_the_engine_and_what_it_says_comes_back(place: Path) -> None:
    engine = Engine(client(place, folder="elsewhere"), "unix:///an.sock", "an engine")
    assert engine.run("environment", given="text") == f"unix:///an.sock 1 {place / 'elsewhere'} text"
    with pytest.raises(DockerFailed, match=r"(?s)docker nonsense ended with code 3:\nout\nwrong in the end"):
        engine.run("nonsense")
    with pytest.raises(DockerFailed, match="not done in 1 s"):
        engine.run("hang", timeout=1)
    assert not engine.has_image("any")


def test_compose_is_a_plugin_or_a_command_of_its_own(place: Path) -> None:
    plugin = Engine(client(place), module.SOCKET, "an engine")
    assert plugin.compose() == [str(plugin.client), "compose"]
    without = Engine(client(place, buildx=False), module.SOCKET, "an engine")
    with pytest.raises(EngineNotFound, match="no Docker Compose"):
        without.compose(install=True)
    command = program(place / "bin" / "docker-compose", "#!/bin/sh\n")
    assert without.compose() == [str(command)]


def test_a_person_may_start_one_that_stays_and_stop_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client(place)
    daemon(place)
    assert main(["start"]) == 0
    assert "Docker 27.0.1" in capsys.readouterr().out
    with docker_engine():
        pass
    assert log(place) == ["started"]
    (pid,) = [
        entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit() and str(place) in command_line(entry)
    ]
    (place / "docker.pid").write_text(pid, encoding="ascii")
    assert main(["stop"]) == 0
    assert log(place) == ["started", "stopped"]
    (place / "docker.pid").unlink()
    assert main(["stop"]) == 0
    assert "no engine runs" in capsys.readouterr().out


def test_only_root_starts_and_stops(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "is_root", lambda: False)
    assert main(["start"]) == 2
    assert "only root" in capsys.readouterr().err


def command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@pytest.fixture(autouse=True)
def nothing_stays(place: Path) -> Iterator[None]:
    """No daemon of a test's outlives it, however it ended."""
    yield
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and f"{place}/bin/dockerd" in command_line(entry):
            os.kill(int(entry.name), signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(int(entry.name), 0)
