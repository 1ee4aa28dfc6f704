"""Settings come from the environment; a bad one is refused by the name of its variable and with what is allowed."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import AliasChoices, SecretStr, ValidationError

from contracts.agents import AgentLimits, CapabilityLimits
from services.runtime.settings import (
    BadSettings,
    JwtAlgorithm,
    LogFormat,
    LogLevel,
    Mode,
    Protocol,
    Settings,
    load_settings,
)
from tests.support.api_access import ADMIN_KEY

GOOD: dict[str, tuple[str, str, Any]] = {
    "api_host": ("API_HOST", "0.0.0.0", "0.0.0.0"),
    "api_port": ("API_PORT", "9000", 9000),
    "cors_origins": (
        "CORS_ORIGINS",
        "https://a.example, https://b.example,",
        ("https://a.example", "https://b.example"),
    ),
    "log_level": ("LOG_LEVEL", "debug", LogLevel.DEBUG),
    "log_format": ("LOG_FORMAT", "Console", LogFormat.CONSOLE),
    "database_url": ("DATABASE_URL", "mongodb://u:p@db:27018/other", "mongodb://u:p@db:27018/other"),
    "communication_protocol": ("COMMUNICATION_PROTOCOL", "Direct", Protocol.DIRECT),
    "rabbitmq_url": ("RABBITMQ_URL", "amqps://u:p@broker:5671/v", "amqps://u:p@broker:5671/v"),
    "redis_url": ("REDIS_URL", "rediss://cache:6380/1", "rediss://cache:6380/1"),
    "max_agents": ("MAX_AGENTS", "7", 7),
    "agent_timeout": ("AGENT_TIMEOUT", "2.5", 2.5),
    "agent_concurrency": ("AGENT_CONCURRENCY", "3", 3),
    "agent_ids": ("AGENT_IDS", "clerk/alice, clerk/bob,", ("clerk/alice", "clerk/bob")),
    "agent_heartbeat": ("AGENT_HEARTBEAT", "0.5", 0.5),
    "agent_limits": (
        "AGENT_LIMITS",
        '{"data_agent": {"rate": 2.5, "capabilities": {"query": {"concurrency": 1}}}}',
        {"data_agent": AgentLimits(rate=2.5, capabilities={"query": CapabilityLimits(concurrency=1)})},
    ),
    "max_message_retries": ("MAX_MESSAGE_RETRIES", "0", 0),
    "plugin_folder": ("PLUGIN_FOLDER", "my/agents", Path("my/agents")),
    "data_folder": ("DATA_FOLDER", "data/here", Path("data/here")),
    "step_lease": ("STEP_LEASE", "12.5", 12.5),
    "max_open_executions": ("MAX_OPEN_EXECUTIONS", "20", 20),
    "max_pending_commands": ("MAX_PENDING_COMMANDS", "30", 30),
    "answer_timeout": ("ANSWER_TIMEOUT", "5", 5.0),
    "max_streams": ("MAX_STREAMS", "40", 40),
    "shutdown_timeout": ("SHUTDOWN_TIMEOUT", "4", 4.0),
    "shutdown_delay": ("SHUTDOWN_DELAY", "5", 5.0),
    "metrics_enabled": ("METRICS_ENABLED", "false", False),
    "metrics_host": ("METRICS_HOST", "0.0.0.0", "0.0.0.0"),
    "metrics_port": ("METRICS_PORT", "0", 0),
    "report_interval": ("REPORT_INTERVAL", "0.5", 0.5),
    "otlp_endpoint": ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318", "http://collector:4318"),
    "trace_sample_ratio": ("OTEL_TRACES_SAMPLER_ARG", "0.1", 0.1),
    "api_key_header": ("API_KEY_HEADER", "X-Conclave-Key", "X-Conclave-Key"),
    "api_key_hash_key": ("API_KEY_HASH_KEY", "h" * 32, SecretStr("h" * 32)),
    "initial_admin_key": ("INITIAL_ADMIN_KEY", ADMIN_KEY, SecretStr(ADMIN_KEY)),
    "jwt_secret_key": ("JWT_SECRET_KEY", "s" * 32, SecretStr("s" * 32)),
    "jwt_algorithm": ("JWT_ALGORITHM", "EdDSA", JwtAlgorithm.EDDSA),
    "jwt_jwks": ("JWT_JWKS", "keys/issuer.json", "keys/issuer.json"),
    "jwt_issuer": ("JWT_ISSUER", "https://login.example", "https://login.example"),
    "jwt_audience": ("JWT_AUDIENCE", "conclave", "conclave"),
    "jwt_role_claim": ("JWT_ROLE_CLAIM", "roles", "roles"),
    "rate_limit": ("RATE_LIMIT", "60", 60),
    "max_body_bytes": ("MAX_BODY_BYTES", "1024", 1024),
    "message_signing": ("MESSAGE_SIGNING", "Required", Mode.REQUIRED),
    "message_keys": ("MESSAGE_KEYS", "keys", Path("keys")),
    "message_max_age": ("MESSAGE_MAX_AGE", "3600", 3600.0),
    "message_replay_window": ("MESSAGE_REPLAY_WINDOW", "60", 60.0),
    "message_encryption": ("MESSAGE_ENCRYPTION", "optional", Mode.OPTIONAL),
    "encryption_keys": ("ENCRYPTION_KEYS", "keys/e.json", Path("keys/e.json")),
    "agent_policy": ("AGENT_POLICY", "policy.toml", Path("policy.toml")),
    "tls_ca": ("TLS_CA", "ca.pem", Path("ca.pem")),
    "tls_certificate": ("TLS_CERTIFICATE", "me.pem", Path("me.pem")),
    "tls_key": ("TLS_KEY", "me.key", Path("me.key")),
}

BAD = [
    ("API_PORT", "-1", "greater than or equal to 0"),
    ("API_PORT", "65536", "less than or equal to 65535"),
    ("API_PORT", "http", "valid integer"),
    ("LOG_LEVEL", "LOUD", "'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'"),
    ("LOG_FORMAT", "xml", "'json' or 'console'"),
    ("DATABASE_URL", "mysql://localhost/db", "mongodb:// or mongodb+srv:// or postgresql:// or postgres://"),
    ("DATABASE_URL", "mongodb://", "mongodb:// or mongodb+srv://"),
    ("DATABASE_URL", "postgresql://", "postgresql:// or postgres://"),
    ("DATABASE_URL", "localhost:27017", "mongodb:// or mongodb+srv://"),
    ("COMMUNICATION_PROTOCOL", "smoke", "'rabbitmq', 'redis' or 'direct'"),
    ("RABBITMQ_URL", "http://localhost", "amqp:// or amqps://"),
    ("REDIS_URL", "amqp://localhost", "redis:// or rediss:// or unix://"),
    ("MAX_AGENTS", "0", "greater than or equal to 1"),
    ("MAX_AGENTS", "100001", "less than or equal to 100000"),
    ("MAX_AGENTS", "2.5", "valid integer"),
    ("AGENT_TIMEOUT", "0", "greater than 0"),
    ("AGENT_TIMEOUT", "604801", "less than or equal to 604800"),
    ("AGENT_TIMEOUT", "soon", "valid number"),
    ("AGENT_TIMEOUT", "nan", "less than or equal to 604800"),
    ("AGENT_CONCURRENCY", "0", "greater than or equal to 1"),
    ("AGENT_CONCURRENCY", "10001", "less than or equal to 10000"),
    ("AGENT_IDS", "clerk/alice,bob", "expected type/id (letters, digits, _ and -) separated by commas, not 'bob'"),
    ("AGENT_IDS", "clerk/a.b", "not 'clerk/a.b'"),
    ("AGENT_HEARTBEAT", "0", "greater than or equal to 0.1"),
    ("AGENT_HEARTBEAT", "3601", "less than or equal to 3600"),
    ("AGENT_LIMITS", "data_agent=4", 'expected JSON such as {"data_agent": {"concurrency": 4}}'),
    ("AGENT_LIMITS", "[]", "valid dictionary"),
    ("AGENT_LIMITS", '{"data_agent": {"concurrency": 0}}', "data_agent.concurrency: Input should be greater than"),
    ("AGENT_LIMITS", '{"data_agent": {"concurency": 4}}', "data_agent.concurency: there is no such limit"),
    ("AGENT_LIMITS", '{"a": {"capabilities": {"b": {"rat": 4}}}}', "a.capabilities.b.rat: there is no such limit"),
    ("MAX_MESSAGE_RETRIES", "-1", "greater than or equal to 0"),
    ("MAX_MESSAGE_RETRIES", "101", "less than or equal to 100"),
    ("STEP_LEASE", "-1", "greater than 0"),
    ("STEP_LEASE", "inf", "less than or equal to 604800"),
    ("MAX_OPEN_EXECUTIONS", "0", "greater than or equal to 1"),
    ("MAX_OPEN_EXECUTIONS", "10000001", "less than or equal to 10000000"),
    ("MAX_PENDING_COMMANDS", "0", "greater than or equal to 1"),
    ("MAX_PENDING_COMMANDS", "100001", "less than or equal to 100000"),
    ("ANSWER_TIMEOUT", "0", "greater than or equal to 0.1"),
    ("ANSWER_TIMEOUT", "61", "less than or equal to 60"),
    ("MAX_STREAMS", "0", "greater than or equal to 1"),
    ("MAX_STREAMS", "100001", "less than or equal to 100000"),
    ("SHUTDOWN_TIMEOUT", "0", "greater than 0"),
    ("SHUTDOWN_TIMEOUT", "3601", "less than or equal to 3600"),
    ("SHUTDOWN_DELAY", "-1", "greater than or equal to 0"),
    ("METRICS_ENABLED", "perhaps", "valid boolean"),
    ("METRICS_PORT", "65536", "less than or equal to 65535"),
    ("REPORT_INTERVAL", "0", "greater than or equal to 0.1"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http:// or https://"),
    ("OTEL_TRACES_SAMPLER_ARG", "1.5", "less than or equal to 1"),
    ("API_KEY_HEADER", "X API Key", "match pattern"),
    ("API_KEY_HASH_KEY", "short", "5 characters are too few for a secret; 32 or more"),
    ("INITIAL_ADMIN_KEY", "admin", "expected ck_, 12 small letters or digits, _ and 43 characters"),
    ("JWT_SECRET_KEY", "s" * 31, "31 characters are too few for a secret"),
    ("JWT_ALGORITHM", "none", "'HS256', 'RS256' or 'EdDSA'"),
    ("RATE_LIMIT", "0", "greater than or equal to 1"),
    ("MAX_BODY_BYTES", "100", "greater than or equal to 1024"),
    ("MESSAGE_SIGNING", "on", "'off', 'optional' or 'required'"),
    ("MESSAGE_MAX_AGE", "1", "greater than or equal to 60"),
    ("MESSAGE_REPLAY_WINDOW", "0", "greater than or equal to 10"),
    ("MESSAGE_ENCRYPTION", "yes", "'off', 'optional' or 'required'"),
]
TAKES_ANY_TEXT = {
    *(
        "METRICS_HOST",
        "API_HOST",
        "CORS_ORIGINS",
        "PLUGIN_FOLDER",
        "DATA_FOLDER",
        "MESSAGE_KEYS",
        "ENCRYPTION_KEYS",
        "AGENT_POLICY",
    ),
    *("JWT_JWKS", "JWT_ISSUER", "JWT_AUDIENCE", "JWT_ROLE_CLAIM", "TLS_CA", "TLS_CERTIFICATE", "TLS_KEY"),
}


def variables_of(field: str) -> list[str]:
    alias = Settings.model_fields[field].validation_alias
    return [str(name) for name in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        for variable in (field, *variables_of(field)):
            monkeypatch.delenv(variable, raising=False)


def test_settings_load_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(GOOD) == set(Settings.model_fields)
    for variable, text, _ in GOOD.values():
        monkeypatch.setenv(variable, text)
    loaded = load_settings()
    assert {field: getattr(loaded, field) for field in GOOD} == {field: value for field, (_, _, value) in GOOD.items()}


@pytest.mark.parametrize("field", GOOD)
def test_each_setting_has_a_variable_of_its_own(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = dict(load_settings())
    variable, text, value = GOOD[field]
    monkeypatch.setenv(variable, text)
    assert dict(load_settings()) == {**defaults, field: value}
    assert defaults[field] != value


def test_settings_have_defaults_without_an_environment() -> None:
    settings = load_settings()
    assert (settings.communication_protocol, settings.api_host, settings.api_port) == (
        Protocol.RABBITMQ,
        "127.0.0.1",
        8000,
    )
    assert (settings.cors_origins, settings.agent_ids) == ((), ())


def test_an_empty_variable_is_as_if_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, _, _ in GOOD.values():
        monkeypatch.setenv(variable, "")
    assert load_settings() == Settings()
    assert load_settings().max_agents == 50


def test_the_protocol_has_a_short_name_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMM_PROTOCOL", "redis")
    assert load_settings().communication_protocol is Protocol.REDIS
    monkeypatch.setenv("COMMUNICATION_PROTOCOL", "direct")
    assert load_settings().communication_protocol is Protocol.DIRECT


def test_variables_of_other_programs_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCLAVE_API_PORT", "2")
    assert load_settings().api_port == 8000


@pytest.mark.parametrize(("variable", "text", "allowed"), BAD)
def test_settings_validation(variable: str, text: str, allowed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(BadSettings) as refused:
        load_settings()
    assert str(refused.value).startswith(f"{variable}=")
    assert allowed in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_every_setting_that_can_be_bad_has_a_bad_value_here() -> None:
    assert {variable for variable, _, _ in BAD} == {variable for variable, _, _ in GOOD.values()} - TAKES_ANY_TEXT


def test_every_bad_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "x")
    monkeypatch.setenv("MAX_AGENTS", "0")
    monkeypatch.setenv("LOG_FORMAT", "xml")
    with pytest.raises(BadSettings) as refused:
        load_settings()
    assert {line.split("=")[0] for line in str(refused.value).splitlines()} == {"API_PORT", "MAX_AGENTS", "LOG_FORMAT"}


@pytest.mark.parametrize("variable", ["API_KEY_HASH_KEY", "INITIAL_ADMIN_KEY", "JWT_SECRET_KEY"])
def test_a_bad_secret_is_not_shown(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "hunter2")
    with pytest.raises(BadSettings) as refused:
        load_settings()
    assert str(refused.value).startswith(f"{variable}=***")
    assert "hunter2" not in str(refused.value)


def test_a_secret_does_not_show_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", "s" * 40)
    assert "s" * 40 not in repr(load_settings()) + str(load_settings().model_dump())


@pytest.mark.parametrize("variable", ["API_KEY_HASH_KEY", "DATABASE_URL", "RABBITMQ_URL", "REDIS_URL"])
def test_a_secret_may_come_in_a_file(variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text, value = next(row[1:] for row in GOOD.values() if row[0] == variable)
    file = tmp_path / "secret"
    file.write_text(f"{text}\n")
    monkeypatch.setenv(f"{variable}_FILE", str(file))
    assert value in dict(load_settings()).values()
    monkeypatch.setenv(variable, text)
    with pytest.raises(BadSettings, match=f"{variable} and {variable}_FILE are both set"):
        load_settings()


def test_a_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(BadSettings, match=r"JWT_SECRET_KEY_FILE=.*nowhere.* cannot be read"):
        load_settings()


def test_settings_given_by_name_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_AGENTS", "5")
    assert Settings(max_agents=9).max_agents == 9  # type: ignore[call-arg]


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().max_agents = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("mongodb://localhost:27017/conclave", "conclave"),
        ("mongodb://user:p%40ss@one:1,two:2/orders?replicaSet=rs0", "orders"),
        ("mongodb+srv://cluster.example/decisions?retryWrites=true", "decisions"),
        ("mongodb://localhost:27017", "conclave"),
        ("mongodb://localhost:27017/", "conclave"),
        ("mongodb://localhost?appName=x", "conclave"),
        ("postgresql://user:p%40ss@one:1,two:2/orders?sslmode=require", "orders"),
        ("postgres://localhost/a%20name", "a name"),
        ("postgresql://localhost", "conclave"),
        ("postgresql:///orders?host=/run/postgresql", "orders"),
    ],
)
def test_database_config_format(url: str, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert load_settings().get_database_config() == {"url": url, "database": database}


def test_the_database_has_a_default() -> None:
    expected = {"url": "mongodb://localhost:27017/conclave", "database": "conclave"}
    assert load_settings().get_database_config() == expected


def test_a_bad_url_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://user:secret@host/db")
    with pytest.raises(BadSettings, match=r"DATABASE_URL='mysql://user:\*\*\*@host/db' is not allowed") as refusal:
        load_settings()
    assert "secret" not in str(refusal.value)


def test_the_variable_that_was_set_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMMUNICATION_PROTOCOL", raising=False)
    monkeypatch.setenv("COMM_PROTOCOL", "pigeon")
    with pytest.raises(BadSettings, match=r"^COMM_PROTOCOL='pigeon' is not allowed"):
        load_settings()
