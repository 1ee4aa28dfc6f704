"""Settings from the environment. A bad value is refused at start, by the variable's name and with what is allowed."""

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_core import from_json
from pydantic_settings import NoDecode, SettingsConfigDict

from contracts.agents import AgentLimits, CapabilityLimits
from services.runtime.operations_settings import OperationsSettings
from services.runtime.security_settings import JwtAlgorithm, Mode, SecuritySettings

__all__ = ["BadSettings", "JwtAlgorithm", "LogFormat", "LogLevel", "Mode", "Protocol", "Settings", "load_settings"]


class Protocol(StrEnum):
    RABBITMQ = "rabbitmq"
    REDIS = "redis"
    DIRECT = "direct"


class LogLevel(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


class LogFormat(StrEnum):
    JSON = "json"
    CONSOLE = "console"


class BadSettings(ValueError):
    """One or more environment variables have values that are not allowed; the message names each."""


MONGODB_SCHEMES = ("mongodb", "mongodb+srv")
POSTGRES_SCHEMES = ("postgresql", "postgres")

_OTHER_NAMES = {"COMMUNICATION_PROTOCOL": ("COMM_PROTOCOL",)}
_AGENT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}/[A-Za-z_][A-Za-z0-9_-]{0,63}")
_PASSWORD = re.compile(r"(://[^/@:]*:)[^@]*@")  # in a URL, which an error message may show otherwise


