"""TLS to RabbitMQ, Redis and the store: what the settings ask for, checked before anything connects.

Chain and host name are always verified, TLS 1.2 is the least, and no option of a URL turns that off. TLS_CA or
TLS_CERTIFICATE say that connections are to be encrypted: one that is not is then refused, but for a server on this
machine itself.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn
from urllib.parse import SplitResult, parse_qsl, urlsplit

from services.runtime.settings import BadSettings, Settings

_RABBITMQ_FILES = ("cafile", "capath", "cadata", "ca_certs", "certfile", "keyfile")
_RABBITMQ_OPTIONS = (*_RABBITMQ_FILES, "no_verify_ssl", "verify", "verify_ssl", "cert_reqs", "check_hostname")
_MONGO_UNVERIFIED = ("tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames")
_MONGO_FILES = ("tlscafile", "tlscertificatekeyfile", "tlscrlfile")
_POSTGRES_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files that were found to be readable and to fit together. ``ca`` None: the system's authorities."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def checked_files(settings: Settings) -> TlsFiles:
    """
    Raises:
        BadSettings: a file cannot be read, is no certificate or key, or the key is not the certificate's.
    """
    files = _files(settings)
    context_of(files)
    return files


def context_of(files: TlsFiles) -> ssl.SSLContext:
    """A client's side of TLS.

    Raises:
        BadSettings: as ``checked_files``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies the chain and the host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.ca is None:
        context.load_default_certs()
    else:
        _readable("TLS_CA", files.ca)
        try:
            context.load_verify_locations(cafile=files.ca)
        except ssl.SSLError as error:
            raise BadSettings(f"TLS_CA={files.ca} holds no certificates in PEM: {_reason(error)}") from None
    if files.certificate is not None and files.key is not None:
        _load_own(context, files.certificate, files.key)
    return context


def rabbitmq_context(settings: Settings) -> ssl.SSLContext | None:
    """What ``RabbitBus`` connects with; None for amqp://.

    Raises:
        BadSettings: as ``checked_files``; or RABBITMQ_URL contradicts the settings, or has options about TLS.
    """
    parts = urlsplit(settings.rabbitmq_url)
    _refuse_options("RABBITMQ_URL", [name for name in _options(parts) if name in _RABBITMQ_OPTIONS])
    return _context(settings, "RABBITMQ_URL", parts, encrypted=parts.scheme == "amqps", instead="amqps://")


def redis_context(settings: Settings) -> ssl.SSLContext | None:
    """What ``RedisBus`` connects with; None for redis:// and unix://.

    Raises:
        BadSettings: as ``rabbitmq_context``, of REDIS_URL.
    """
    parts = urlsplit(settings.redis_url)
    _refuse_options("REDIS_URL", [name for name in _options(parts) if name.startswith("ssl")])
    return _context(settings, "REDIS_URL", parts, encrypted=parts.scheme == "rediss", instead="rediss://")


def mongo_files(settings: Settings) -> TlsFiles | None:
    """What ``MongoStore`` connects with; None where the URL asks for no TLS, or says by itself with which files.

    Raises:
        BadSettings: as ``rabbitmq_context``, of DATABASE_URL.
    """
    parts = urlsplit(settings.database_url)
    options = _options(parts)
    for name in _MONGO_UNVERIFIED:
        if options.get(name, "false").lower() != "false":
            _refuse_unverified("DATABASE_URL", name)
    named = [name for name in _MONGO_FILES if name in options]
    wish = options.get("tls", options.get("ssl", "")).lower()
    if wish == "false":
        _refuse_unencrypted(settings, "DATABASE_URL", parts, "tls=true")
        return None
    if named:
        _refuse_both(settings, named)
        return None
    if not (wish == "true" or parts.scheme == "mongodb+srv" or _wanted(settings)):
        return None
    return checked_files(settings)


