"""TLS as MongoDB's driver wants it: the certificate and its key in one file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

from services.runtime.store.base import StoreError
from services.runtime.tls import TlsFiles


@contextmanager
def driver_options(files: TlsFiles | None) -> Iterator[dict[str, Any]]:
    """The driver's options for TLS, good until this is left: of a ``mongodb+srv`` URL it reads the files again when
    it has found the hosts.

    Raises:
        StoreError: a file cannot be read any more.
    """
    if files is None:
        yield {}
        return
    options: dict[str, Any] = {"tls": True}
    if files.ca is not None:
        options["tlsCAFile"] = str(files.ca)
    if files.certificate is None or files.key is None:
        yield options
    else:
        with _in_one_file(files.certificate, files.key) as path:
            yield {**options, "tlsCertificateKeyFile": path}


@contextmanager
def _in_one_file(certificate: Path, key: Path) -> Iterator[str]:
    """In memory where the system has that, so that no copy of the key is left on a disk whatever happens."""
    try:
        content = (
            certificate.read_bytes() if certificate == key else certificate.read_bytes() + b"\n" + key.read_bytes()
        )
    except OSError as error:
        raise StoreError(f"TLS_CERTIFICATE or TLS_KEY: {error}") from error
    with _unnamed() as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}" if isinstance(file.name, int) else str(file.name)


def _unnamed() -> IO[bytes]:
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        return os.fdopen(os.memfd_create("conclave-tls"), "wb")
    return NamedTemporaryFile()  # only its owner can read it