class Settings(OperationsSettings, SecuritySettings):
    """Every setting, its default and its meaning. ``Settings()`` reads the environment; values passed by field name
    win over it."""

    model_config = SettingsConfigDict(
        case_sensitive=True, extra="ignore", frozen=True, populate_by_name=True, env_ignore_empty=True
    )

    api_host: str = Field("127.0.0.1", validation_alias="API_HOST", description="Address the edge listens on.")
    api_port: int = Field(
        8000, ge=0, le=65535, validation_alias="API_PORT", description="Port of the edge; 0 = any free."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), validation_alias="CORS_ORIGINS", description="Origins that browsers may call from, separated by commas."
    )
    log_level: LogLevel = Field(LogLevel.INFO, validation_alias="LOG_LEVEL", description="Lowest level that is logged.")
    log_format: LogFormat = Field(LogFormat.JSON, validation_alias="LOG_FORMAT", description="json or console.")
    database_url: str = Field(
        "mongodb://localhost:27017/conclave",
        validation_alias="DATABASE_URL",
        description="Where state is kept: MongoDB at mongodb://[user:password@]host[:port]/database or mongodb+srv://...,"
        " PostgreSQL at postgresql://[user:password@]host[:port]/database.",
    )
    communication_protocol: Protocol = Field(
        Protocol.RABBITMQ,
        validation_alias=AliasChoices("COMMUNICATION_PROTOCOL", *_OTHER_NAMES["COMMUNICATION_PROTOCOL"]),
        description="The bus: rabbitmq, redis, or direct (everything in one process).",
    )
    rabbitmq_url: str = Field(
        "amqp://guest:guest@localhost:5672/",
        validation_alias="RABBITMQ_URL",
        description="amqp://user:password@host:port/vhost, or amqps://...",
    )
    redis_url: str = Field(
        "redis://localhost:6379/0", validation_alias="REDIS_URL", description="redis://host:port/db, or rediss://..."
    )
    max_agents: int = Field(50, ge=1, le=100_000, validation_alias="MAX_AGENTS", description="Agents that may exist.")
    agent_timeout: float = Field(
        30.0, gt=0, le=7 * 86_400, validation_alias="AGENT_TIMEOUT", description="Seconds a step may take by default."
    )
    agent_concurrency: int = Field(
        16, ge=1, le=10_000, validation_alias="AGENT_CONCURRENCY", description="Steps one agent host runs side by side."
    )
    agent_ids: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias="AGENT_IDS",
        description="Agents (type/id) that the hosts of their type create at start, separated by commas.",
    )
    agent_heartbeat: float = Field(
        5.0,
        ge=0.1,
        le=3_600,
        validation_alias="AGENT_HEARTBEAT",
        description="Seconds between two signs of life of an agent host; silent for two of them it counts as gone.",
    )
    agent_limits: Annotated[dict[str, AgentLimits], NoDecode] = Field(
        {},
        validation_alias="AGENT_LIMITS",
        description="Limits of agents by their type, as JSON: concurrency, rate (calls a second), max_input_bytes,"
        " max_output_bytes, and the same for single capabilities.",
    )
    max_message_retries: int = Field(
        3,
        ge=0,
        le=100,
        validation_alias="MAX_MESSAGE_RETRIES",
        description="How often a message to an agent is tried again before it becomes a dead letter.",
    )
    plugin_folder: Path | None = Field(
        None,
        validation_alias="PLUGIN_FOLDER",
        description="Folder of Python files with further agent types, for the plugin agent; none by default.",
    )
    data_folder: Path = Field(
        Path("examples/data"),
        validation_alias="DATA_FOLDER",
        description="The one folder data agents read from.",
    )
    step_lease: float = Field(
        300.0,
        gt=0,
        le=7 * 86_400,
        validation_alias="STEP_LEASE",
        description="Seconds, beyond its timeout, after which a step that says nothing is sent once more, then failed.",
    )
    max_open_executions: int = Field(
        10_000,
        ge=1,
        le=10_000_000,
        validation_alias="MAX_OPEN_EXECUTIONS",
        description="Executions that may be open at once; above it starts are refused, or wait in their queue.",
    )
    max_pending_commands: int = Field(
        500,
        ge=1,
        le=100_000,
        validation_alias="MAX_PENDING_COMMANDS",
        description="Requests with a command that one edge has in hand at once; above it they are answered 503.",
    )
    answer_timeout: float = Field(
        1.8,
        ge=0.1,
        le=60,
        validation_alias="ANSWER_TIMEOUT",
        description="Seconds that the store, or whoever takes a command, has to answer the edge; later it is 503.",
    )
    max_streams: int = Field(
        500,
        ge=1,
        le=100_000,
        validation_alias="MAX_STREAMS",
        description="Event streams that one edge has open at once; above it they are answered 503.",
    )
    shutdown_timeout: float = Field(
        20.0, gt=0, le=3_600, validation_alias="SHUTDOWN_TIMEOUT", description="Seconds that work in hand has to end."
    )

    @field_validator("cors_origins", "agent_ids", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("agent_limits", mode="before")
    @classmethod
    def _read_json(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            limits = from_json(value)
        except ValueError as error:
            raise ValueError(f'expected JSON such as {{"data_agent": {{"concurrency": 4}}}}: {error}') from error
        _check_names(limits)
        return limits

    @field_validator("agent_ids")
    @classmethod
    def _are_agents(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if not _AGENT.fullmatch(entry):
                raise ValueError(f"expected type/id (letters, digits, _ and -) separated by commas, not {entry!r}")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("log_format", "communication_protocol", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _is_store(cls, value: str) -> str:
        return _checked_url(value, (*MONGODB_SCHEMES, *POSTGRES_SCHEMES))

    @field_validator("rabbitmq_url")
    @classmethod
    def _is_amqp(cls, value: str) -> str:
        return _checked_url(value, ("amqp", "amqps"))

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        return _checked_url(value, ("redis", "rediss", "unix"))

    def get_database_config(self) -> dict[str, Any]:
        """``{"url": ..., "database": name}``: the name is the URL's path, ``conclave`` if it has none."""
        name = urlsplit(self.database_url).path.strip("/")
        return {"url": self.database_url, "database": unquote(name) or "conclave"}


_SECRETS = {str(field.validation_alias) for field in Settings.model_fields.values() if field.annotation is SecretStr}
# What may be given as VARIABLE_FILE: the name of a file that holds the value, as container platforms hand out secrets.
_IN_FILES = (*sorted(_SECRETS), "DATABASE_URL", "RABBITMQ_URL", "REDIS_URL")


def load_settings() -> Settings:
    """Read the environment, and the files that VARIABLE_FILE names for secrets.

    Raises:
        BadSettings: naming every variable with a bad value, and what is allowed.
    """
    try:
        return Settings.model_validate(_from_files())
    except ValidationError as error:
        raise BadSettings("\n".join(_explain(fault) for fault in error.errors())) from None


def _from_files() -> dict[str, str]:
    values = {}
    for variable in _IN_FILES:
        if path := os.environ.get(f"{variable}_FILE"):
            if os.environ.get(variable):
                raise BadSettings(f"{variable} and {variable}_FILE are both set; one of them has to go")
            try:
                values[variable] = Path(path).read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise BadSettings(f"{variable}_FILE={path!r} cannot be read: {error}") from None
    return values


def _explain(fault: Any) -> str:
    variable = str(fault["loc"][0])
    if variable not in os.environ:
        variable = next((other for other in _OTHER_NAMES.get(variable, ()) if other in os.environ), variable)
    message = str(fault["msg"]).removeprefix("Value error, ")
    shown = "***" if variable in _SECRETS else _PASSWORD.sub(r"\1***@", repr(fault["input"]))
    if place := ".".join(map(str, fault["loc"][1:])):
        message = f"{place}: {message}"
    return f"{variable}={shown} is not allowed: {message}"


def _check_names(limits: Any, path: str = "") -> None:
    """Limits are a contract, which ignores what it does not know; a misspelt setting must not go unnoticed."""
    for name, one in limits.items() if isinstance(limits, dict) else ():
        for key, below in one.items() if isinstance(one, dict) else ():
            known = CapabilityLimits.model_fields if path else AgentLimits.model_fields
            if key not in known:
                raise ValueError(f"{path}{name}.{key}: there is no such limit, only {', '.join(known)}")
            if key == "capabilities":
                _check_names(below, f"{name}.capabilities.")


def _checked_url(value: str, schemes: tuple[str, ...]) -> str:
    parts = urlsplit(value)
    if parts.scheme not in schemes or not (parts.netloc or parts.path):
        raise ValueError(f"expected a URL that begins with {' or '.join(scheme + '://' for scheme in schemes)}")
    return value
