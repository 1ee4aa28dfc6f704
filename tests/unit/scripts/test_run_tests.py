"""The test runner: servers are given to pytest, and a missing RabbitMQ is never a silent success."""

from pathlib import Path

import pytest

from scripts import run_tests
from scripts.servers import GivenServer, ServerNotFound

BROKER = "amqp://guest:guest@127.0.0.1:1/"
STORE = "mongodb://127.0.0.1:1/conclave"


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A test file that passes if it is given both servers."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(run_tests, "find_mongodb", lambda: GivenServer(STORE, "here"))
    monkeypatch.setattr(run_tests, "find_rabbitmq", lambda install: GivenServer(BROKER, "here"))
    path = tmp_path / "test_sample.py"
    path.write_text(
        "import os\n"
        "def test_servers():\n"
        f"    assert os.environ['DATABASE_URL'] == {STORE!r}\n"
        f"    assert os.environ.get('RABBITMQ_URL', {BROKER!r}) == {BROKER!r}\n"
        "def test_fails():\n    raise AssertionError\n",
        encoding="utf-8",
    )
    return path


def without_rabbitmq(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(install: bool) -> None:
        raise ServerNotFound("RabbitMQ is not available: no way led to one")

    monkeypatch.delenv("RABBITMQ_URL", raising=False)
    monkeypatch.setattr(run_tests, "find_rabbitmq", nowhere)


def test_servers_and_arguments_reach_pytest_and_its_code_comes_back(sample: Path) -> None:
    assert run_tests.main([f"{sample}::test_servers", "-q"]) == 0
    assert run_tests.main([f"{sample}::test_fails", "-q"]) == 1


def test_no_rabbitmq_is_reported(
    sample: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_rabbitmq(monkeypatch)
    assert run_tests.main([f"{sample}::test_servers", "-q"]) == 0
    assert "NOT RUN: the tests that need RabbitMQ. RabbitMQ is not available" in capsys.readouterr().out


def test_no_rabbitmq_in_ci_is_a_failure(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_rabbitmq(monkeypatch)
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
