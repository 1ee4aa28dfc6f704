"""The secrets of an installation: made once, given to those who need them and to nobody else."""

import base64
import fcntl
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from scripts import deployment_secrets
from scripts.deployed_services import deployed_services
from scripts.deployment.certificates import authority_in, server_certificate_in
from scripts.deployment.holders import BadAddress, with_login
from scripts.deployment_secrets import main
from scripts.secret_files import write_secret
from services.runtime.security.api_keys import read_key_text
from services.runtime.security.key_files import read_private, read_public
from services.runtime.settings import load_settings

SERVERS = {"rabbitmq", "mongodb", "redis"}


def files_in(folder: Path) -> dict[str, dict[str, str]]:
    return {
        holder.name: {path.name: path.read_text(encoding="utf-8") for path in holder.iterdir()}
        for holder in folder.iterdir()
        if holder.name != "master"
    }


@pytest.fixture
def made(tmp_path: Path) -> dict[str, dict[str, str]]:
    assert main([str(tmp_path), "--redis-url", "redis://redis:6379/0"]) == 0
    return files_in(tmp_path)


def test_each_service_has_what_its_settings_are_to_name(made: dict[str, dict[str, str]]) -> None:
    for name, service in deployed_services().items():
        expected = {"rabbitmq-url", "redis-url", "encryption.json", f"{name}.private.json", "trusted.json"}
        expected |= {"database-url"} if service.store else set()
        expected |= {"api-key-hash-key"} if name in ("access", "edge") else set()
        expected |= {"initial-admin-key"} if name == "access" else set()
        assert made[name].keys() == expected, name
    assert made.keys() == {*deployed_services(), *SERVERS, "client", "scaler", "backup", "admin"}
    assert made["client"].keys() == {"rabbitmq-url", "client.private.json", "trusted.json"}


