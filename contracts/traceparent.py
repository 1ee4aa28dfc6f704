"""The trace that a message belongs to: W3C Trace Context's ``traceparent``, as a message header and in messages.

    00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
    version, trace id, id of the span that caused this, flags (1: the trace is recorded)

What cannot be read is as if it had not come, as the specification asks: a trace never decides whether a message is
taken.
"""

import re
from typing import Annotated, Final

from pydantic import BeforeValidator

HEADER: Final = "traceparent"

# As it is made here, and almost always comes: nothing is left to do.
_NORMAL = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]")
# A later version may have more behind the flags; version ff and ids of zeros are none.
_ANY_VERSION = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]([0-9a-f])(-.*)?")
_LENGTH = 55


def normalized(value: object) -> str:
    """The same in version 00, with the one flag that version knows; empty where ``value`` is no traceparent."""
    if not value or not isinstance(value, str):
        return ""
    if _NORMAL.fullmatch(value):
        return value
    found = _ANY_VERSION.fullmatch(value)
    if found is None or (len(value) > _LENGTH and value.startswith("00")):
        return ""
    return f"00-{found[1]}-{found[2]}-0{int(found[3], 16) & 1}"


Traceparent = Annotated[str, BeforeValidator(normalized)]
"""A field for one: empty by default, and wherever something else came."""
