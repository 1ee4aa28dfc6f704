"""The public keys of bearer tokens: a JWK set (RFC 7517) in a file, or at an https address."""

import asyncio
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, OKPKey, RSAKey

from services.runtime.settings import JwtAlgorithm

log = structlog.get_logger(__name__)

FILE_SECONDS: Final = 3.0  # how often the file is looked at
FRESH_SECONDS: Final = 600.0  # after which the address is asked again
STALE_SECONDS: Final = 3_600.0  # how long keys count that cannot be fetched again
RETRY_SECONDS: Final = 30.0  # the least time between two fetches, whatever tokens say
FETCH_SECONDS: Final = 5.0
MOST_BYTES: Final = 1024 * 1024
_LEAST_RSA_BITS: Final = 2048


class BadKeySet(ValueError):
    """It is no JWK set that tokens can be checked with; the message says why."""


class KeySetUnavailable(Exception):
    """The keys cannot be had now."""


class KeySource(Protocol):
    async def find(self, kid: str | None) -> Key | None:
        """The key of that id, or the only one there is where a token names none; None if there is no such key.

        Raises:
            KeySetUnavailable
        """
        ...


def read_key_set(document: bytes | str, algorithm: JwtAlgorithm) -> dict[str, Key]:
    """The keys of a set that fit the algorithm, by key id. Others are left out, as RFC 7517 has it.

    Raises:
        BadKeySet: no JWK set, no key that fits, two of one id, or a private key, which has no business here.
    """
    try:
        listed = json.loads(document)["keys"]
        if not isinstance(listed, list):
            raise TypeError("its keys are no list")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadKeySet(f'expected {{"keys": [...]}}, a JWK set: {type(error).__name__}: {error}') from None
    keys: dict[str, Key] = {}
    for one in listed:
        key = _usable(one, algorithm)
        if key is None:
            continue
        key.ensure_kid()
        kid = str(key.kid)
        if kid in keys:
            raise BadKeySet(f"two keys have the id {kid!r}")
        keys[kid] = key
    if not keys:
        raise BadKeySet(f"none of its {len(listed)} keys is one for {algorithm.value}")
    return keys


def _usable(one: Any, algorithm: JwtAlgorithm) -> Key | None:
    kind = {JwtAlgorithm.RS256: "RSA", JwtAlgorithm.EDDSA: "OKP"}[algorithm]
    if not isinstance(one, dict) or one.get("kty") != kind:
        return None
    if one.get("use", "sig") != "sig" or one.get("alg", algorithm.value) != algorithm.value:
        return None
    if kind == "OKP" and one.get("crv") != "Ed25519":
        return None
    try:
        key = JWKRegistry.import_key(one)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise BadKeySet(f"the key {one.get('kid')!r} cannot be read: {type(error).__name__}: {error}") from None
    if not isinstance(key, RSAKey | OKPKey):
        return None
    if key.is_private:
        raise BadKeySet(f"the key {key.kid!r} is a private key; only public keys belong here")
    if isinstance(key, RSAKey) and key.raw_value.key_size < _LEAST_RSA_BITS:
        raise BadKeySet(f"the key {key.kid!r} has {key.raw_value.key_size} bits; {_LEAST_RSA_BITS} or more are needed")
    return key


def _pick(keys: Mapping[str, Key], kid: str | None) -> Key | None:
    if kid is None:
        return next(iter(keys.values())) if len(keys) == 1 else None
    return keys.get(kid)


class FileKeys:
    """Keys of a file, which is read again when it changes. What it held counts on while it cannot be read."""

    def __init__(self, path: Path, algorithm: JwtAlgorithm, *, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Raises:
            BadKeySet: it cannot be read, or holds no key that fits.
        """
        self._path = path
        self._algorithm = algorithm
        self._clock = clock
        self._seen = self._signature()
        self._keys = self._read()
        self._looked_at = clock()

    async def find(self, kid: str | None) -> Key | None:
        if self._clock() - self._looked_at >= FILE_SECONDS:
            self._looked_at = self._clock()
            await asyncio.to_thread(self._look)
        return _pick(self._keys, kid)

    def _look(self) -> None:
        try:
            now = self._signature()
            if now != self._seen:
                self._keys = self._read()
                self._seen = now
        except BadKeySet as error:
            log.error("the keys of bearer tokens cannot be read again; those from before are used", error=str(error))

    def _signature(self) -> tuple[int, int, int]:
        try:
            about = self._path.stat()
        except OSError as error:
            raise BadKeySet(f"{self._path}: {error.strerror or error}") from None
        return about.st_mtime_ns, about.st_size, about.st_ino

    def _read(self) -> dict[str, Key]:
        try:
            return read_key_set(self._path.read_bytes(), self._algorithm)
        except OSError as error:
            raise BadKeySet(f"{self._path}: {error.strerror or error}") from None
        except BadKeySet as error:
            raise BadKeySet(f"{self._path}: {error}") from None


class UrlKeys:
    """Keys at an https address. They are fetched when first needed, again after ten minutes, and when a token names one
    that is not among them, but never twice in half a minute."""

    def __init__(self, url: str, algorithm: JwtAlgorithm, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._algorithm = algorithm
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._fetched_at = -math.inf
        self._tried_at = -math.inf
        self._fetching = asyncio.Lock()

    async def find(self, kid: str | None) -> Key | None:
        if self._age > FRESH_SECONDS or _pick(self._keys, kid) is None:
            await self._refresh()
        if self._age > STALE_SECONDS:
            raise KeySetUnavailable("the keys of bearer tokens cannot be fetched")
        return _pick(self._keys, kid)

    @property
    def _age(self) -> float:
        return self._clock() - self._fetched_at

    async def _refresh(self) -> None:
        async with self._fetching:
            if self._clock() - self._tried_at < RETRY_SECONDS:
                return
            self._tried_at = self._clock()
            try:
                self._keys = read_key_set(await self._fetch(), self._algorithm)
                self._fetched_at = self._clock()
            except (httpx.HTTPError, OSError, TimeoutError, BadKeySet) as error:
                log.error("the keys of bearer tokens cannot be fetched", url=self._url, error=repr(error))

    async def _fetch(self) -> bytes:
        # A redirect could lead anywhere, and out of TLS.
        async with (
            asyncio.timeout(FETCH_SECONDS),
            httpx.AsyncClient(timeout=FETCH_SECONDS, follow_redirects=False) as client,
            client.stream("GET", self._url, headers={"Accept": "application/json"}) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise BadKeySet(f"the answer is {answer.status_code}")
            document = bytearray()
            async for chunk in answer.aiter_bytes():
                document += chunk
                if len(document) > MOST_BYTES:
                    raise BadKeySet(f"the answer has more than {MOST_BYTES} bytes")
            return bytes(document)


def open_key_source(place: str, algorithm: JwtAlgorithm) -> KeySource:
    """
    Raises:
        BadKeySet: it is a file, and not one with keys.
    """
    return UrlKeys(place, algorithm) if place.startswith("https://") else FileKeys(Path(place), algorithm)