def test_a_service_starts_with_its_files_and_nothing_else(
    tmp_path: Path, made: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "access"
    for variable in ("RABBITMQ_URL", "DATABASE_URL", "REDIS_URL", "API_KEY_HASH_KEY", "INITIAL_ADMIN_KEY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv(f"{variable}_FILE", str(own / variable.lower().replace("_", "-")))
    settings = load_settings()
    assert settings.rabbitmq_url.startswith("amqp://access:")
    assert settings.get_database_config()["database"] == "conclave"
    assert read_key_text(settings.initial_admin_key.get_secret_value()) is not None
    assert made["admin"]["admin-key"] == settings.initial_admin_key.get_secret_value()
    assert [key.kid for key in read_private(own / "access.private.json")] == [
        key.kid for key in read_public(own / "trusted.json") if key.name == "access"
    ]


def test_no_two_users_have_the_same_password_and_no_service_reads_anothers(made: dict[str, dict[str, str]]) -> None:
    urls = [files["rabbitmq-url"] for files in made.values() if "rabbitmq-url" in files]
    assert len(urls) == len(set(urls)) == len(deployed_services()) + 2
    private = {holder: [name for name in files if name.endswith(".private.json")] for holder, files in made.items()}
    assert {holder: names for holder, names in private.items() if names} == {
        name: [f"{name}.private.json"] for name in (*deployed_services(), "client")
    }


def test_only_their_owner_may_read_them(tmp_path: Path, made: dict[str, dict[str, str]]) -> None:
    for path in tmp_path.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        public = path.name == "trusted.json" and path.parent.name == "signing"
        assert public or mode & 0o077 == 0, f"{path}: {mode:o}"


def test_made_again_nothing_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    before = files_in(tmp_path)
    capsys.readouterr()
    assert main([str(tmp_path)]) == 0
    assert files_in(tmp_path) == before
    assert "0 files were written" in capsys.readouterr().out


def test_a_renewed_password_reaches_its_user_and_the_broker_alone(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    before = files_in(tmp_path)
    assert main([str(tmp_path), "--renew", "edge"]) == 0
    after = files_in(tmp_path)
    changed = {(h, f) for h, files in after.items() for f, text in files.items() if before[h][f] != text}
    assert changed == {("edge", "rabbitmq-url"), ("rabbitmq", "definitions.json")}


def test_agent_types_that_come_later_are_answered_for_with_a_new_key(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    trusted = tmp_path / "plugin_agent" / "trusted.json"
    assert [one.agent_types for one in read_public(trusted) if one.name == "plugin_agent"] == [()]
    for _ in range(2):
        assert main([str(tmp_path), "--agents", "plugin_agent=weather"]) == 0
        first, second = [one for one in read_public(trusted) if one.name == "plugin_agent"]
        assert (first.agent_types, second.agent_types) == ((), ("weather",))
        assert first.exp is not None
    assert main([str(tmp_path)]) == 0  # without a word about types, they stay as they are
    assert len([one for one in read_public(trusted) if one.name == "plugin_agent"]) == 2


def test_what_a_holder_no_longer_needs_is_taken_away(tmp_path: Path) -> None:
    assert main([str(tmp_path), "--redis-url", "redis://redis:6379/0"]) == 0
    assert main([str(tmp_path)]) == 0
    assert "redis-url" not in files_in(tmp_path)["edge"]


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    (tmp_path / "master" / "admin-key").chmod(0o644)
    assert main([str(tmp_path)]) == 1
    assert "admin-key can be read by others: chmod 600" in capsys.readouterr().err


def test_one_at_a_time_makes_what_is_missing_and_hands_it_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    def noted(name: str) -> None:
        real = getattr(deployment_secrets, name)

        def called(*given: Any, **more: Any) -> Any:
            assert is_locked(tmp_path)
            closed.append(name)
            return real(*given, **more)

        monkeypatch.setattr(deployment_secrets, name, called)

    noted("masters_in")
    noted("write_folders")
    assert main([str(tmp_path)]) == 0
    assert closed == ["masters_in", "write_folders"]
    assert not is_locked(tmp_path)


def is_locked(folder: Path) -> bool:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def test_a_folder_that_was_there_before_is_closed_and_a_link_is_not_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, elsewhere = tmp_path / "deployment", tmp_path / "elsewhere"
    for path in (folder, elsewhere, folder / "edge"):
        path.mkdir()
        path.chmod(0o755)
    (elsewhere / "kept").write_text("mine", encoding="utf-8")
    assert main([str(folder)]) == 0
    assert stat.S_IMODE((folder / "edge").stat().st_mode) == 0o700
    for path in (folder / "redis").iterdir():
        path.unlink()
    (folder / "redis").rmdir()
    (folder / "redis").symlink_to(elsewhere)
    assert main([str(folder)]) == 1
    assert "redis is a link, and a folder is expected" in capsys.readouterr().err
    assert [path.name for path in elsewhere.iterdir()] == ["kept"]


def test_a_secret_is_its_owners_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, other = tmp_path / "secret", tmp_path / "other"
    other.write_text("of somebody else", encoding="utf-8")
    secret.symlink_to(other)
    given: list[tuple[int, int, bool]] = []

    def fchown(handle: int, user: int, group: int) -> None:
        assert os.fstat(handle).st_mode & 0o077 == 0
        given.append((user, group, secret.is_symlink()))

    monkeypatch.setattr(os, "fchown", fchown)
    write_secret(secret, "new", owner=10001)
    assert given == [(10001, 10001, True)]
    assert (secret.is_symlink(), secret.read_text(encoding="utf-8")) == (False, "new")
    assert other.read_text(encoding="utf-8") == "of somebody else"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rabbitmq-url", "http://rabbitmq/"], "expected amqp:// or amqps://host"),
        (["--database-url", "mongodb://me:too@mongodb/conclave"], "without user and password"),
        (["--renew", "nobody"], "--renew nobody: no such user; there are"),
        (["--owner", "nobody=1"], "expected HOLDER=UID"),
    ],
)
def test_bad_input_is_named(
    tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), *arguments]) == 1
    assert said in capsys.readouterr().err


def test_a_login_is_quoted() -> None:
    assert with_login("redis://redis:6379/0", "", "a/b@c", ("redis",)) == "redis://:a%2Fb%40c@redis:6379/0"
    with pytest.raises(BadAddress, match="is no address"):
        with_login("redis:///0", "", "x", ("redis",))


