"""Requests by route and status, and how long they took: for /metrics, which is served elsewhere."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.observe.counters import Counters

NO_ROUTE = "none"
"""Stands for every path that is no route: what clients make up is no label."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BROKEN_OFF = 499
"""The status of a request that got no answer: the client left, or the process stopped."""


class RequestCounts:
    """ASGI middleware, the outermost. An answer that streams takes as long as its head does."""

    def __init__(self, app: ASGIApp, counters: Counters) -> None:
        self._app = app
        self._counters = counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 - ASGI's signature
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun_s = time.monotonic()
        counted = False

        def count(status: int) -> None:
            nonlocal counted
            counted = True
            route = _route_of(scope)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._counters.add("api_requests", 1, route, method, str(status))
            self._counters.observe("api_request_seconds", time.monotonic() - begun_s, route)

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start":
                count(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_and_count)
        finally:
            if not counted:
                count(_BROKEN_OFF)


def _route_of(scope: Scope) -> str:
    """Return the route's template, such as /v1/quota/{customer}: of a router's route, FastAPI keeps it with its prefix here."""
    route = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    return getattr(route, "path", NO_ROUTE)
