"""How entries of the audit log are shown."""

from datetime import datetime

from pydantic import Field

from contracts.audit import AuditEntry, AuditResult
from services.edge.models import View, utc


class AuditEntryView(View):
    n: int = Field(description="The entry's number in the chain.")
    at: datetime
    actor: str = Field(
        description="`key:NAME` or `user:NAME` of a request; `service:NAME`, `agent:NAME`, `client:NAME` by a verified"
        " signature; `unverified:NAME` where nothing proves it; `anonymous`; `cli:USER@HOST` of a command on the"
        " store itself."
    )
    action: str = Field(description="The type of a message, or the method and the path of a request.")
    subject: str = Field(description="The id of what it was done to.")
    source: str = Field(description="An address, an exchange and a routing key, or a queue.")
    result: AuditResult = Field(description="Of a command `sent`; what came of it is an entry of its own.")
    detail: str
    correlation_id: str = Field(description="The same for a request, its command and what came of it.")
    record_id: str
    previous: str = Field(description="The hash of the entry before.")
    hash: str


class AuditPage(View):
    items: list[AuditEntryView]
    next: str | None = Field(default=None, description="`after` of the next page; null on the last one.")


def show_entry(entry: AuditEntry) -> AuditEntryView:
    record = entry.record
    shown = record.model_dump(exclude={"id", "at"})
    return AuditEntryView(
        **shown, n=entry.n, at=utc(record.at), record_id=record.id, previous=entry.previous, hash=entry.hash
    )
