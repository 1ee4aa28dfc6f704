"""What OpenSSL and drivers say, in words that name the certificate or the setting at fault."""

import ssl

import pytest

from services.runtime.tls_refusals import tls_refusal


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("certificate verify failed: certificate has expired", "server's certificate has expired"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate", "TLS_CA trusts"),
        ("certificate verify failed: Hostname mismatch, certificate is not valid for 'x'", "for another host"),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required", "TLS_CERTIFICATE and TLS_KEY"),
        ("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca", "does not trust the authority of TLS_CERTIFICATE"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "does not speak TLS"),
    ],
)
def test_it_says_what_is_wrong_and_keeps_the_librarys_words(said: str, meaning: str) -> None:
    told = tls_refusal(ssl.SSLError(1, said))
    assert told is not None
    assert meaning in told
    assert said in told


def test_what_caused_an_error_is_looked_at_too() -> None:
    error = ConnectionError("no connection")
    error.__cause__ = ssl.SSLCertVerificationError(1, "certificate has expired")
    assert "expired" in str(tls_refusal(error))


def test_other_errors_are_none_of_its_business() -> None:
    assert tls_refusal(ConnectionRefusedError(111, "refused")) is None
    assert tls_refusal(TimeoutError()) is None