def postgres_context(settings: Settings) -> ssl.SSLContext | None:
    """What ``PostgresStore`` connects with; None where the URL asks for no TLS, or says by itself with which files.

    Raises:
        BadSettings: as ``rabbitmq_context``, of DATABASE_URL.
    """
    parts = urlsplit(settings.database_url)
    options = _options(parts)
    mode = options.get("sslmode", "")
    named = [name for name in _POSTGRES_FILES if name in options]
    if _wanted(settings):
        if mode in ("disable", "allow", "prefer"):
            _refuse_unencrypted(settings, "DATABASE_URL", parts, "sslmode=verify-full")
            return None
        _refuse_both(settings, named)
        return context_of(_files(settings))
    if mode in ("require", "verify-ca"):
        _refuse_unverified("DATABASE_URL", f"sslmode={mode}", "sslmode=verify-full, or TLS_CA")
    return context_of(TlsFiles()) if mode == "verify-full" and "sslrootcert" not in named else None


# ---- within


def _files(settings: Settings) -> TlsFiles:
    return TlsFiles(settings.tls_ca, settings.tls_certificate, settings.tls_key)


def _wanted(settings: Settings) -> bool:
    return settings.tls_ca is not None or settings.tls_certificate is not None


def _context(
    settings: Settings, variable: str, parts: SplitResult, *, encrypted: bool, instead: str
) -> ssl.SSLContext | None:
    if not encrypted:
        _refuse_unencrypted(settings, variable, parts, instead)
        return None
    return context_of(_files(settings))


def _refuse_unencrypted(settings: Settings, variable: str, parts: SplitResult, instead: str) -> None:
    if _wanted(settings) and not all(map(_is_here, _hosts(parts))):
        given = "TLS_CA" if settings.tls_ca is not None else "TLS_CERTIFICATE"
        raise BadSettings(
            f"{given} is set, but {variable} asks for a connection that is not encrypted: expected {instead}."
            " Only to a server on this machine it may be left out"
        )


def _refuse_options(variable: str, names: list[str]) -> None:
    if names:
        raise BadSettings(
            f"{variable} has the option {names[0]}: TLS is set up by TLS_CA, TLS_CERTIFICATE and TLS_KEY, and"
            " verification is always on"
        )


def _refuse_unverified(variable: str, option: str, instead: str = "the option left out") -> NoReturn:
    raise BadSettings(
        f"{variable} has {option}, with which not everything is verified that must be (the certificate's chain and its"
        f" host name): expected {instead}"
    )


def _refuse_both(settings: Settings, names: list[str]) -> None:
    if names and _wanted(settings):
        raise BadSettings(
            f"DATABASE_URL has the option {names[0]}, and TLS_CA or TLS_CERTIFICATE is set too; one of them has to go"
        )


def _options(parts: SplitResult) -> Mapping[str, str]:
    """By their names in small letters: MongoDB's may be written in any."""
    return {name.lower(): value for name, value in parse_qsl(parts.query, keep_blank_values=True)}


def _hosts(parts: SplitResult) -> list[str]:
    """A cluster's URL names several."""
    places = parts.netloc.rpartition("@")[2].split(",")
    return [
        place.partition("]")[0].lstrip("[") if place.startswith("[") else place.partition(":")[0] for place in places
    ]


def _is_here(host: str) -> bool:
    """Whether a host is this machine: by its loopback interface, or, without a host, by a socket in its files."""
    if host in ("", "localhost") or host.lower().startswith(("/", "%2f")):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    _readable("TLS_CERTIFICATE", certificate)
    _readable("TLS_KEY", key)

    def nobody_is_asked() -> str:
        raise BadSettings(f"TLS_KEY={key} is locked with a passphrase; expected a key without one")

    try:
        context.load_cert_chain(certificate, key, password=nobody_is_asked)
    except ssl.SSLError as error:
        if "MISMATCH" in str(error.reason):
            raise BadSettings(f"TLS_KEY={key} is not the key of TLS_CERTIFICATE={certificate}") from None
        raise BadSettings(
            f"TLS_CERTIFICATE={certificate} and TLS_KEY={key} are not a certificate and its key in PEM:"
            f" {_reason(error)}"
        ) from None


def _readable(variable: str, path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise BadSettings(f"{variable}={path} cannot be read: {error.strerror}") from None


def _reason(error: ssl.SSLError) -> str:
    return error.reason or str(error)
