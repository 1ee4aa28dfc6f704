"""How a route says what it asks of its caller: ``dependencies=[needs(Scope.X)]`` in its decorator, or ``[PUBLIC]``.

What a route declares is what the document shows, what is checked before anything of the request is read
(``middleware``), and what the route itself checks once more. A route that declares nothing is served to nobody.
"""

from collections.abc import Iterable
from typing import Any, Final

from fastapi import Request, Security
from fastapi.params import Depends

from services.edge.access.caller import ANONYMOUS, Caller
from services.edge.access.scopes import Scope
from services.edge.problems import Problem

REALM: Final = 'Bearer realm="conclave"'


class Requirement:
    """What a route asks for: a scope, or None where anybody may call it."""

    def __init__(self, scope: Scope | None) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> None:
        self.check(getattr(request.state, "caller", ANONYMOUS))

    def check(self, caller: Caller) -> None:
        """
        Raises:
            Problem: 401 for one who is not signed in, 403 for one who lacks the scope.
        """
        if self.scope is None or self.scope in caller.scopes:
            return
        if not caller.signed_in:
            raise not_signed_in("this needs an API key or a bearer token")
        roles = ", ".join(sorted(caller.roles)) or "no role"
        raise Problem(
            "forbidden",
            f"{caller.name!r} ({roles}) lacks the scope {self.scope.value}",
            members={"scope": self.scope.value},
            headers={"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{self.scope.value}"'},
        )


def needs(scope: Scope) -> Any:
    """For a route that only callers with ``scope`` may use."""
    return Security(Requirement(scope), scopes=[scope.value])


PUBLIC_REQUIREMENT: Final = Requirement(None)
PUBLIC: Final[Any] = Security(PUBLIC_REQUIREMENT)


def requirement_of(dependencies: Iterable[Depends]) -> Requirement | None:
    """What a route with these dependencies declares; None if it declares nothing."""
    found = [one.dependency for one in dependencies if isinstance(one.dependency, Requirement)]
    return found[-1] if found else None


def not_signed_in(detail: str, *, error: str = "") -> Problem:
    """401; ``error`` is the code of RFC 6750 where there were credentials."""
    challenge = f'{REALM}, error="{error}"' if error else REALM
    return Problem("unauthenticated", detail, headers={"WWW-Authenticate": challenge})
