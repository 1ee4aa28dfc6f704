"""What is asked and answered about API keys. None of it holds a hash, and one answer alone holds a key."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from contracts.access import NAME_PATTERN, ApiKey, Role
from services.edge.models import Body, View, utc

LONGEST_LIFE: Final = 10 * 366 * 86_400.0  # seconds
LONGEST_OVERLAP: Final = 90 * 86_400.0
OVERLAP: Final = 3_600.0

# ---- requests


class _Expiring(Body):
    expires_in: float | None = Field(
        default=None, gt=0, le=LONGEST_LIFE, description="Seconds from now on that the key is to be valid."
    )
    expires_at: AwareDatetime | None = Field(default=None, description="The same as a time; null: it does not expire.")

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.expires_in is not None and self.expires_at is not None:
            raise ValueError("`expires_in` and `expires_at` say the same thing in two ways; give one")
        if self.expires_at is not None:
            now = datetime.now(UTC)
            if not now < self.expires_at <= now + timedelta(seconds=LONGEST_LIFE):
                raise ValueError("`expires_at` has to be in the future, and within ten years")
        return self

    @property
    def end(self) -> float | None:
        """Epoch seconds."""
        if self.expires_in is not None:
            return time.time() + self.expires_in
        return None if self.expires_at is None else self.expires_at.timestamp()


class NewKey(_Expiring):
    """A key to make."""

    name: str = Field(
        pattern=NAME_PATTERN, description="Who it stands for: what logs, messages and the audit log say of its holder."
    )
    role: Role
    rate_limit: int | None = Field(
        default=None, ge=1, le=100_000_000, description="Requests a minute; the setting RATE_LIMIT if not given."
    )


class RotateKey(_Expiring):
    """How the next key takes over."""

    overlap: float = Field(
        default=OVERLAP, ge=0, le=LONGEST_OVERLAP, description="Seconds for which the old key is valid beside it."
    )


# ---- answers


class KeyView(View):
    key_id: str = Field(description="The part of the key before its secret.")
    name: str
    role: Role
    status: Literal["valid", "expired", "revoked"]
    rate_limit: int | None = Field(default=None, description="Requests a minute; null: as RATE_LIMIT says.")
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    replaced_by: str | None = Field(default=None, description="The id of the key that it was rotated to.")
    href: str


class KeyMade(KeyView):
    key: str = Field(description="The key itself. It is shown this once, and stored nowhere.")


class KeyPage(View):
    items: list[KeyView]
    next: str | None = Field(default=None, description="`after` of the next page; null on the last one.")


def show_key(key: ApiKey, href: str) -> KeyView:
    return KeyView(
        key_id=key.id,
        name=key.name,
        role=key.role,
        status="revoked" if key.revoked_at is not None else "valid" if key.valid(time.time()) else "expired",
        rate_limit=key.rate_limit,
        created_at=utc(key.created_at),
        created_by=key.created_by,
        expires_at=_shown(key.expires_at),
        revoked_at=_shown(key.revoked_at),
        replaced_by=key.replaced_by,
        href=href,
    )


def _shown(epoch_seconds: float | None) -> datetime | None:
    return None if epoch_seconds is None else utc(epoch_seconds)
