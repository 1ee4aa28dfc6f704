"""In which order a store is read for a backup, so that what was read while it changed is a state it could be in.

Whatever refers to something is read before that, since what is referred to is written first and never changed:
headers before the log, the log before payloads, definitions and agents, checkpoints before the audit entries that they
vouch for. Dead letters come first of all: one that is replayed meanwhile is then in the backup twice, as a letter and
by what came of it, and not lost between the two. docs/backup.md has the whole argument.

A restore writes in the opposite order, so that nothing refers to something that is not there yet.
"""

from collections.abc import Callable
from typing import Final

READ_IN_THIS_ORDER: Final = (
    "dead_letters",
    "headers",
    "log",
    "payloads",
    "workflows",
    "definitions",
    "agents",
    "hosts",
    "claims",
    "api_keys",
    "audit_checkpoints",
    "audit",
)
"""Collections of MongoDB and tables of PostgreSQL alike: all that the store has."""

PLACEHOLDER: Final = "(restored)"
"""The workflow's name in the header of an execution whose own was not in the backup, until it is woken for the first
time: at once."""

Progress = Callable[[str, int], None]
"""Told of a collection and how many of its rows are done: 0 when it begins."""


def unheard(_collection: str, _rows: int) -> None:
    """A ``Progress`` that tells nobody."""
