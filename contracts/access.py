"""Who may use the API: API keys, the roles they have, and the commands about them.

A key is ``ck_PREFIX_SECRET``. The prefix is its id and is shown; of the secret (256 bits) only a keyed hash is stored,
and only that travels: the edge makes keys and shows each once.
"""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from contracts import topology
from contracts.envelope import Contract, Message
from contracts.topology import Address

KEY_ID_PATTERN = r"^ck_[a-z0-9]{12}$"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$"


class Role(StrEnum):
    """What somebody may do; ``services/edge`` says which scopes each has."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"


class ApiKey(Contract):
    """What is stored of a key. ``name`` is who it stands for, and stays when it is rotated: idempotency keys belong to
    it. Times are epoch seconds. ``rate_limit``: requests a minute, None for the edge's own setting."""

    id: str = Field(pattern=KEY_ID_PATTERN)
    name: str = Field(pattern=NAME_PATTERN)
    role: Role
    secret_hash: str = Field(repr=False, min_length=64, max_length=64)
    created_at: float
    created_by: str = ""
    expires_at: float | None = None
    revoked_at: float | None = None
    replaced_by: str | None = None
    rate_limit: int | None = Field(default=None, ge=1)

    def valid(self, now: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class CreateApiKey(Message):
    """Answered by ``ApiKeyStored``, or refused: the id is taken."""

    TYPE: ClassVar[str] = "api_key.create.v1"

    key: ApiKey

    def address(self) -> Address:
        return topology.command("api_key.create")


class RotateApiKey(Message):
    """A new key takes the place of the one with this id, which is valid for ``overlap`` more seconds, but no longer
    than it was. Answered by ``ApiKeyStored``, or refused: there is no such key, or it is not valid any more."""

    TYPE: ClassVar[str] = "api_key.rotate.v1"

    id: str
    new_id: str = Field(pattern=KEY_ID_PATTERN)
    new_secret_hash: str = Field(repr=False, min_length=64, max_length=64)
    overlap: float = Field(ge=0, le=90 * 86_400)
    expires_at: float | None = None

    def address(self) -> Address:
        return topology.command("api_key.rotate")


class RevokeApiKey(Message):
    """From now on the key is refused. Answered by ``ApiKeyStored``; done twice, it stays as it was done first."""

    TYPE: ClassVar[str] = "api_key.revoke.v1"

    id: str

    def address(self) -> Address:
        return topology.command("api_key.revoke")


class ApiKeyStored(Message):
    """The key as it is stored now; of a rotation, the new one."""

    TYPE: ClassVar[str] = "api_key.stored.v1"

    key: ApiKey
