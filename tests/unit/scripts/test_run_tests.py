"""The test runner: servers are given to pytest, and a missing one is never a silent success."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from scripts import run_tests
from scripts.docker_engine import DockerFailed, Engine, EngineNotFound
from scripts.prometheus_tools import PrometheusTools
from scripts.servers import GivenServer, ServerNotFound

BROKER = "amqp://guest:guest@127.0.0.1:1/"
STORE = "mongodb://127.0.0.1:1/conclave"
REDIS = "redis://127.0.0.1:1/0"
POSTGRES = "postgresql://127.0.0.1:1/conclave"
ENGINE = Engine(Path("/opt/docker/bin/docker"), "unix:///run/an-engine.sock", "an engine")


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A test file that passes if it is given its servers."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(run_tests, "find_mongodb", lambda: GivenServer(STORE, "here"))
    monkeypatch.setattr(run_tests, "find_rabbitmq", lambda install: GivenServer(BROKER, "here"))
    monkeypatch.setattr(run_tests, "find_redis", lambda install: GivenServer(REDIS, "here"))
    monkeypatch.setattr(run_tests, "find_postgresql", lambda install: GivenServer(POSTGRES, "here"))
    tools = PrometheusTools(Path("promtool"), Path("prometheus"), "here")
    monkeypatch.setattr(run_tests, "find_prometheus_tools", lambda download: tools)
    monkeypatch.setattr(run_tests, "docker_engine", an_engine)
    path = tmp_path / "test_sample.py"
    path.write_text(
        "import os\n"
        "def test_servers():\n"
        f"    assert os.environ['DATABASE_URL'] == {STORE!r}\n"
        f"    assert os.environ.get('RABBITMQ_URL', {BROKER!r}) == {BROKER!r}\n"
        f"    assert os.environ.get('REDIS_URL', {REDIS!r}) == {REDIS!r}\n"
        f"    assert os.environ.get('POSTGRES_URL', {POSTGRES!r}) == {POSTGRES!r}\n"
        "def test_fails():\n    raise AssertionError\n",
        encoding="utf-8",
    )
    return path


@contextlib.contextmanager
def an_engine(*, install: bool) -> Iterator[Engine]:
    assert install
    yield ENGINE


@contextlib.contextmanager
def no_engine(*, install: bool) -> Iterator[Engine]:
    raise EngineNotFound("no docker command on the PATH")
    yield


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Mapping[str, str]]]:
    """The options and the environment of each run of pytest, none of which is really made."""
    runs: list[tuple[list[str], Mapping[str, str]]] = []

    def run(options: list[str], environment: Mapping[str, str]) -> int:
        runs.append((options, environment))
        return 0

    monkeypatch.setattr(run_tests, "_pytest", run)
    return runs


MISSING = [
    ("RabbitMQ", "RABBITMQ_URL", "find_rabbitmq"),
    ("Redis", "REDIS_URL", "find_redis"),
    ("PostgreSQL", "POSTGRES_URL", "find_postgresql"),
    ("Prometheus", "NO_VARIABLE", "find_prometheus_tools"),
]


def without(what: str, variable: str, find: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(**_: bool) -> None:
        raise ServerNotFound(f"{what} is not available: no way led to one")

    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(run_tests, find, nowhere)


def test_servers_and_arguments_reach_pytest_and_its_code_comes_back(sample: Path) -> None:
    assert run_tests.main([f"{sample}::test_servers", "-q"]) == 0
    assert run_tests.main([f"{sample}::test_fails", "-q"]) == 1


@pytest.mark.parametrize(
    ("arguments", "parallel"), [([], True), (["--durations=5"], True), (["-k", "retry"], True), (["-n", "1"], False)]
)
def test_most_runs_side_by_side_and_then_whole_systems_and_what_needs_docker_in_turn(
    arguments: list[str], parallel: bool, sample: Path, asked: list[tuple[list[str], Mapping[str, str]]]
) -> None:
    assert run_tests.main(arguments) == 0
    (first, servers), (systems, same), (second, docker) = asked
    assert ("--dist" in first) is parallel
    assert {"--ignore=tests/system", "--ignore=tests/containers"} < set(first)
    assert systems[0] == "tests/system"
    assert systems[-2 - len(arguments) :] == [*arguments, "-n", "0"]
    assert same == servers
    assert first[len(first) - len(arguments) :] == arguments
    assert servers["RABBITMQ_URL"] == BROKER
    assert "DOCKER_HOST" not in servers
    assert second[0] == "tests/containers"
    assert second[-2 - len(arguments) :] == [*arguments, "-n", "0"]
    assert docker["DOCKER_HOST"] == ENGINE.host
    assert docker["PATH"].startswith("/opt/docker/bin:")


@pytest.mark.parametrize(
    ("path", "docker"),
    [("tests/unit", False), ("tests/containers", True), ("tests/containers/conftest.py", True), ("tests", True)],
)
def test_a_choice_runs_once_and_has_an_engine_where_it_may_need_one(
    path: str, docker: bool, sample: Path, asked: list[tuple[list[str], Mapping[str, str]]]
) -> None:
    assert run_tests.main([path, "-x"]) == 0
    ((options, environment),) = asked
    assert options == [path, "-x"]
    assert ("DOCKER_HOST" in environment) is docker
    assert environment["DATABASE_URL"] == STORE


def test_no_engine_is_reported_and_is_no_failure(
    sample: Path,
    asked: list[tuple[list[str], Mapping[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(run_tests, "docker_engine", no_engine)
    monkeypatch.setenv("CI", "true")
    assert run_tests.main([]) == 0
    assert "NOT RUN: the tests that need Docker. no docker command on the PATH" in capsys.readouterr().out
    assert "DOCKER_HOST" not in asked[-1][1]


@pytest.mark.parametrize("code", [0, 1])
def test_an_engine_that_does_not_stop_is_said_and_the_tests_keep_their_code(
    code: int, sample: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextlib.contextmanager
    def lasting_engine(*, install: bool) -> Iterator[Engine]:
        yield ENGINE
        raise DockerFailed("dockerd, process 17, did not stop in 60 s")

    codes = iter((0, 0, code))
    monkeypatch.setattr(run_tests, "docker_engine", lasting_engine)
    monkeypatch.setattr(run_tests, "_pytest", lambda *_: next(codes))
    assert run_tests.main([]) == code
    assert "still runs: dockerd, process 17, did not stop" in capsys.readouterr().out


@pytest.mark.parametrize("there", [True, False])
def test_no_kubectl_is_reported_and_is_no_failure(
    there: bool,
    sample: Path,
    asked: list[tuple[list[str], Mapping[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(run_tests.shutil, "which", lambda name: f"/usr/bin/{name}" if there else None)
    monkeypatch.setenv("CI", "true")
    assert run_tests.main(["tests/unit"]) == 0
    assert ("NOT RUN: the tests that need kubectl" in capsys.readouterr().out) is not there


@pytest.mark.parametrize(
    ("codes", "all_of_them"),
    [
        ((0, 0, 0), 0),
        ((1, 0, 0), 1),
        ((0, 1, 0), 1),
        ((0, 0, 1), 1),
        ((5, 0, 5), 0),
        ((0, 5, 5), 0),
        ((5, 5, 5), 5),
        ((5, 5, 1), 1),
        ((1, 5, 5), 1),
        ((1, 0, 3), 3),
        ((0, 0, 3), 3),
    ],
)
def test_the_code_is_that_of_the_part_that_failed(
    codes: tuple[int, ...], all_of_them: int, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = iter(codes)
    monkeypatch.setattr(run_tests, "_pytest", lambda *_: next(parts))
    assert run_tests.main([]) == all_of_them
    assert next(parts, None) is None


@pytest.mark.parametrize("before", [(), (0,), (1,), (0, 1), (1, 5)])
@pytest.mark.parametrize("code", [2, 3, 4])
def test_after_an_interrupt_nothing_more_is_run(
    code: int, before: tuple[int, ...], sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = iter((*before, code))
    monkeypatch.setattr(run_tests, "_pytest", lambda *_: next(parts))
    assert run_tests.main([]) == code


def test_the_last_count_is_of_all_parts(
    tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tests" / "containers").mkdir(parents=True)
    (tmp_path / "tests" / "test_one.py").write_text(
        "import pytest\ndef test_a():\n    pass\ndef test_b():\n    assert False\n"
        "@pytest.mark.skip\ndef test_c():\n    pass\n",
        encoding="utf-8",
    )
    (tmp_path / "tests" / "containers" / "test_two.py").write_text(
        "import pytest\ndef test_d():\n    pass\n@pytest.fixture\ndef broken():\n    raise ValueError\n"
        "def test_e(broken):\n    pass\n",
        encoding="utf-8",
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (tmp_path / "tests" / "system").mkdir()
    (tmp_path / "tests" / "system" / "test_three.py").write_text("def test_f():\n    pass\n", encoding="utf-8")
    sample.unlink()
    monkeypatch.setattr(run_tests, "ROOT", tmp_path)
    assert run_tests.main(["-q", "-n", "0"]) == 1
    assert capfd.readouterr().out.splitlines()[-1] == "tests: 3 passed, 2 failed, 1 skipped"


@pytest.mark.parametrize(("what", "variable", "find"), MISSING)
def test_a_server_that_is_missing_is_reported(
    what: str,
    variable: str,
    find: str,
    sample: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    without(what, variable, find, monkeypatch)
    assert run_tests.main([f"{sample}::test_servers", "-q"]) == 0
    assert f"NOT RUN: the tests that need {what}. {what} is not available" in capsys.readouterr().out


@pytest.mark.parametrize(("what", "variable", "find"), MISSING)
def test_a_server_that_is_missing_in_ci_is_a_failure(
    what: str, variable: str, find: str, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(what, variable, find, monkeypatch)
    monkeypatch.setenv("CI", "true")
    assert run_tests.main([f"{sample}::test_servers", "-q"]) == 1


def test_no_store_is_a_failure(
    sample: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nowhere() -> None:
        raise ServerNotFound("MongoDB is not available: no way led to one")

    monkeypatch.setattr(run_tests, "find_mongodb", nowhere)
    assert run_tests.main([f"{sample}::test_servers", "-q"]) == 1
    assert "tests cannot run: MongoDB is not available" in capsys.readouterr().out