def manifests(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert main([str(folder), "--kubernetes", "somewhere", *arguments]) == 0
    documents = capsys.readouterr().out.split("---\n")[1:]
    secrets = [json.loads(document) for document in documents]
    assert {secret["metadata"]["namespace"] for secret in secrets} == {"somewhere"}
    return {
        secret["metadata"]["name"]: {k: base64.b64decode(v).decode() for k, v in secret["data"].items()}
        for secret in secrets
    }


def test_kubernetes_is_given_the_same_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = manifests(capsys, tmp_path)
    assert main([str(tmp_path)]) == 0
    files = files_in(tmp_path)
    for name in (*deployed_services(), "client", "backup"):
        assert found[f"{name.replace('_', '-')}-secrets"] == files[name]
    assert found["rabbitmq-user-data-agent"]["username"] == "data_agent"
    assert found["rabbitmq-user-data-agent"]["password"] in files["data_agent"]["rabbitmq-url"]
    # KEDA asks from a namespace of its own.
    host = files["scaler"]["rabbitmq-url"].replace("@rabbitmq:", "@rabbitmq.somewhere.svc:")
    assert found["keda-rabbitmq"] == {"host": host}
    assert "@rabbitmq.somewhere.svc:5672/" in host
    assert found["mongodb-secrets"] == files["mongodb"]
    assert not any("tls" in name for name in found)


def test_with_tls_the_servers_get_certificates_and_everybody_their_authority(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = manifests(capsys, tmp_path, "--tls")
    authority = x509.load_pem_x509_certificate(found["conclave-ca"]["ca.crt"].encode())
    for server, host in (("rabbitmq", "rabbitmq"), ("mongodb", "*.mongodb-svc.somewhere.svc.cluster.local")):
        certificate = x509.load_pem_x509_certificate(found[f"{server}-tls"]["tls.crt"].encode())
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert host in names.get_values_for_type(x509.DNSName)
    edge = found["edge-secrets"]
    assert edge["ca.crt"] == found["conclave-ca"]["ca.crt"]
    assert edge["rabbitmq-url"].startswith("amqps://edge:")
    assert edge["rabbitmq-url"].endswith("@rabbitmq:5671/")
    assert "mongodb-2.mongodb-svc.somewhere.svc.cluster.local" in edge["database-url"]


def test_a_certificate_is_renewed_before_it_ends_and_its_authority_is_not(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = authority_in(tmp_path, now)
    first = server_certificate_in(tmp_path, "rabbitmq", ["rabbitmq"], now)
    assert server_certificate_in(tmp_path, "rabbitmq", ["rabbitmq"], now + timedelta(days=300)) == first
    later = server_certificate_in(tmp_path, "rabbitmq", ["rabbitmq"], now + timedelta(days=350))
    assert later != first
    assert server_certificate_in(tmp_path, "rabbitmq", ["rabbitmq", "other"], now + timedelta(days=350)) != later
    assert authority_in(tmp_path, now) == authority


def test_another_authority_or_half_a_pair_has_certificates_made_anew(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    first = server_certificate_in(tmp_path, "rabbitmq", ["rabbitmq"], now)
    old = (tmp_path / "ca.crt").read_text(encoding="ascii")
    other = authority_in(tmp_path / "other", now)
    # As in a rotation: both are trusted, and the first one signs.
    (tmp_path / "ca.crt").write_text(other.certificate + old, encoding="ascii")
    with pytest.raises(ValueError, match=r"ca\.key: expected the key, of an elliptic curve, of the first certificate"):
        server_certificate_in(tmp_path, "rabbitmq", ["rabbitmq"], now)
    (tmp_path / "ca.key").write_text(other.key, encoding="ascii")
    second = server_certificate_in(tmp_path, "rabbitmq", ["rabbitmq"], now)
    assert second != first
    issuer = x509.load_pem_x509_certificate(other.certificate.encode())
    x509.load_pem_x509_certificate(second.certificate.encode()).verify_directly_issued_by(issuer)
    assert server_certificate_in(tmp_path, "rabbitmq", ["rabbitmq"], now) == second
    (tmp_path / "rabbitmq.key").write_text(first.key, encoding="ascii")
    assert server_certificate_in(tmp_path, "rabbitmq", ["rabbitmq"], now) != second
    assert (tmp_path / "ca.crt").read_text(encoding="ascii") == other.certificate + old


def test_an_authority_without_its_key_is_not_replaced(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    mine = authority_in(tmp_path, now).certificate
    (tmp_path / "ca.key").unlink()
    with pytest.raises(ValueError, match=r"ca\.key is not there"):
        authority_in(tmp_path, now)
    assert (tmp_path / "ca.crt").read_text(encoding="ascii") == mine
