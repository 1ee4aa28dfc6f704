"""Why a TLS connection did not come about, in words that say which setting or which certificate is at fault.

Drivers pass OpenSSL's errors on in errors of their own, some as text only, so the text is what is read.
"""

from collections.abc import Iterator

# Part of OpenSSL's text (a server's alert is in capitals) -> what it means for whoever connects. In this order.
_MEANINGS = (
    ("certificate has expired", "the server's certificate has expired"),
    ("certificate is not yet valid", "the server's certificate is not valid yet; is this machine's clock right?"),
    ("hostname mismatch", "the server's certificate is for another host than the URL names"),
    ("ip address mismatch", "the server's certificate is for another host than the URL names"),
    ("certificate_verify_failed", "the server's certificate is not from an authority that TLS_CA trusts"),
    ("certificate_required", "the server wants a certificate of this service: TLS_CERTIFICATE and TLS_KEY"),
    ("alert_certificate_expired", "the server says that TLS_CERTIFICATE has expired"),
    ("alert certificate expired", "the server says that TLS_CERTIFICATE has expired"),
    ("alert_certificate_revoked", "the server says that TLS_CERTIFICATE was revoked"),
    ("alert_unknown_ca", "the server does not trust the authority of TLS_CERTIFICATE"),
    ("alert unknown ca", "the server does not trust the authority of TLS_CERTIFICATE"),
    ("alert_bad_certificate", "the server refuses TLS_CERTIFICATE, or wants one and got none"),
    ("alert_certificate_unknown", "the server refuses TLS_CERTIFICATE"),
    ("alert_unsupported_certificate", "the server refuses TLS_CERTIFICATE: it may not be one for clients"),
    ("alert_protocol_version", "the server speaks no TLS that is allowed here; 1.2 is the least"),
    ("unsupported_protocol", "the server speaks no TLS that is allowed here; 1.2 is the least"),
    (
        "handshake_failure",
        "the server ended the handshake: it may want a certificate of this service (TLS_CERTIFICATE)",
    ),
    ("wrong_version_number", "the server does not speak TLS on this port"),
    ("record_layer_failure", "the server does not speak TLS on this port"),
    ("rejected ssl upgrade", "the server has TLS switched off"),
)
_LENGTH = 300  # characters: MongoDB's driver tells everything twice


def tls_refusal(error: BaseException) -> str | None:
    """What kept TLS from coming about, with the library's own words after it; None if the error is not about that."""
    for text in _texts(error):
        small = text.lower()
        for part, meaning in _MEANINGS:
            if part in small:
                return f"{meaning} ({text[:_LENGTH]})"
    return None


def _texts(error: BaseException) -> Iterator[str]:
    """The error's text, then those of what caused it."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield str(one)
        one = one.__cause__ or one.__context__
