"""Settings about access that leave the door open, or shut for everybody, are refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OctKey, OKPKey, RSAKey
from pydantic import SecretStr

from services.edge.access.configuration import check
from services.edge.app import build
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.settings import BadSettings, JwtAlgorithm, Settings
from tests.support.memory_store import MemoryStore

SECRET = "s" * 40
KEY = {"api_key_hash_key": SecretStr("k" * 40)}
NO_KEY = {"api_key_hash_key": SecretStr("")}
TOKENS = {"jwt_secret_key": SecretStr(SECRET), "jwt_issuer": "https://id.test", "jwt_audience": "conclave"}


def settings(**given: Any) -> Settings:
    nothing = {"jwt_secret_key": SecretStr(""), "jwt_algorithm": JwtAlgorithm.HS256}
    nothing |= {"jwt_jwks": "", "jwt_issuer": "", "jwt_audience": "", "cors_origins": ()}
    return Settings().model_copy(update={**nothing, **given})


def test_nobody_could_sign_in() -> None:
    with pytest.raises(BadSettings, match="API_KEY_HASH_KEY is not set") as raised:
        check(settings(**NO_KEY))
    assert "secrets.token_urlsafe(48)" in str(raised.value), "it says how to make one"


def test_an_edge_does_not_start_with_what_is_refused() -> None:
    with pytest.raises(BadSettings, match="API_KEY_HASH_KEY"):
        build(settings(**NO_KEY), DirectBus(DirectBroker()), MemoryStore())


@pytest.mark.parametrize("given", [KEY, {**NO_KEY, **TOKENS}, {**KEY, **TOKENS}])
def test_keys_or_tokens_or_both_are_enough(given: dict[str, Any]) -> None:
    check(settings(**given))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({**TOKENS, "jwt_issuer": ""}, "JWT_ISSUER is missing"),
        ({**TOKENS, "jwt_audience": ""}, "JWT_AUDIENCE is missing"),
        ({**TOKENS, "jwt_secret_key": SecretStr("")}, "JWT_SECRET_KEY is missing"),
        ({**TOKENS, "jwt_jwks": "keys.json"}, "JWT_JWKS holds public keys"),
        ({**TOKENS, "jwt_algorithm": JwtAlgorithm.RS256}, "JWT_JWKS .* is missing"),
        ({**TOKENS, "jwt_algorithm": JwtAlgorithm.EDDSA}, "JWT_SECRET_KEY is for HS256"),
        ({"jwt_algorithm": JwtAlgorithm.RS256}, "JWT_JWKS .* is missing"),
        (
            {"jwt_algorithm": JwtAlgorithm.RS256, "jwt_jwks": "http://id.test/keys", "jwt_issuer": "i"},
            "neither a file nor an https:// address",
        ),
        ({"jwt_algorithm": JwtAlgorithm.RS256, "jwt_jwks": "/no/such/file.json"}, "No such file"),
        ({"cors_origins": ("*", "https://a.test")}, r"CORS_ORIGINS=\* cannot stand beside other origins"),
        ({"cors_origins": ("https://a.test/path",)}, "CORS_ORIGINS has 'https://a.test/path'"),
        ({"cors_origins": ("null",)}, "CORS_ORIGINS has 'null'"),
        ({"cors_origins": ("https://*.a.test",)}, "CORS_ORIGINS"),
    ],
)
def test_contradictions_are_refused_by_name(given: dict[str, Any], says: str) -> None:
    with pytest.raises(BadSettings, match=says):
        check(settings(**{**KEY, **given}))


@pytest.mark.parametrize("origins", [("*",), ("https://a.test", "http://localhost:3000", "http://[::1]:8080"), ()])
def test_origins_that_may_be_given(origins: tuple[str, ...]) -> None:
    check(settings(**KEY, cors_origins=origins))


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(BadSettings) as raised:
        check(settings(**KEY, jwt_secret_key=SecretStr(SECRET), cors_origins=("*", "x")))
    assert all(name in str(raised.value) for name in ("JWT_ISSUER", "JWT_AUDIENCE", "CORS_ORIGINS=*", "'x'"))


def test_a_public_key_is_no_secret() -> None:
    public = RSAKey.generate_key(2048).as_pem(private=False).decode()
    with pytest.raises(BadSettings, match="JWT_SECRET_KEY is a public key"):
        check(settings(**KEY, **{**TOKENS, "jwt_secret_key": SecretStr(public)}))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ([], "none of its 0 keys"),
        ([OKPKey.generate_key("Ed25519").as_dict(private=False)], "none of its 1 keys is one for RS256"),
        ([OctKey.generate_key(256).as_dict(private=True)], "none of its 1 keys is one for RS256"),
        ([RSAKey.generate_key(2048, {"kid": "p"}).as_dict(private=True)], "'p' is a private key"),
        ([RSAKey.generate_key(1024, {"kid": "s"}).as_dict(private=False)], "'s' has 1024 bits"),
        ([{"kty": "RSA", "kid": "b", "n": "AQ"}], "'b' cannot be read"),
        (None, "a JWK set"),
    ],
)
def test_a_file_without_keys_that_fit_is_refused(tmp_path: Path, keys: Any, says: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": keys}))
    given = {"jwt_algorithm": JwtAlgorithm.RS256, "jwt_jwks": str(path), "jwt_issuer": "i", "jwt_audience": "a"}
    with pytest.raises(BadSettings, match=says):
        check(settings(**KEY, **given))
