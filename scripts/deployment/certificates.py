"""Certificates for the servers of an installation that has no authority of its own yet: RabbitMQ's and MongoDB's.

An installation that has one (cert-manager, a company's) puts its certificates into the same Secrets instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from scripts.secret_files import write_secret

AUTHORITY_LASTS = timedelta(days=3_650)
CERTIFICATE_LASTS = timedelta(days=397)  # what browsers and many policies accept at most
RENEWED_BEFORE = timedelta(days=60)
_CLOCKS_DIFFER_BY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Certificate:
    """In PEM."""

    certificate: str
    key: str


def authority_in(folder: Path, now: datetime) -> Certificate:
    """The authority whose ``ca.crt`` and ``ca.key`` are in ``folder``; made if it is not there.

    Raises:
        ValueError: it is there without its key, so nothing can be certified.
    """
    found = _read(folder, "ca")
    if found is not None:
        return found
    if (folder / "ca.crt").exists():
        raise ValueError(f"{folder / 'ca.key'} is not there: with {folder / 'ca.crt'} alone nothing can be certified")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Conclave authority")])
    certificate = (
        _begun(name, name, key.public_key(), now, AUTHORITY_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certifies=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _written(folder, "ca", certificate, key)


def server_certificate_in(folder: Path, name: str, hosts: Sequence[str], now: datetime) -> Certificate:
    """A server's certificate for ``hosts``, which it may also show to its own kind; made anew when it ends within
    ``RENEWED_BEFORE``, is for other hosts, or is another authority's than the first in ``ca.crt``.

    Raises:
        ValueError: ``ca.key`` is not that authority's.
    """
    authority = authority_in(folder, now)
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    issuer_key = serialization.load_pem_private_key(authority.key.encode(), None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey) or issuer_key.public_key() != issuer.public_key():
        raise ValueError(
            f"{folder / 'ca.key'}: expected the key, of an elliptic curve, of the first certificate in"
            f" {folder / 'ca.crt'}"
        )
    found = _read(folder, name)
    if found is not None and _still_good(found, issuer, hosts, now):
        return found
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _begun(subject, issuer.subject, key.public_key(), now, CERTIFICATE_LASTS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certifies=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return _written(folder, name, certificate, key)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER_BY)
        .not_valid_after(now + lasts)
    )


def _usage(*, certifies: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=certifies,
        crl_sign=certifies,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _still_good(found: Certificate, issuer: x509.Certificate, hosts: Sequence[str], now: datetime) -> bool:
    certificate = x509.load_pem_x509_certificate(found.certificate.encode())
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError):
        return False
    key = serialization.load_pem_private_key(found.key.encode(), None)
    if key.public_key() != certificate.public_key():
        return False  # whoever wrote the two was killed between them
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    same = sorted(names.get_values_for_type(x509.DNSName)) == sorted(hosts)
    return same and certificate.not_valid_after_utc - now.astimezone(UTC) > RENEWED_BEFORE


def _read(folder: Path, name: str) -> Certificate | None:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    if not (certificate.exists() and key.exists()):
        return None
    return Certificate(certificate.read_text(encoding="ascii"), key.read_text(encoding="ascii"))


def _written(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Certificate:
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    made = Certificate(certificate.public_bytes(pem).decode(), private.decode())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_secret(folder / f"{name}.key", made.key)
    write_secret(folder / f"{name}.crt", made.certificate)
    return made
