"""Ed25519 (RFC 8032) by libsodium, with keys that joserfc has read.

Verifying is most of what a signed message costs, and OpenSSL, which joserfc asks, takes twice as long (decision 0028).
"""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey


class PrivateKey:
    """
    Raises:
        ValueError: ``key`` has no private half, or is of another curve.
    """

    __slots__ = ("_key",)

    def __init__(self, key: OKPKey) -> None:
        half = key.private_key
        if not isinstance(half, Ed25519PrivateKey):
            raise ValueError("it is no Ed25519 key with its private half")
        self._key = SigningKey(half.private_bytes_raw())

    def sign(self, content: bytes) -> bytes:
        """The signature: 64 bytes."""
        return self._key.sign(content).signature


class PublicKey:
    """``key``: its private half, if it has one, is left behind."""

    __slots__ = ("_key",)

    def __init__(self, key: OKPKey) -> None:
        self._key = VerifyKey(key.public_key.public_bytes_raw())

    def verifies(self, signature: bytes, content: bytes) -> bool:
        """Whether the 64 bytes of ``signature`` were made of this content with the key's private half."""
        try:
            self._key.verify(content, signature)
        except BadSignatureError:
            return False
        return True
