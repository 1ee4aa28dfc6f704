"""Settings of security: who may use the API, how messages are signed and encrypted, and what agents are granted."""

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from services.runtime.security.api_keys import read_key_text

SHORTEST_SECRET = 32  # characters


class Mode(StrEnum):
    """Of signing and encryption: ``optional`` does it and takes messages without; ``required`` refuses those."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


class JwtAlgorithm(StrEnum):
    HS256 = "HS256"
    RS256 = "RS256"
    EDDSA = "EdDSA"


class SecuritySettings(BaseSettings):
    """Part of ``settings.Settings``."""

    api_key_header: str = Field(
        "X-API-Key",
        pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$",
        validation_alias="API_KEY_HEADER",
        description="The request header that holds an API key. `Authorization: Bearer KEY` is read too.",
    )
    api_key_hash_key: SecretStr = Field(
        SecretStr(""),
        validation_alias="API_KEY_HASH_KEY",
        description="The secret with which API keys are hashed before they are stored, 32 characters or more; the same"
        " for every edge and for the access service. Without it no API key is taken.",
    )
    initial_admin_key: SecretStr = Field(
        SecretStr(""),
        validation_alias="INITIAL_ADMIN_KEY",
        description="The admin key that a new installation begins with (ck_ and 12, then _ and 43 characters), instead"
        " of one that is made and printed once.",
    )
    jwt_secret_key: SecretStr = Field(
        SecretStr(""),
        validation_alias="JWT_SECRET_KEY",
        description="The secret of JWT bearer tokens signed with HS256, 32 characters or more.",
    )
    jwt_algorithm: JwtAlgorithm = Field(
        JwtAlgorithm.HS256, validation_alias="JWT_ALGORITHM", description="The one algorithm of JWT bearer tokens."
    )
    jwt_jwks: str = Field(
        "",
        validation_alias="JWT_JWKS",
        description="The public keys of tokens signed with RS256 or EdDSA: a file, or an https:// address, with"
        " a JWK set.",
    )
    jwt_issuer: str = Field(
        "", validation_alias="JWT_ISSUER", description="The iss that a token must have; needed where tokens are used."
    )
    jwt_audience: str = Field(
        "", validation_alias="JWT_AUDIENCE", description="The aud that a token must have; needed where tokens are used."
    )
    jwt_role_claim: str = Field(
        "role",
        min_length=1,
        validation_alias="JWT_ROLE_CLAIM",
        description="The claim that holds a role (viewer, operator, approver, admin), or a list of roles.",
    )
    rate_limit: int = Field(
        6_000,
        ge=1,
        le=100_000_000,
        validation_alias="RATE_LIMIT",
        description="Requests a minute that one API key or token's subject may make at one edge.",
    )
    max_body_bytes: int = Field(
        8 * 1024 * 1024,
        ge=1_024,
        le=15 * 1024 * 1024,
        validation_alias="MAX_BODY_BYTES",
        description="Bytes that a request's body may have.",
    )
    message_signing: Mode = Field(
        Mode.OFF,
        validation_alias="MESSAGE_SIGNING",
        description="Signatures of messages: off, optional (signs, and takes messages without one) or required.",
    )
    message_keys: Path = Field(
        Path(".conclave/keys"),
        validation_alias="MESSAGE_KEYS",
        description="Folder with the services' signing keys (SERVICE.private.json, each service needs its own alone)"
        " and with trusted.json, the public keys of all who may send. The auditor's key also signs its checkpoints.",
    )
    message_max_age: float = Field(
        86_400.0,
        ge=60,
        le=90 * 86_400,
        validation_alias="MESSAGE_MAX_AGE",
        description="Seconds after its signing for which a message is taken; a queue's longest wait.",
    )
    message_replay_window: float = Field(
        300.0,
        ge=10,
        le=86_400,
        validation_alias="MESSAGE_REPLAY_WINDOW",
        description="Seconds after a message was first seen in which its sender may publish it again under its id.",
    )
    message_encryption: Mode = Field(
        Mode.OFF,
        validation_alias="MESSAGE_ENCRYPTION",
        description="Encryption of messages, and of inputs and outputs in the store: off, optional (encrypts, and takes"
        " what is not encrypted) or required.",
    )
    encryption_keys: Path = Field(
        Path(".conclave/keys/encryption.json"),
        validation_alias="ENCRYPTION_KEYS",
        description="The JWK set with the keys of encryption; the newest encrypts, all decrypt.",
    )
    agent_policy: Path | None = Field(
        None,
        validation_alias="AGENT_POLICY",
        description="TOML file that grants agent types their capabilities, whom they may message, and whether they may"
        " start workflows. Without it only Conclave's own agent types are granted anything.",
    )
    tls_ca: Path | None = Field(
        None,
        validation_alias="TLS_CA",
        description="PEM file with the authorities that RabbitMQ's, Redis' and the store's certificates are checked"
        " against; the system's if not given.",
    )
    tls_certificate: Path | None = Field(
        None,
        validation_alias="TLS_CERTIFICATE",
        description="PEM file with this service's own certificate (mutual TLS).",
    )
    tls_key: Path | None = Field(
        None, validation_alias="TLS_KEY", description="PEM file with the private key of TLS_CERTIFICATE."
    )

    @field_validator("initial_admin_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and read_key_text(value.get_secret_value()) is None:
            raise ValueError("expected ck_, 12 small letters or digits, _ and 43 characters of base64url")
        return value

    @field_validator("api_key_hash_key", "jwt_secret_key")
    @classmethod
    def _is_long_enough(cls, value: SecretStr) -> SecretStr:
        length = len(value.get_secret_value())
        if 0 < length < SHORTEST_SECRET:
            raise ValueError(f"{length} characters are too few for a secret; {SHORTEST_SECRET} or more")
        return value

    @field_validator("message_signing", "message_encryption", mode="before")
    @classmethod
    def _lower_mode(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value
