"""Servers as the tests start them, that speak TLS with given certificates and may want one of their clients."""

import contextlib
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from scripts.postgres_server import USER, PostgresServer
from scripts.redis_server import RedisServer
from scripts.server_processes import HOST, MongoServer, RabbitServer, free_port
from tests.support.certificates import Certificate


class TlsRabbit(RabbitServer):
    """``tls_url`` speaks TLS and wants a client's certificate; the plain port stays, for the tests' own use."""

    def __init__(self, certificate: Certificate, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.certificate = certificate
        self.tls_port = free_port()
        self.tls_url = f"amqps://guest:guest@{HOST}:{self.tls_port}/"

    def _before_start(self) -> None:
        super()._before_start()
        with (self.folder / "rabbitmq.conf").open("a") as config:
            config.write(
                f"listeners.ssl.1 = {HOST}:{self.tls_port}\n"
                f"ssl_options.cacertfile = {self.certificate.ca}\n"
                f"ssl_options.certfile = {self.certificate.certificate}\n"
                f"ssl_options.keyfile = {self.certificate.key}\n"
                "ssl_options.verify = verify_peer\n"
                "ssl_options.fail_if_no_peer_cert = true\n"
            )


class TlsRedis(RedisServer):
    """Speaks nothing but TLS, and wants a client's certificate."""

    def __init__(self, certificate: Certificate, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.certificate = certificate
        self.url = f"rediss://{HOST}:{self.port}/0"

    def _command(self) -> Sequence[str]:
        command = list(super()._command())
        command[command.index("--port") : command.index("--port") + 2] = ["--port", "0", "--tls-port", str(self.port)]
        files = self.certificate
        return [
            *command,
            *("--tls-cert-file", str(files.certificate), "--tls-key-file", str(files.key)),
            *("--tls-ca-cert-file", str(files.ca), "--tls-auth-clients", "yes"),
        ]

    def _answers(self) -> bool:
        return _listens(self.port)


class TlsPostgres(PostgresServer):
    """Lets in whoever comes over TLS with a certificate of the right authority, and nobody else."""

    def __init__(self, certificate: Certificate, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.certificate = certificate

    def _create(self) -> None:
        super()._create()
        self.renew(self.certificate)
        (self._data / "pg_hba.conf").write_text("hostssl all all all trust clientcert=verify-ca\n")

    def renew(self, certificate: Certificate) -> None:
        """The files that it serves from its next start on."""
        pairs = ((certificate.certificate, "server.crt"), (certificate.key, "server.key"), (certificate.ca, "root.crt"))
        for source, name in pairs:
            shutil.copy(source, self._data / name)
            (self._data / name).chmod(0o600)
            with contextlib.suppress(LookupError, PermissionError):
                shutil.chown(self._data / name, USER, USER)

    def _command(self) -> Sequence[str]:
        switched_on = ("ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key", "ssl_ca_file=root.crt")
        return [*super()._command(), *(word for setting in switched_on for word in ("-c", setting))]

    def _answers(self) -> bool:
        # It listens before it takes anybody; whether it does stands in the last line of this file.
        with contextlib.suppress(OSError):
            return _listens(self.port) and (self._data / "postmaster.pid").read_text().rstrip().endswith("ready")
        return False


class TlsMongo(MongoServer):
    """The embedded document store, over TLS and for clients with a certificate only."""

    def __init__(self, certificate: Certificate, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.certificate = certificate

    def _command(self) -> Sequence[str]:
        files = self.certificate
        return [
            *super()._command(),
            *("--tls-cert-file", str(files.certificate), "--tls-key-file", str(files.key)),
            *("--tls-ca-file", str(files.ca), "--tls-require-client-cert"),
        ]


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False
