"""Which role allows what."""

from contracts.access import Role
from services.edge.access.scopes import SCOPES, Scope, scopes_of

READS = {"workflows:read", "executions:read", "agents:read", "dead_letters:read", "metrics:read"}


def test_every_role_has_the_scopes_it_is_meant_to_have() -> None:
    assert {role: set(scopes) for role, scopes in SCOPES.items()} == {
        Role.VIEWER: READS,
        Role.APPROVER: READS | {"dead_letters:settle", "executions:cancel"},
        Role.OPERATOR: READS
        | {
            "workflows:write",
            "executions:start",
            "executions:cancel",
            "agents:write",
            "agents:message",
            "dead_letters:settle",
        },
        Role.ADMIN: {scope.value for scope in Scope},
    }


def test_administration_is_for_admins_alone() -> None:
    for role in set(Role) - {Role.ADMIN}:
        assert not SCOPES[role] & {Scope.KEYS_ADMIN, Scope.AUDIT_READ}


def test_several_roles_allow_what_one_of_them_allows() -> None:
    both = scopes_of([Role.APPROVER, Role.VIEWER])
    assert both == SCOPES[Role.APPROVER]
    assert scopes_of([]) == frozenset()
