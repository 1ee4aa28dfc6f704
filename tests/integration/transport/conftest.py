"""A RabbitMQ with one user for each service, and certificates."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.server_processes import RabbitServer
from scripts.servers import find_rabbitmq
from tests.conftest import found_or_not_run, in_ci
from tests.support.certificates import Authority
from tests.support.rabbitmq_users import run_script, url_of


@dataclass(frozen=True)
class Users:
    """``of(NAME)`` is the URL that a user connects with; ``root`` may do everything."""

    server: RabbitServer
    passwords: Path

    @property
    def root(self) -> str:
        return self.server.url

    def of(self, name: str) -> str:
        return url_of(self.server.url, self.passwords, name)


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Users]:
    passwords = tmp_path_factory.mktemp("passwords") / "users"
    with found_or_not_run(lambda: find_rabbitmq(own=True, containers=False, install=in_ci())) as server:
        assert isinstance(server, RabbitServer)
        made = run_script(server, passwords)
        assert made.returncode == 0, made.stderr
        yield Users(server, passwords)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(_readable(tmp_path_factory.mktemp("ours")))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(_readable(tmp_path_factory.mktemp("strange")), "stranger")


def _readable(folder: Path) -> Path:
    for one in (folder, *folder.parents[:2]):
        one.chmod(0o755)  # PostgreSQL does not run as root
    return folder
