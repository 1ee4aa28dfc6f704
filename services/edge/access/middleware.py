"""The middleware that lets a request in: who it is from, whether that one may do this, and how often.

It stands before the gate and before anything of the body is read: whom it refuses has cost next to nothing.
"""

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from services.edge import problems
from services.edge.access.authentication import Authenticator, address_of
from services.edge.access.caller import ANONYMOUS, Caller
from services.edge.access.requirements import PUBLIC_REQUIREMENT, Requirement, not_signed_in
from services.edge.access.routes import Routes
from services.edge.access.scopes import Scope as Access
from services.edge.problems import Problem


class Authentication:
    """Leaves the ``Caller`` in ``request.state.caller``, which is ``ANONYMOUS`` where nobody was signed in."""

    def __init__(self, app: ASGIApp, *, authenticator: Authenticator, serves: FastAPI) -> None:
        self._app = app
        self._authenticator = authenticator
        self._serves = serves
        self._routes: Routes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http":
            state = scope.setdefault("state", {})
            state["caller"] = ANONYMOUS
            try:
                state["caller"] = await self._let_in(scope, state)
            except Problem as problem:
                answer = problems.document_of(Request(scope), problem)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _let_in(self, scope: Scope, state: dict[str, object]) -> Caller:
        if self._routes is None:  # only now is everything added to the application that will be
            self._routes = Routes(self._serves)
        found, requirement = self._routes.find(scope)
        address = address_of(scope.get("client"))
        if requirement is PUBLIC_REQUIREMENT:
            self._authenticator.count(ANONYMOUS, address)
            return ANONYMOUS
        to_watch = requirement is not None and requirement.scope is Access.METRICS_READ
        caller = await self._authenticator.sign_in(Headers(scope=scope), address, to_watch=to_watch)
        state["caller"] = caller
        self._authenticator.count(caller, address)
        _check(caller, requirement, found)
        return caller


def _check(caller: Caller, requirement: Requirement | None, found: bool) -> None:
    if requirement is not None:
        requirement.check(caller)
    elif not caller.signed_in:
        # Whoever is not signed in is not told what is there and what is not.
        raise not_signed_in("this needs an API key or a bearer token")
    elif found:
        raise Problem("forbidden", "this route does not say what it asks of its callers, so nobody may use it")
