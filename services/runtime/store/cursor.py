"""Page cursors: the place of the last row shown, so that rows inserted meanwhile move nothing."""

import base64
import binascii
import json
import math
from dataclasses import dataclass

from services.runtime.store.base import BadCursor


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row shown of a list ordered by a time (epoch seconds) and, where times are equal, an id; of a list by
    id alone, ``at`` is 0.

    ``kind`` names the list: a cursor of one is not taken for another's.
    """

    kind: str
    at: float
    id: str

    def encode(self) -> str:
        text = json.dumps([self.kind, self.at, self.id], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(kind: str, text: str | None) -> Cursor | None:
    """None for the beginning.

    Raises:
        BadCursor: the text is no cursor of this kind of list.
    """
    if text is None:
        return None
    try:
        parts = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError, binascii.Error) as error:
        raise BadCursor(f"{text!r} is not a cursor of {kind}") from error
    match parts:
        case [str(found), float(at), str(row)] if found == kind and math.isfinite(at):
            return Cursor(kind, at, row)
    raise BadCursor(f"{text!r} is not a cursor of {kind}")
