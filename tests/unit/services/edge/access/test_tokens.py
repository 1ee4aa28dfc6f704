"""Bearer tokens: those that are taken, and every way that is known to be taken for somebody else."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from joserfc.jwk import Key, OctKey, OKPKey, RSAKey

from contracts.access import Role
from services.edge.access.key_sets import KeySource, read_key_set
from services.edge.access.scopes import Scope
from services.edge.access.tokens import LEEWAY, BadToken, SharedSecret, Tokens
from services.runtime.settings import JwtAlgorithm
from tests.support.token_maker import AUDIENCE, ISSUER, SECRET, claims, forged, part, signed

OCT = OctKey.import_key(SECRET)
RSA = RSAKey.generate_key(2048, {"kid": "rsa-1"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed-1"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "rsa-1"})
OTHER_ED = OKPKey.generate_key("Ed25519", {"kid": "ed-1"})
KEYS: dict[JwtAlgorithm, Key] = {JwtAlgorithm.HS256: OCT, JwtAlgorithm.RS256: RSA, JwtAlgorithm.EDDSA: ED}
OTHERS: dict[JwtAlgorithm, Key] = {
    JwtAlgorithm.HS256: OctKey.generate_key(256),
    JwtAlgorithm.RS256: OTHER_RSA,
    JwtAlgorithm.EDDSA: OTHER_ED,
}
EACH = pytest.mark.parametrize("algorithm", list(JwtAlgorithm), ids=lambda algorithm: algorithm.value)


class KeySet:
    """A JWK set that does not change."""

    def __init__(self, algorithm: JwtAlgorithm, *keys: Key) -> None:
        document = json.dumps({"keys": [key.as_dict(private=False) for key in keys]})
        self._keys = read_key_set(document, algorithm)

    async def find(self, kid: str | None) -> Key | None:
        return self._keys.get(kid or "")


def reader(algorithm: JwtAlgorithm, **given: Any) -> Tokens:
    keys: KeySource = (
        SharedSecret(SECRET) if algorithm is JwtAlgorithm.HS256 else KeySet(algorithm, RSA, ED, OTHER_KID[algorithm])
    )
    made: dict[str, Any] = {"keys": keys, "issuer": ISSUER, "audience": AUDIENCE, "role_claim": "role", **given}
    return Tokens(algorithm=algorithm, **made)


OTHER_KID: dict[JwtAlgorithm, Key] = {
    JwtAlgorithm.RS256: RSAKey.generate_key(2048, {"kid": "rsa-2"}),
    JwtAlgorithm.EDDSA: OKPKey.generate_key("Ed25519", {"kid": "ed-2"}),
}


def header(algorithm: JwtAlgorithm, **more: Any) -> dict[str, Any]:
    kid = {} if algorithm is JwtAlgorithm.HS256 else {"kid": KEYS[algorithm].kid}
    return {"alg": algorithm.value, "typ": "JWT", **kid, **more}


def token(algorithm: JwtAlgorithm, **changes: Any) -> str:
    return signed(header(algorithm), claims(**changes), KEYS[algorithm])


async def refused(tokens: Tokens, given: str, says: str | None = None) -> None:
    with pytest.raises(BadToken, match=says):
        await tokens.read(given)


@EACH
async def test_a_proper_token_is_taken(algorithm: JwtAlgorithm) -> None:
    caller = await reader(algorithm).read(token(algorithm))
    assert (caller.actor, caller.roles) == ("user:ann", {Role.OPERATOR})
    assert Scope.EXECUTIONS_START in caller.scopes
    assert Scope.KEYS_ADMIN not in caller.scopes


@EACH
@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", ""])
async def test_none_is_refused(algorithm: JwtAlgorithm, alg: str) -> None:
    for signature in (b"", b"x"):
        await refused(reader(algorithm), forged({"alg": alg, "typ": "JWT"}, claims(role="admin"), signature))


@EACH
async def test_another_algorithm_is_refused_even_with_a_right_key(algorithm: JwtAlgorithm) -> None:
    others = [("HS256", OCT), ("HS512", OctKey.generate_key(512)), ("RS256", RSA), ("RS512", RSA), ("PS256", RSA)]
    for alg, key in [*others, ("EdDSA", ED), ("Ed25519", ED)]:
        if alg != algorithm.value:
            made = signed({"alg": alg, "kid": key.kid or "x"}, claims(), key)
            await refused(reader(algorithm), made, "another algorithm")


@pytest.mark.parametrize("algorithm", [JwtAlgorithm.RS256, JwtAlgorithm.EDDSA])
async def test_hs256_with_the_public_key_is_refused(algorithm: JwtAlgorithm) -> None:
    """The classic: sign with what everybody knows, and have it taken for a secret."""
    key = KEYS[algorithm]
    publics = [key.as_pem(private=False), key.as_der(private=False), json.dumps(key.as_dict(private=False)).encode()]
    for alg in ("HS256", algorithm.value):
        body = f"{part({'alg': alg, 'typ': 'JWT', 'kid': key.kid})}.{part(claims(role='admin'))}"
        for public in publics:
            mac = hmac.new(public, body.encode(), hashlib.sha256).digest()
            await refused(reader(algorithm), f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")


@EACH
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"exp": int(time.time()) - LEEWAY - 1}, "has expired"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": float("nan")}, "exp"),
        ({"exp": float("inf")}, "exp"),
        ({"exp": 10**400}, "exp"),
        ({"nbf": int(time.time()) + 86_400}, "nbf"),
        ({"iat": int(time.time()) + 86_400}, "iat"),
        ({"iss": "https://other.test"}, "iss"),
        ({"iss": None}, "iss"),
        ({"iss": [ISSUER]}, "iss"),
        ({"aud": "somebody-else"}, "aud"),
        ({"aud": ["somebody", "else"]}, "aud"),
        ({"aud": []}, "aud"),
        ({"aud": None}, "aud"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "a\nb"}, "sub"),
        ({"sub": "a" * 200}, "sub"),
    ],
)
async def test_claims_that_are_not_as_they_have_to_be(
    algorithm: JwtAlgorithm, changes: dict[str, Any], says: str
) -> None:
    await refused(reader(algorithm), token(algorithm, **changes), says)


@EACH
async def test_clocks_may_differ_a_little(algorithm: JwtAlgorithm) -> None:
    late = {"exp": int(time.time()) - LEEWAY + 5, "nbf": int(time.time()) + LEEWAY - 5}
    assert (await reader(algorithm).read(token(algorithm, **late))).name == "ann"


@EACH
async def test_one_of_several_audiences_is_enough(algorithm: JwtAlgorithm) -> None:
    assert (await reader(algorithm).read(token(algorithm, aud=["other", AUDIENCE]))).name == "ann"


@EACH
async def test_a_foreign_key_under_a_known_id_is_refused(algorithm: JwtAlgorithm) -> None:
    await refused(reader(algorithm), signed(header(algorithm), claims(), OTHERS[algorithm]), "signature")


@EACH
async def test_every_altered_character_is_refused(algorithm: JwtAlgorithm) -> None:
    """The last ones too, whose unused bits some decoders do not look at."""
    whole = token(algorithm)
    tokens = reader(algorithm)
    places = {*range(0, len(whole), 7), *range(len(whole) - 4, len(whole))}
    for at in places:
        for other in "AQgwz":
            if whole[at] not in (other, "."):
                await refused(tokens, whole[:at] + other + whole[at + 1 :])
    for changed in (whole + "A", whole + "=", whole[:-1], " " + whole, whole + ".", whole.replace(".", "..", 1)):
        await refused(tokens, changed)


@pytest.mark.parametrize("algorithm", [JwtAlgorithm.RS256, JwtAlgorithm.EDDSA])
async def test_key_ids_and_keys_of_the_attackers_own_are_not_followed(algorithm: JwtAlgorithm) -> None:
    own = OTHERS[algorithm]
    injected: list[dict[str, Any]] = [
        {"kid": "../../../../dev/null"},
        {"kid": "' OR 1=1 --"},
        {"kid": "http://evil.test/keys.json"},
        {"kid": ["rsa-1", "ed-1"]},
        {"kid": {"$ne": ""}},
        {"kid": 0},
        {"kid": ""},
        {"jwk": own.as_dict(private=False)},
        {"jku": "https://evil.test/keys.json"},
        {"x5u": "https://evil.test/cert.pem"},
        {"x5c": ["MIIB"]},
    ]
    for more in injected:
        made = f"{part(header(algorithm, **more))}.{part(claims(role='admin'))}"
        await refused(reader(algorithm), f"{made}.{'A' * 86}")
    await refused(reader(algorithm), signed(header(algorithm, jwk=own.as_dict(private=False)), claims(), own))


@EACH
@pytest.mark.parametrize(
    "more",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False, "crit": ["b64"]},
        {"cty": "JWT"},
        {"zip": "DEF"},
        {"typ": "secevent+jwt"},
        {"typ": 7},
    ],
)
async def test_headers_that_change_the_reading_are_refused(algorithm: JwtAlgorithm, more: dict[str, Any]) -> None:
    made = f"{part(header(algorithm, **more))}.{part(claims())}.AAAA"
    await refused(reader(algorithm), made)


@EACH
async def test_nested_and_oversized_tokens_are_refused(algorithm: JwtAlgorithm) -> None:
    tokens, key = reader(algorithm), KEYS[algorithm]
    inner = token(algorithm)
    await refused(tokens, signed(header(algorithm, cty="JWT"), inner, key), "cty")
    await refused(tokens, signed(header(algorithm), inner, key))
    await refused(tokens, token(algorithm, filler="x" * 8_000), "characters at most")
    await refused(tokens, ".".join([inner] * 60), "characters at most")
    await refused(tokens, "a.b.c.d.e")
    deep = f"{base64.urlsafe_b64encode(b'[' * 300).decode()}.{part(claims())}.AAAA"
    await refused(tokens, deep)


@EACH
@pytest.mark.parametrize("payload", [[], "text", 7, None, [claims()]])
async def test_what_are_no_claims_is_refused(algorithm: JwtAlgorithm, payload: Any) -> None:
    await refused(reader(algorithm), signed(header(algorithm), payload, KEYS[algorithm]))


@EACH
async def test_deeply_nested_claims_are_refused_though_they_are_signed(algorithm: JwtAlgorithm) -> None:
    from joserfc import jws

    raw = b'{"sub":' + b"[" * 2_500 + b"]" * 2_500 + b"}"
    registry = jws.JWSRegistry(algorithms=[algorithm.value])
    made = jws.serialize_compact(header(algorithm), raw, KEYS[algorithm], registry=registry)
    await refused(reader(algorithm), made)


@EACH
@pytest.mark.parametrize("given", ["", ".", "..", "...", "é.é.é", "\x00", "null", "{}"])
async def test_what_is_no_token_is_refused(algorithm: JwtAlgorithm, given: str) -> None:
    await refused(reader(algorithm), given)


@pytest.mark.parametrize(
    ("given", "roles"),
    [
        ("admin", {Role.ADMIN}),
        (["viewer", "approver", "chief"], {Role.VIEWER, Role.APPROVER}),
        ("chief", set()),
        ("ADMIN", set()),
        (None, set()),
        ({"admin": True}, set()),
        (["admin", 7, None], {Role.ADMIN}),
        ("viewer admin", set()),
    ],
)
async def test_roles_are_those_of_the_claim_and_no_others(given: Any, roles: set[Role]) -> None:
    caller = await reader(JwtAlgorithm.HS256).read(token(JwtAlgorithm.HS256, role=given))
    assert caller.roles == roles
    assert bool(caller.scopes) == bool(roles)


async def test_the_claim_with_the_role_is_named_in_the_settings() -> None:
    tokens = reader(JwtAlgorithm.HS256, role_claim="https://conclave.test/role")
    given = token(JwtAlgorithm.HS256, role="admin", **{"https://conclave.test/role": "viewer"})
    assert (await tokens.read(given)).roles == {Role.VIEWER}


async def test_a_token_without_a_key_id_is_taken_only_where_there_is_one_key() -> None:
    single = reader(JwtAlgorithm.EDDSA, keys=KeySet(JwtAlgorithm.EDDSA, ED))
    made = signed({"alg": "EdDSA"}, claims(), ED)
    await refused(single, made, "not known")
