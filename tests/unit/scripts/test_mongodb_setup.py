"""scripts/mongodb_setup.py against a server that begins as mongod does: with a root user, and no primary until told."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from scripts.mongodb_setup import main
from scripts.server_processes import HOST, LocalServer, free_port
from scripts.setup_environment import ROOT

MONGOD = ROOT / "scripts" / "stand_ins" / "mongo" / "mongod"


class StandIn(LocalServer):
    """The stand-in for mongod that Docker tests run, as a process of this machine."""

    dies_with_us = True

    def __init__(self, folder: Path, root_password: str) -> None:
        super().__init__(folder)
        self._root_password = root_password
        self.address = f"{HOST}:{self.port}"
        self.url = f"mongodb://{self.address}/"
        self.origin = f"the stand-in for mongod in {folder}"

    def _environment(self) -> dict[str, str]:
        return {
            "MONGO_INITDB_ROOT_USERNAME": "root",
            "MONGO_INITDB_ROOT_PASSWORD": self._root_password,
            "PYTHONPATH": str(MONGOD.parent),
        }

    def _command(self) -> Sequence[str]:
        own = ["--bind_ip", HOST, "--port", str(self.port), "--dbpath", str(self.folder), "--replSet", "rs0", "--auth"]
        return [sys.executable, str(MONGOD), *own]

    def _answers(self) -> bool:
        with MongoClient(self.url, directConnection=True, serverSelectionTimeoutMS=500) as client:
            try:
                return bool(client.admin.command("ping")["ok"])
            except Exception:
                return False


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[StandIn]:
    with StandIn(tmp_path / "data", "of-root") as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """One that is set up already."""
    folder = tmp_path_factory.mktemp("server")
    with StandIn(folder / "data", "of-root") as running:
        assert set_up(running, secrets_in(folder / "secrets")) == 0
        yield running


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    return secrets_in(tmp_path / "secrets")


def secrets_in(folder: Path) -> Path:
    folder.mkdir()
    (folder / "root-password").write_text("of-root\n")
    (folder / "conclave-password").write_text("of-the-services\n")
    return folder


def set_up(server: StandIn, secrets: Path, *more: str) -> int:
    return main(["--address", server.address, "--secrets", str(secrets), "--patience", "20", *more])


def written(server: StandIn, password: str, database: str = "conclave") -> int:
    """How many documents a service finds that has written one, as a client of the replica set and durably."""
    options = {"username": "conclave", "password": password, "authSource": "admin", "replicaSet": "rs0"}
    with MongoClient(server.url, serverSelectionTimeoutMS=5000, w="majority", journal=True, **options) as client:
        client[database]["things"].insert_one({"n": 1})
        return client[database]["things"].count_documents({})


def test_a_new_server_becomes_a_replica_set_with_a_user_and_stays_it(
    new_server: StandIn, secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set_up(new_server, secrets, "--replica-set", "rs1") == 1
    said = capsys.readouterr().err
    assert "rs0" in said
    assert "rs1" in said
    assert set_up(new_server, secrets) == 0
    said = capsys.readouterr().out
    assert "replica set rs0 was made; user conclave may use conclave" in said
    assert "of-root" not in said
    assert "of-the-services" not in said
    assert written(new_server, "of-the-services") == 1
    new_server.kill()
    new_server.start()
    assert set_up(new_server, secrets) == 0
    assert "replica set rs0 was there" in capsys.readouterr().out
    assert written(new_server, "of-the-services") == 2


def test_the_user_may_use_no_other_database(server: StandIn) -> None:
    assert written(server, "of-the-services") > 0
    with pytest.raises(OperationFailure, match=r"not authorized|Unauthorized"):
        written(server, "of-the-services", "another")


def test_a_password_that_is_new_takes_the_old_ones_place(server: StandIn, secrets: Path) -> None:
    assert written(server, "of-the-services") > 0
    (secrets / "conclave-password").write_text("the-new-one")
    assert set_up(server, secrets) == 0
    try:
        assert written(server, "the-new-one") > 1
        with pytest.raises(OperationFailure, match=r"(?i)authentication failed"):
            written(server, "of-the-services")
    finally:
        (secrets / "conclave-password").write_text("of-the-services")
        assert set_up(server, secrets) == 0


def test_a_root_password_that_the_data_do_not_know_is_named(
    server: StandIn, secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (secrets / "root-password").write_text("not-it")
    assert set_up(server, secrets) == 1
    said = capsys.readouterr().err
    assert f"does not take the password of 'root' in {secrets / 'root-password'}" in said
    assert "begin anew without the data" in said
    assert "not-it" not in said


def test_a_set_of_another_name_is_refused(server: StandIn, secrets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set_up(server, secrets, "--replica-set", "rs1") == 1
    assert f"belongs to the replica set 'rs0' of {server.address}, not to 'rs1'" in capsys.readouterr().err


def test_a_set_that_knows_the_server_by_another_name_is_refused(
    server: StandIn, secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = f"localhost:{server.port}"
    assert main(["--address", other, "--secrets", str(secrets), "--patience", "5"]) == 1
    assert f"{other} belongs to the replica set 'rs0' of {server.address}" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_waited_for_and_named(secrets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = f"{HOST}:{free_port()}"
    assert main(["--address", address, "--secrets", str(secrets), "--patience", "0.1"]) == 1
    assert f"{address} was not ready in 0 s" in capsys.readouterr().err


@pytest.mark.parametrize(("content", "expected"), [(None, "cannot be read"), (" \n", "is empty")])
def test_a_password_that_is_missing_is_named(
    secrets: Path, content: str | None, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = secrets / "conclave-password"
    path.unlink() if content is None else path.write_text(content)
    assert main(["--secrets", str(secrets)]) == 1
    assert f"{path} {expected}" in capsys.readouterr().err
