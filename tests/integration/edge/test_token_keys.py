"""Where the public keys of bearer tokens come from: a file that changes, and an https address that does not answer."""

import asyncio
import contextlib
import datetime
import ipaddress
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import Key, OKPKey
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from scripts.servers import free_port
from services.edge.access import key_sets
from services.edge.access.key_sets import (
    FRESH_SECONDS,
    MOST_BYTES,
    RETRY_SECONDS,
    STALE_SECONDS,
    FileKeys,
    KeySetUnavailable,
    KeySource,
    UrlKeys,
)
from services.runtime.settings import JwtAlgorithm
from tests.support.edge_world import API, World
from tests.support.token_maker import AUDIENCE, ISSUER, claims, signed

ONE = OKPKey.generate_key("Ed25519", {"kid": "one"})
TWO = OKPKey.generate_key("Ed25519", {"kid": "two"})


async def kid(keys: KeySource, wanted: str) -> str | None:
    """The id of the key that is found."""
    found = await keys.find(wanted)
    return None if found is None else found.kid


def key_set(*keys: Key) -> str:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


# ---- a file


async def test_a_key_that_is_added_to_the_file_is_taken_without_a_restart(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "keys.json"
    path.write_text(key_set(ONE))
    keys = FileKeys(path, JwtAlgorithm.EDDSA, clock=clock)
    assert (await kid(keys, "one"), await kid(keys, "two")) == ("one", None)

    path.write_text(key_set(ONE, TWO))
    clock.now += key_sets.FILE_SECONDS
    assert (await kid(keys, "one"), await kid(keys, "two")) == ("one", "two")

    path.write_text("{")  # half written, or broken
    clock.now += key_sets.FILE_SECONDS
    assert await kid(keys, "two") == "two"

    path.write_text(key_set(TWO))
    clock.now += key_sets.FILE_SECONDS
    assert (await kid(keys, "one"), await kid(keys, "two")) == (None, "two")


async def test_tokens_signed_with_a_files_key_are_taken_by_the_edge(bare: World, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(key_set(ONE))
    tokens: dict[str, Any] = {"jwt_algorithm": JwtAlgorithm.EDDSA, "jwt_jwks": str(path)}
    tokens |= {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}
    bare.settings = bare.settings.model_copy(update=tokens)
    await bare.run_edge()
    client = bare.stranger()
    for key, status in ((ONE, 200), (TWO, 401)):
        token = signed({"alg": "EdDSA", "kid": key.kid}, claims(), key)
        answer = await client.get(f"{API}/executions", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == status, answer.text


# ---- an address


@dataclass
class Provider:
    """An identity provider over real TLS, with a certificate that the tests made."""

    url: str
    document: str = ""
    status: int = 200
    redirect: str = ""
    asked: int = 0
    hold: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        self.asked += 1
        await self.hold.wait()
        answer = RedirectResponse(self.redirect) if self.redirect else Response(self.document, self.status)
        await answer(scope, receive, send)


@pytest.fixture
async def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Provider]:
    certificate, private = certified(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(key_sets, "FETCH_SECONDS", 60.0)  # how long a provider may take is not tried here
    port = free_port()
    made = Provider(f"https://127.0.0.1:{port}/keys.json")
    made.hold.set()
    config = uvicorn.Config(
        made,
        port=port,
        lifespan="off",
        log_config=None,
        ssl_certfile=os.fspath(certificate),
        ssl_keyfile=os.fspath(private),
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield made
    server.should_exit = True
    await serving


def certified(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "private.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


async def test_keys_are_fetched_once_and_again_for_one_that_is_new(provider: Provider, clock: Clock) -> None:
    provider.document = key_set(ONE)
    keys = UrlKeys(provider.url, JwtAlgorithm.EDDSA, clock=clock)
    assert [await kid(keys, "one") for _ in range(10)] == ["one"] * 10
    assert provider.asked == 1

    provider.document = key_set(ONE, TWO)
    assert await keys.find("two") is None, "not twice in half a minute"
    clock.now += RETRY_SECONDS
    assert (await kid(keys, "two"), await kid(keys, "one")) == ("two", "one")
    assert provider.asked == 2


async def test_unknown_key_ids_do_not_hammer_the_provider(provider: Provider, clock: Clock) -> None:
    provider.document = key_set(ONE)
    keys = UrlKeys(provider.url, JwtAlgorithm.EDDSA, clock=clock)
    provider.hold.clear()
    asking = [asyncio.create_task(keys.find(f"guess-{i}")) for i in range(100)]
    await asyncio.sleep(0.2)
    provider.hold.set()
    assert await asyncio.gather(*asking) == [None] * 100
    assert provider.asked == 1


async def test_a_key_that_was_withdrawn_is_forgotten(provider: Provider, clock: Clock) -> None:
    provider.document = key_set(ONE, TWO)
    keys = UrlKeys(provider.url, JwtAlgorithm.EDDSA, clock=clock)
    assert await kid(keys, "one") == "one"
    provider.document = key_set(TWO)
    clock.now += FRESH_SECONDS + 1
    assert (await kid(keys, "one"), await kid(keys, "two")) == (None, "two")


@pytest.mark.parametrize("how", ["status", "redirect", "not json", "too much", "no keys"])
async def test_a_provider_that_fails_is_borne_for_an_hour(provider: Provider, clock: Clock, how: str) -> None:
    provider.document = key_set(ONE)
    keys = UrlKeys(provider.url, JwtAlgorithm.EDDSA, clock=clock)
    assert await kid(keys, "one") == "one"
    match how:
        case "status":
            provider.status = 500
        case "redirect":
            provider.redirect = "http://evil.test/keys.json"
        case "not json":
            provider.document = "<html>"
        case "too much":
            provider.document = key_set(TWO) + " " * MOST_BYTES
        case "no keys":
            provider.document = key_set()
    clock.now += FRESH_SECONDS + 1
    assert await kid(keys, "one") == "one"
    assert provider.asked == 2
    clock.now += STALE_SECONDS
    with pytest.raises(KeySetUnavailable):
        await keys.find("one")


async def test_a_provider_whose_certificate_nobody_signed_is_not_believed(
    provider: Provider, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    provider.document = key_set(ONE)
    with pytest.raises(KeySetUnavailable):
        await UrlKeys(provider.url, JwtAlgorithm.EDDSA, clock=clock).find("one")
    assert provider.asked == 0
