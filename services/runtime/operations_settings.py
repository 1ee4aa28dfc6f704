"""Settings of operations: metrics, traces, reports, and how a process ends."""

from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings


class OperationsSettings(BaseSettings):
    """Part of ``settings.Settings``."""

    metrics_enabled: bool = Field(
        True,
        validation_alias="METRICS_ENABLED",
        description="Whether processes count what they do, for Prometheus and for /api/v1/monitoring.",
    )
    metrics_host: str = Field(
        "127.0.0.1", validation_alias="METRICS_HOST", description="Address of every process's metrics and health."
    )
    metrics_port: int = Field(
        9090,
        ge=0,
        le=65535,
        validation_alias="METRICS_PORT",
        description="Port of every process's metrics and health; 0 = any free. Unset and taken, a free one is used.",
    )
    report_interval: float = Field(
        5.0,
        ge=0.1,
        le=300,
        validation_alias="REPORT_INTERVAL",
        description="Seconds between two reports of a process to the monitor; silent for three it counts as gone.",
    )
    otlp_endpoint: str = Field(
        "",
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Where traces go: the base URL of an OpenTelemetry collector (OTLP over HTTP). Empty: off.",
    )
    trace_sample_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        validation_alias="OTEL_TRACES_SAMPLER_ARG",
        description="The share of executions that are traced, of those that come without a trace of their own.",
    )
    shutdown_delay: float = Field(
        0.0,
        ge=0,
        le=300,
        validation_alias="SHUTDOWN_DELAY",
        description="Seconds that a process told to end still works as before, though it says that it is not ready.",
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.netloc):
            raise ValueError("expected a URL that begins with http:// or https://")
        return value
