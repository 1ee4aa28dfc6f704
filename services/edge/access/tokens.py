"""Bearer tokens: JSON Web Tokens (RFC 7519) that an identity provider signed, read by the rules of RFC 8725."""

import json
from collections.abc import Callable, Mapping
from time import time
from typing import Any, Final

import structlog
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError, UnsupportedAlgorithmError
from joserfc.jwk import Key, OctKey
from joserfc.jws import JWSRegistry, extract_compact, validate_compact
from joserfc.jwt import JWTClaimsRegistry

from contracts.access import Role
from services.edge.access.caller import Caller, caller_of_token
from services.edge.access.key_sets import KeySource, open_key_source
from services.runtime.settings import JwtAlgorithm, Settings

log = structlog.get_logger(__name__)

LONGEST: Final = 8 * 1024  # characters
LONGEST_SUBJECT: Final = 190
LEEWAY: Final = 30  # seconds that clocks may differ by
_LATEST: Final = 253_402_300_799  # epoch seconds: the last second of year 9999; JSON has integers that no float holds
_TYPES: Final = ("jwt", "at+jwt", "application/at+jwt")
# Of a header, what would change how the rest is to be read: nobody here needs it.
_NOT_UNDERSTOOD: Final = ("crit", "b64", "cty", "zip", "enc")


class BadToken(Exception):
    """A token that is not taken; the message may be shown to whoever sent it."""


class _OneAlgorithm(JWSRegistry):
    """Knows a single algorithm, and neither recommends nor warns of any."""

    def __init__(self, algorithm: JwtAlgorithm) -> None:
        super().__init__(algorithms=[algorithm.value], strict_check_header=False)
        self._one = algorithm.value

    def get_alg(self, name: str) -> Any:
        if name != self._one:
            raise UnsupportedAlgorithmError("another algorithm than the one in the settings")
        return self.algorithms[name]


class SharedSecret:
    """The key of HS256."""

    def __init__(self, secret: str) -> None:
        self._key = OctKey.import_key(secret)

    async def find(self, kid: str | None) -> Key | None:
        return self._key


class Tokens:
    """Reads tokens of one issuer, for one audience, signed with one algorithm by ``keys``."""

    def __init__(
        self,
        *,
        algorithm: JwtAlgorithm,
        keys: KeySource,
        issuer: str,
        audience: str,
        role_claim: str,
        clock: Callable[[], float] = time,
    ) -> None:
        self._algorithm = algorithm
        self._keys = keys
        self._role_claim = role_claim
        self._registry = _OneAlgorithm(algorithm)
        self._claims = JWTClaimsRegistry(
            now=lambda: int(clock()),
            leeway=LEEWAY,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    async def read(self, token: str) -> Caller:
        """Who the token says that its bearer is.

        Raises:
            BadToken: it is not taken, and why.
            KeySetUnavailable: it cannot be checked now.
        """
        if len(token) > LONGEST:
            raise BadToken(f"a token may have {LONGEST} characters at most")
        try:
            claims = await self._verified(token)
            self._claims.validate(claims)
        except ExpiredTokenError:
            raise BadToken("the token has expired") from None
        except ClaimError as error:
            raise BadToken(f"the claim {error.claim} is missing or not as it has to be here") from None
        except (JoseError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            # Whatever else is wrong with it is nobody's business but the log's.
            log.debug("bearer token refused", error=f"{type(error).__name__}: {error}")
            raise BadToken("the token is not one that can be verified here") from None
        if claims["exp"] > _LATEST:
            raise BadToken("the claim exp is missing or not as it has to be here")
        return self._caller(claims)

    async def _verified(self, token: str) -> dict[str, Any]:
        signed = extract_compact(token.encode("ascii"), registry=self._registry)
        header = signed.headers()
        self._check_header(header)
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise TypeError("kid is no string")
        key = await self._keys.find(kid)
        if key is None:
            raise BadToken("the token was signed with a key that is not known here")
        if not validate_compact(signed, key, registry=self._registry):
            raise BadToken("the token's signature is not right")
        claims = json.loads(signed.payload or b"")
        if not isinstance(claims, dict):
            raise TypeError("the claims are no object")
        return claims

    def _check_header(self, header: Mapping[str, Any]) -> None:
        if header.get("alg") != self._algorithm.value:
            raise BadToken("the token is signed with another algorithm than the one that is taken here")
        if present := [name for name in _NOT_UNDERSTOOD if name in header]:
            raise BadToken(f"the token's header has {', '.join(present)}, which is not understood here")
        if str(header.get("typ", "JWT")).lower() not in _TYPES:
            raise BadToken("the token's typ is not JWT")

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        subject = claims["sub"]
        if not (0 < len(subject) <= LONGEST_SUBJECT and subject.isprintable()):
            raise BadToken(f"sub must have 1 to {LONGEST_SUBJECT} printable characters")
        given = claims.get(self._role_claim, ())
        named = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        roles = [role for role in Role if role.value in named]
        return caller_of_token(subject, roles, float(claims["exp"]) + LEEWAY)


def open_tokens(settings: Settings) -> Tokens | None:
    """What reads tokens as the settings say; None where they say nothing. To be called with settings that were checked.

    Raises:
        BadKeySet: the file of JWT_JWKS cannot be used.
    """
    if not settings.jwt_issuer:
        return None
    algorithm = settings.jwt_algorithm
    return Tokens(
        algorithm=algorithm,
        keys=SharedSecret(settings.jwt_secret_key.get_secret_value())
        if algorithm is JwtAlgorithm.HS256
        else open_key_source(settings.jwt_jwks, algorithm),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        role_claim=settings.jwt_role_claim,
    )
