"""What is asked of a request before its route is entered."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import Match
from starlette.types import Scope as Request  # not a scope that a caller has

from services.edge.access.requirements import Requirement, requirement_of


def declared(app: FastAPI) -> list[tuple[RouteContext, Requirement | None]]:
    """Every route of ``app`` in the order in which they are tried, with what each declares."""
    return [
        (context, requirement_of(getattr(context, "dependencies", ()))) for context in iter_route_contexts(app.routes)
    ]


class Routes:
    """The routes of an application, to be asked before it is."""

    def __init__(self, app: FastAPI) -> None:
        self._routes: list[tuple[Any, Requirement | None]] = list(declared(app))

    def find(self, request: Request) -> tuple[bool, Requirement | None]:
        """Whether a route answers this request, and what it declares. Which route that is, is decided as the framework
        decides it: the first one whose path and method fit."""
        for route, requirement in self._routes:
            if route.matches(request)[0] is Match.FULL:
                return True, requirement
        return False, None
