"""The settings about access, checked as a whole before the edge serves anybody."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from joserfc.jwk import OctKey

from services.edge.access.key_sets import BadKeySet, FileKeys
from services.runtime.settings import BadSettings, JwtAlgorithm, Settings

_ORIGIN: Final = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_HOW: Final = 'python -c "import secrets; print(secrets.token_urlsafe(48))"'
ANY_ORIGIN: Final = "*"


def check(settings: Settings) -> None:
    """
    Raises:
        BadSettings: naming each variable that is missing or contradicts another.
    """
    faults = [*_nobody_could_sign_in(settings), *_tokens(settings), *_origins(settings)]
    if faults:
        raise BadSettings("\n".join(faults))


def takes_tokens(settings: Settings) -> bool:
    """Whether any setting says that bearer tokens are to be taken."""
    return bool(
        settings.jwt_secret_key.get_secret_value()
        or settings.jwt_jwks
        or settings.jwt_issuer
        or settings.jwt_audience
        or settings.jwt_algorithm is not JwtAlgorithm.HS256
    )


def _nobody_could_sign_in(settings: Settings) -> Iterator[str]:
    if not settings.api_key_hash_key.get_secret_value() and not takes_tokens(settings):
        yield (
            "API_KEY_HASH_KEY is not set and no bearer tokens are configured, so nobody could sign in. Make it once,"
            f" keep it, and give it to every edge and to the access service: {_HOW}"
        )


def _tokens(settings: Settings) -> Iterator[str]:
    if not takes_tokens(settings):
        return
    algorithm = settings.jwt_algorithm
    if not settings.jwt_issuer:
        yield "JWT_ISSUER is missing: tokens are taken only from the issuer that it names"
    if not settings.jwt_audience:
        yield "JWT_AUDIENCE is missing: tokens are taken only if they are meant for the audience that it names"
    if algorithm is JwtAlgorithm.HS256:
        yield from _shared_secret(settings)
    else:
        yield from _key_set(settings)


def _shared_secret(settings: Settings) -> Iterator[str]:
    secret = settings.jwt_secret_key.get_secret_value()
    if settings.jwt_jwks:
        yield "JWT_JWKS holds public keys, and JWT_ALGORITHM=HS256 has none: set JWT_ALGORITHM to RS256 or EdDSA"
    if not secret:
        yield "JWT_SECRET_KEY is missing, which JWT_ALGORITHM=HS256 verifies tokens with"
        return
    try:
        OctKey.import_key(secret)
    except ValueError:
        yield "JWT_SECRET_KEY is a public key, which anybody may know: it cannot be the secret of HS256"


def _key_set(settings: Settings) -> Iterator[str]:
    algorithm = settings.jwt_algorithm.value
    if settings.jwt_secret_key.get_secret_value():
        yield f"JWT_SECRET_KEY is for HS256, and JWT_ALGORITHM={algorithm}: one of them has to go"
    if not settings.jwt_jwks:
        yield f"JWT_JWKS (a file, or an https:// address) is missing, which JWT_ALGORITHM={algorithm} needs"
    elif "://" not in settings.jwt_jwks:
        try:
            FileKeys(Path(settings.jwt_jwks), settings.jwt_algorithm)
        except BadKeySet as error:
            yield f"JWT_JWKS: {error}"
    elif not settings.jwt_jwks.startswith("https://"):
        yield f"JWT_JWKS={settings.jwt_jwks!r} is neither a file nor an https:// address"


def _origins(settings: Settings) -> Iterator[str]:
    origins = settings.cors_origins
    if ANY_ORIGIN in origins and len(origins) > 1:
        yield (
            "CORS_ORIGINS=* cannot stand beside other origins: to those that are named browsers send credentials, and"
            " `*` with credentials would let every page on the web act for whoever looks at it. Name all origins, or"
            " give `*` alone, which is without credentials"
        )
    for origin in origins:
        if origin != ANY_ORIGIN and not _ORIGIN.fullmatch(origin):
            yield f"CORS_ORIGINS has {origin!r}, which is no origin: https://host or http://host:port, and no path"
