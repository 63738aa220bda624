"""What goes around every request: an id, security headers, a line in the log without secrets, an end whatever comes."""

import logging
import re
import secrets
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.api.problems import Problem, problem_response

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}
"""The API's answers are data for programs; the page at /docs has a style of its own and no script."""
_PATH_SHOWN_MAX = 120

log = logging.getLogger("pipeline.api.access")


class Envelope:
    """ASGI middleware; `request.state` gets `request_id`, and may be given `key_id`, `code` and `note` for the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 - ASGI's signature
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        request_id = state["request_id"] = _request_id(scope)
        begun_s = time.monotonic()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            log.exception("request %s failed", request_id)
            if status:
                raise  # the answer has begun: all that is left is to break it off
            problem = Problem(
                500, "internal", "Something failed here that should not; the log has it by the request id."
            )
            await problem_response(Request(scope), problem)(scope, receive, send_with_headers)
        finally:
            _log(scope, state, status, time.monotonic() - begun_s)


def _request_id(scope: Scope) -> str:
    """Return the client's id of the request, if it is a tame one, else a new one."""
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
    return given if _ID.fullmatch(given) else secrets.token_hex(8)


def _log(scope: Scope, state: MutableMapping[str, Any], status: int, took_s: float) -> None:
    """Log a request by what is no secret: never its headers, query or body."""
    path = ascii(scope["path"][:_PATH_SHOWN_MAX])[1:-1]
    said = [f"key={state['key_id']}"] if "key_id" in state else []
    said += [state[name] for name in ("code", "note") if name in state]
    log.info(
        "%s %s %s %d %.1f ms %s", state["request_id"], scope["method"], path, status, took_s * 1000, " ".join(said)
    )
