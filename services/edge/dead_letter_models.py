"""How dead letters are shown: without secrets, though they are kept, and replayed, whole."""

import base64
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import Field
from pydantic_core import from_json

from contracts.dead_letters import DeadLetter
from services.edge.models import View, utc
from services.runtime.masking import masked, masked_text

PREVIEW_CHARACTERS: Final = 300
# A secret that is cut in half has no shape, so more is looked at than is shown. A multiple of four: base64's unit.
_LOOKED_AT = 8_000


class DeadLetterSummary(View):
    dead_letter_id: str
    reason: str
    detail: str = Field(description="The reason in words.")
    queue: str = Field(description="Where it could not be handled.")
    exchange: str = Field(description="Where it was first published to, with `routing_key`.")
    routing_key: str
    message_id: str
    type: str
    correlation_id: str
    reply_to: str
    size: int = Field(description="Bytes of the body.")
    died_at: datetime
    preview: str = Field(description=f"The first {PREVIEW_CHARACTERS} characters of the body.")
    href: str


class DeadLetterView(DeadLetterSummary):
    headers: dict[str, str]
    body: Any = Field(description="As `body_format` says.")
    body_format: Literal["json", "text", "base64"]


class DeadLetterPage(View):
    items: list[DeadLetterSummary]
    next: str | None = Field(default=None, description="`after` of the next page; null on the last one.")


class Replayed(View):
    dead_letter_id: str
    status: Literal["replayed"] = "replayed"


class Discarded(View):
    dead_letter_id: str
    status: Literal["discarded"] = "discarded"


def summarise_letter(letter: DeadLetter, href: str) -> DeadLetterSummary:
    return DeadLetterSummary(**_common(letter), href=href)


def show_letter(letter: DeadLetter, href: str) -> DeadLetterView:
    body_format, body = _read(letter)
    headers = masked(letter.headers)
    return DeadLetterView(**_common(letter), href=href, headers=headers, body=body, body_format=body_format)


def _common(letter: DeadLetter) -> dict[str, Any]:
    shown = letter.model_dump(exclude={"id", "body", "encoded", "headers", "died_at"})
    beginning = letter.body[:_LOOKED_AT]
    preview = (_masked_base64(beginning) if letter.encoded else masked_text(beginning))[:PREVIEW_CHARACTERS]
    shown = {name: masked_text(value) if isinstance(value, str) else value for name, value in shown.items()}
    return {**shown, "dead_letter_id": letter.id, "died_at": utc(letter.died_at), "preview": preview}


def _read(letter: DeadLetter) -> tuple[Literal["json", "text", "base64"], Any]:
    if letter.encoded:
        return "base64", _masked_base64(letter.body)
    try:
        # Numbers that JSON does not have could not be shown as JSON again.
        return "json", masked(from_json(letter.body, allow_inf_nan=False))
    except ValueError:
        return "text", masked_text(letter.body)


def _masked_base64(body: str) -> str:
    """Bytes that are no text may still hold one; latin-1 reads any byte and writes it back."""
    text = base64.b64decode(body).decode("latin-1")
    shown = masked_text(text)
    return body if shown == text else base64.b64encode(shown.encode("latin-1")).decode()
