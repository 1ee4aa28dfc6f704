"""What there is to be allowed, and which role allows what."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from contracts.access import Role


class Scope(StrEnum):
    """What a route asks of its caller."""

    WORKFLOWS_READ = "workflows:read"
    WORKFLOWS_WRITE = "workflows:write"
    EXECUTIONS_READ = "executions:read"
    EXECUTIONS_START = "executions:start"
    EXECUTIONS_CANCEL = "executions:cancel"
    AGENTS_READ = "agents:read"
    AGENTS_WRITE = "agents:write"
    AGENTS_MESSAGE = "agents:message"
    DEAD_LETTERS_READ = "dead_letters:read"
    DEAD_LETTERS_SETTLE = "dead_letters:settle"
    METRICS_READ = "metrics:read"
    KEYS_ADMIN = "keys:admin"
    AUDIT_READ = "audit:read"


_VIEWER: Final = frozenset(
    {
        Scope.WORKFLOWS_READ,
        Scope.EXECUTIONS_READ,
        Scope.AGENTS_READ,
        Scope.DEAD_LETTERS_READ,
        Scope.METRICS_READ,
    }
)

SCOPES: Mapping[Role, frozenset[Scope]] = {
    Role.VIEWER: _VIEWER,
    Role.APPROVER: _VIEWER | {Scope.DEAD_LETTERS_SETTLE, Scope.EXECUTIONS_CANCEL},
    Role.OPERATOR: _VIEWER
    | {
        Scope.WORKFLOWS_WRITE,
        Scope.EXECUTIONS_START,
        Scope.EXECUTIONS_CANCEL,
        Scope.AGENTS_WRITE,
        Scope.AGENTS_MESSAGE,
        Scope.DEAD_LETTERS_SETTLE,
    },
    Role.ADMIN: frozenset(Scope),
}


def scopes_of(roles: Iterable[Role]) -> frozenset[Scope]:
    """Everything that one of the roles allows."""
    return frozenset[Scope]().union(*(SCOPES[role] for role in roles))
