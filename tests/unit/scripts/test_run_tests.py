"""The test runner: servers are given to pytest, and a missing one is never a silent success."""

from pathlib import Path

import pytest

from scripts import run_tests
from scripts.servers import GivenServer, ServerNotFound

BROKER = "amqp://guest:guest@127.0.0.1:1/"
STORE = "mongodb://127.0.0.1:1/conclave"
REDIS = "redis://127.0.0.1:1/0"
POSTGRES = "postgresql://127.0.0.1:1/conclave"


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A test file that passes if it is given its servers."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(run_tests, "find_mongodb", lambda: GivenServer(STORE, "here"))
    monkeypatch.setattr(run_tests, "find_rabbitmq", lambda install: GivenServer(BROKER, "here"))
    monkeypatch.setattr(run_tests, "find_redis", lambda install: GivenServer(REDIS, "here"))
    monkeypatch.setattr(run_tests, "find_postgresql", lambda install: GivenServer(POSTGRES, "here"))
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


MISSING = [
    ("RabbitMQ", "RABBITMQ_URL", "find_rabbitmq"),
    ("Redis", "REDIS_URL", "find_redis"),
    ("PostgreSQL", "POSTGRES_URL", "find_postgresql"),
]


def without(what: str, variable: str, find: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(install: bool) -> None:
        raise ServerNotFound(f"{what} is not available: no way led to one")

    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(run_tests, find, nowhere)


def test_servers_and_arguments_reach_pytest_and_its_code_comes_back(sample: Path) -> None:
    assert run_tests.main([f"{sample}::test_servers", "-q"]) == 0
    assert run_tests.main([f"{sample}::test_fails", "-q"]) == 1


@pytest.mark.parametrize(
    ("arguments", "parallel"),
    [([], True), (["--durations=5"], True), (["-k", "retry"], True), (["tests/unit"], False), (["-n", "1"], False)],
)
def test_everything_runs_side_by_side_and_a_choice_does_not(
    arguments: list[str], parallel: bool, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run(options: list[str], _: object) -> int:
        asked.append(options)
        return 0

    monkeypatch.setattr(run_tests, "_pytest", run)
    assert run_tests.main(arguments) == 0
    (options,) = asked
    assert ("--dist" in options) is parallel
    assert options[len(options) - len(arguments) :] == arguments


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
