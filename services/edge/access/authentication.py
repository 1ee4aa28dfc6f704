"""Who a request is from: an API key or a bearer token in its headers, recognised or refused."""

import ipaddress
import time
from typing import Final

import structlog
from starlette.datastructures import Headers

from contracts.access import ApiKey, Role
from services.edge.access.caller import ANONYMOUS, Caller, caller_of_key
from services.edge.access.key_sets import KeySetUnavailable
from services.edge.access.rates import Rates
from services.edge.access.requirements import not_signed_in
from services.edge.access.stored_keys import StoredKeys
from services.edge.access.tokens import BadToken, Tokens, open_tokens
from services.edge.problems import Problem, unavailable
from services.runtime.security.api_keys import KeyText, is_key, read_key_text
from services.runtime.settings import Settings
from services.runtime.store.base import Store, StoreUnavailable

log = structlog.get_logger(__name__)

KEY_PREFIX: Final = "ck_"
_LONGEST_HOST: Final = 64
_REFUSED: Final = "the API key is not one that is known here"
# What a key is compared with that is not there, so that both take the same work.
_NOBODY: Final = ApiKey(
    id="ck_000000000000", name="nobody", role=Role.VIEWER, secret_hash="0" * 64, created_at=0.0, revoked_at=0.0
)


class Authenticator:
    """Signs callers in, and counts what they do.

    An address that fails to sign in too often is told to wait; whoever was signed in from there lately goes on, and
    those who are already known here too: only new ids are no longer looked up for it.
    """

    def __init__(self, settings: Settings, keys: StoredKeys, tokens: Tokens | None) -> None:
        self._header = settings.api_key_header
        self._hash_key = settings.api_key_hash_key.get_secret_value()
        self._keys = keys
        self._tokens = tokens
        self._rate_limit = settings.rate_limit
        self._failures_limit = max(1, settings.rate_limit // 10)
        self._callers = Rates()
        self._strangers = Rates()
        self._failures = Rates()

    async def sign_in(self, headers: Headers, address: str, *, to_watch: bool = False) -> Caller:
        """The caller; ``ANONYMOUS`` where there are no credentials. Who only wants to see how the system does
        (``to_watch``) is let in by a key that was good lately while the store is away: that is when it matters.

        Raises:
            Problem: 401 for credentials that are not taken, 429 after too many of those, 503 where they cannot be
                checked now.
        """
        try:
            credentials = self._credentials(headers)
            if credentials is None:
                return ANONYMOUS
            if credentials.startswith(KEY_PREFIX):
                return await self._caller_of_key(credentials, address, to_watch)
            return await self._caller_of_token(credentials)
        except Problem as problem:
            if problem.status == 401 and (wait := self._failures.take(address, self._failures_limit)):
                raise self._too_many_failures(wait) from None
            raise

    async def still_valid(self, caller: Caller) -> bool:
        """Whether one who was signed in before still may be, for what goes on long after. A store that is away changes
        nothing: no key can be revoked meanwhile either."""
        now = time.time()
        if caller.expires_at is not None and caller.expires_at <= now:
            return False
        if not caller.key_id:
            return True
        try:
            stored = await self._keys.get(caller.key_id)
        except StoreUnavailable:
            return True
        return stored is not None and stored.valid(now)

    def count(self, caller: Caller, address: str) -> None:
        """Count one request.

        Raises:
            Problem: 429, that is one more than may be in a minute.
        """
        limit = caller.rate_limit or self._rate_limit
        if caller.signed_in:
            wait = self._callers.take(caller.key_id or caller.actor, limit)
        else:
            wait = self._strangers.take(address, limit)
        if wait:
            raise _slow_down(f"{limit} requests a minute are allowed to {caller.name!r} here", wait)

    def _credentials(self, headers: Headers) -> str | None:
        keys = headers.getlist(self._header)
        authorizations = headers.getlist("Authorization")
        if len(keys) + len(authorizations) > 1:
            raise not_signed_in(
                f"more than one of {self._header} and Authorization was sent; send one", error="invalid_request"
            )
        if keys:
            # What is no key at all is refused as one that is not known.
            return keys[0] if keys[0].startswith(KEY_PREFIX) else KEY_PREFIX
        if not authorizations:
            return None
        scheme, _, value = authorizations[0].strip().partition(" ")
        if scheme.lower() != "bearer" or not value.strip():
            raise not_signed_in(
                "Authorization has to be `Bearer`, a space, and a key or a token", error="invalid_request"
            )
        return value.strip()

    async def _caller_of_key(self, given: str, address: str, to_watch: bool) -> Caller:
        text = read_key_text(given) if self._hash_key else None
        if text is None:
            raise not_signed_in(_REFUSED, error="invalid_token")
        if self._keys.is_new(text.id) and (wait := self._failures.full(address, self._failures_limit)):
            raise self._too_many_failures(wait)
        try:
            stored = await self._keys.get(text.id)
        except StoreUnavailable as error:
            stored = self._keys.last_known(text.id) if to_watch else None
            if stored is None:
                log.warning("store unavailable", error=str(error))
                raise unavailable("the store with the API keys is away, or does not answer in time") from None
        return self._recognised(text, stored)

    def _recognised(self, text: KeyText, stored: ApiKey | None) -> Caller:
        if not is_key(text, stored or _NOBODY, self._hash_key) or stored is None:
            raise not_signed_in(_REFUSED, error="invalid_token")
        if not stored.valid(time.time()):
            # Only who has the whole key is told this.
            what = "has expired" if stored.revoked_at is None else "was revoked"
            raise not_signed_in(f"the API key {stored.id} {what}", error="invalid_token")
        return caller_of_key(stored)

    async def _caller_of_token(self, token: str) -> Caller:
        if self._tokens is None:
            raise not_signed_in("bearer tokens are not taken here, API keys are", error="invalid_token")
        try:
            return await self._tokens.read(token)
        except BadToken as error:
            raise not_signed_in(str(error), error="invalid_token") from None
        except KeySetUnavailable as error:
            raise unavailable(str(error)) from None

    @staticmethod
    def _too_many_failures(wait: int) -> Problem:
        return _slow_down("too many sign-ins from this address have failed", wait)


def address_of(client: tuple[str, int] | None) -> str:
    """What failures are counted under: an IPv4 address, or the /64 that an IPv6 address is in, all of which one who has
    one of them usually has."""
    host = client[0] if client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:_LONGEST_HOST]  # as a proxy that is trusted passed it on
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host


def open_authenticator(settings: Settings, store: Store) -> Authenticator:
    """To be called with settings that were checked (``configuration.check``).

    Raises:
        BadKeySet: the file of JWT_JWKS cannot be used.
    """
    return Authenticator(settings, StoredKeys(store, answer_within=settings.answer_timeout), open_tokens(settings))


def _slow_down(detail: str, wait: int) -> Problem:
    return Problem("rate-limited", f"{detail}; there is room again in {wait} s", retry_after=wait)
