"""What every middleware that tells of requests has to know of one: which route serves it, and how it was answered."""

from typing import Any, Final

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import Match
from starlette.types import Message, Scope, Send

UNKNOWN: Final = "(no such path)"
# What these paths begin with is asked all the time, by machines.
ASKED_BY_MACHINES: Final = ("/health", "/metrics")


class NotedAnswer:
    """A request's ``send`` that notes the ``status`` it was answered with: 500 until an answer begins, since what is
    raised is answered so further out."""

    def __init__(self, send: Send) -> None:
        self.status = 500
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


class Routes:
    """The routes of an application, and which of them serves a request."""

    def __init__(self, routes: Any) -> None:
        self._contexts: list[RouteContext] = list(iter_route_contexts(routes))
        self._templates: dict[Any, str] = {}
        for context in self._contexts:
            # The first path of a function is the one that it is known by.
            self._templates.setdefault(context.endpoint, context.path or "")
        for context in self._contexts:
            if (path := context.path or "") and not path.endswith("/"):
                self._templates[context.endpoint] = path

    def of(self, scope: Scope) -> tuple[str, dict[str, Any]]:
        """The template of the path and the parameters in it; both empty where nothing is served. A request that was
        answered before it came to its route does not say which that is, so it is looked for."""
        template = self._templates.get(scope.get("endpoint"))
        if template is not None:
            return template, dict(scope.get("path_params", {}))
        for context in self._contexts:
            match, found = context.matches(scope)
            if match is not Match.NONE:
                return context.path or "", dict(found.get("path_params", {}))
        return "", {}


def route_of(scope: Scope) -> tuple[str, dict[str, Any]]:
    """``Routes.of`` a request to its application, whose routes are looked through when the first one asks: only then it
    has all of them."""
    app = scope["app"]
    routes: Routes | None = getattr(app.state, "routes_served", None)
    if routes is None:
        routes = app.state.routes_served = Routes(app.routes)
    return routes.of(scope)
