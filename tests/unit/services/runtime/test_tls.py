"""TLS by the settings: which files are taken, which URLs are refused, and that nothing turns verification off."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from services.runtime import tls
from services.runtime.settings import BadSettings, Settings
from services.runtime.store.mongo_tls import driver_options
from tests.support.certificates import Authority, Certificate, locked


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def mine(authority: Authority) -> Certificate:
    return authority.issue("me")


def given(mine: Certificate | None = None, ca: Path | None = None, **urls: Any) -> Settings:
    files: dict[str, Any] = {"tls_ca": ca}
    if mine is not None:
        files |= {"tls_certificate": mine.certificate, "tls_key": mine.key}
    return Settings(**files, **urls)


# ---- files


def test_the_context_verifies_everything_and_speaks_nothing_old(authority: Authority, mine: Certificate) -> None:
    context = tls.context_of(tls.TlsFiles(authority.ca, mine.certificate, mine.key))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1


def test_without_files_the_systems_authorities_are_trusted() -> None:
    context = tls.rabbitmq_context(given(rabbitmq_url="amqps://broker/"))
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_files_that_cannot_be_used_are_refused_by_name(authority: Authority, mine: Certificate, tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("")
    other = authority.issue("other")
    with_passphrase = locked(mine.key, b"secret", tmp_path / "locked.pem")
    refused = {
        "TLS_CA=.*missing.pem cannot be read: No such file": tls.TlsFiles(missing),
        "TLS_CA=.* cannot be read: Is a directory": tls.TlsFiles(tmp_path),
        "TLS_CA=.*empty.pem holds no certificates": tls.TlsFiles(empty),
        "TLS_CERTIFICATE=.*missing.pem cannot be read": tls.TlsFiles(None, missing, mine.key),
        "TLS_KEY=.*missing.pem cannot be read": tls.TlsFiles(None, mine.certificate, missing),
        "TLS_KEY=.*other.key.pem is not the key of TLS_CERTIFICATE=.*me.pem": tls.TlsFiles(
            None, mine.certificate, other.key
        ),
        "TLS_CERTIFICATE=.*empty.pem and TLS_KEY=.* are not a certificate and its key": tls.TlsFiles(
            None, empty, mine.key
        ),
        "TLS_KEY=.*locked.pem is locked with a passphrase": tls.TlsFiles(None, mine.certificate, with_passphrase),
    }
    for words, files in refused.items():
        with pytest.raises(BadSettings, match=words):
            tls.context_of(files)


# ---- URLs

WHICH = {
    "rabbitmq_url": tls.rabbitmq_context,
    "redis_url": tls.redis_context,
    "mongo": tls.mongo_files,
    "postgres": tls.postgres_context,
}


def asked(kind: str, url: str, ca: Path | None = None, mine: Certificate | None = None) -> Any:
    name = kind if kind.endswith("_url") else "database_url"
    return WHICH[kind](given(mine, ca, **{name: url}))


UNVERIFIED = [
    ("rabbitmq_url", "amqps://broker/?no_verify_ssl=1", "no_verify_ssl"),
    ("rabbitmq_url", "amqps://broker/?verify=no", "verify"),
    ("rabbitmq_url", "amqps://broker/?cafile=/x", "cafile"),
    ("redis_url", "rediss://broker/0?ssl_cert_reqs=none", "ssl_cert_reqs"),
    ("redis_url", "rediss://broker/0?ssl_check_hostname=false", "ssl_check_hostname"),
    ("mongo", "mongodb://db/x?tls=true&tlsAllowInvalidCertificates=true", "tlsallowinvalidcertificates"),
    ("mongo", "mongodb://db/x?tls=true&tlsAllowInvalidHostnames=true", "tlsallowinvalidhostnames"),
    ("mongo", "mongodb://db/x?tlsInsecure=true", "tlsinsecure"),
    ("postgres", "postgresql://db/x?sslmode=require", "sslmode=require"),
    ("postgres", "postgresql://db/x?sslmode=verify-ca&sslrootcert=/x", "sslmode=verify-ca"),
]


@pytest.mark.parametrize(("kind", "url", "option"), UNVERIFIED)
def test_no_option_of_a_url_turns_verification_off(kind: str, url: str, option: str) -> None:
    with pytest.raises(BadSettings, match=f"_URL has .*{option}"):
        asked(kind, url)


PLAIN = [
    ("rabbitmq_url", "amqp://guest:secret@{host}:5672/", "amqps://"),
    ("redis_url", "redis://:secret@{host}:6379/0", "rediss://"),
    ("mongo", "mongodb://u:secret@{host}:27017/x?tls=false", "tls=true"),
    ("postgres", "postgresql://u:secret@{host}:5432/x?sslmode=disable", "sslmode=verify-full"),
    ("postgres", "postgresql://u:secret@{host}:5432/x?sslmode=prefer", "sslmode=verify-full"),
]


@pytest.mark.parametrize(("kind", "url", "instead"), PLAIN)
def test_a_plain_connection_is_refused_where_tls_is_asked_for(
    authority: Authority, kind: str, url: str, instead: str
) -> None:
    for host in ("broker.example", "10.0.0.7"):
        with pytest.raises(BadSettings, match=f"TLS_CA is set, but .*_URL .*expected {instead}") as raised:
            asked(kind, url.format(host=host), authority.ca)
        assert "secret" not in str(raised.value)
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert asked(kind, url.format(host=host), authority.ca) is None


@pytest.mark.parametrize(("kind", "url", "instead"), PLAIN)
def test_without_the_settings_a_plain_connection_is_what_the_url_says(kind: str, url: str, instead: str) -> None:
    assert asked(kind, url.format(host="broker.example")) is None


def test_one_host_of_several_that_is_elsewhere_is_enough(authority: Authority) -> None:
    with pytest.raises(BadSettings, match="TLS_CA is set"):
        asked("mongo", "mongodb://localhost:1,db.example:2/x?tls=false", authority.ca)


def test_a_socket_in_the_file_system_needs_no_tls(authority: Authority) -> None:
    assert asked("redis_url", "unix:///run/redis.sock", authority.ca) is None
    assert asked("postgres", "postgresql://%2Frun%2Fpostgresql/x?sslmode=disable", authority.ca) is None


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("mongo", "mongodb://db.example/x"),
        ("mongo", "mongodb://db.example/x?tls=true"),
        ("postgres", "postgresql://db.example/x"),
        ("postgres", "postgresql://db.example/x?sslmode=require"),
    ],
)
def test_the_settings_alone_encrypt_the_way_to_the_store(authority: Authority, kind: str, url: str) -> None:
    """With verification, whatever less the URL asks for."""
    found = asked(kind, url, authority.ca)
    assert found is not None
    if kind == "postgres":
        assert (found.verify_mode, found.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("mongo", "mongodb://db.example/x?tlsCAFile=/x/ca.pem"),
        ("postgres", "postgresql://db.example/x?sslmode=verify-full&sslrootcert=/x/ca.pem"),
    ],
)
def test_a_stores_url_may_name_the_files_if_the_settings_do_not(authority: Authority, kind: str, url: str) -> None:
    assert asked(kind, url) is None
    with pytest.raises(BadSettings, match="one of them has to go"):
        asked(kind, url, authority.ca)


def test_a_store_that_is_to_be_verified_is_also_without_a_file() -> None:
    context = asked("postgres", "postgresql://db.example/x?sslmode=verify-full")
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert asked("mongo", "mongodb+srv://db.example/x") == tls.TlsFiles()


# ---- MongoDB's one file


def test_certificate_and_key_are_one_file_while_they_are_needed(authority: Authority, mine: Certificate) -> None:
    with driver_options(tls.TlsFiles(authority.ca, mine.certificate, mine.key)) as options:
        path = Path(options["tlsCertificateKeyFile"])
        assert options == {"tls": True, "tlsCAFile": str(authority.ca), "tlsCertificateKeyFile": str(path)}
        for _ in range(2):  # the driver may read it again
            assert path.read_bytes() == mine.certificate.read_bytes() + b"\n" + mine.key.read_bytes()
            ssl.create_default_context().load_cert_chain(path)
    assert not path.exists()


def test_without_files_nothing_is_said_to_the_driver() -> None:
    with driver_options(None) as options:
        assert options == {}
