"""Who asks, and whether they may: every route under /v1 comes through here."""

import time
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from pipeline.access import (
    Action,
    KeyRing,
    KeysNotReadError,
    Principal,
    Resource,
    UnauthenticatedError,
    refusal,
)
from pipeline.api.problems import Problem, try_again_later
from pipeline.domain.catalog import Catalog

_bearer = HTTPBearer(
    auto_error=False, scheme_name="apiKey", description="An API key, made by `usage keys make`: `uk_<id>_<secret>`."
)


class Caller:
    """Who asks, proven."""

    def __init__(self, principal: Principal, catalog: Catalog) -> None:
        self.principal = principal
        self._catalog = catalog

    def require(
        self,
        action: Action,
        customer: str | None = None,
        deployment: str | None = None,
        *,
        app: str | None = None,
        builder: str | None = None,
    ) -> None:
        """Raise Problem (403) unless the caller may do this."""
        reason = refusal(self.principal, action, Resource(customer, deployment, app, builder), self._catalog)
        if reason is not None:
            raise Problem(403, "forbidden", f"{reason}.")


async def authenticate(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """Return who asks. Raises Problem: 401, and 503 while the keys are not read."""
    ring: KeyRing = request.app.state.ring
    if credentials is None:
        raise _unauthorized("An API key is needed: Authorization: Bearer uk_...")
    try:
        principal = ring.principal(credentials.credentials, time.time_ns() // 1000)
    except UnauthenticatedError as error:
        raise _unauthorized(f"{error}.") from None
    except KeysNotReadError as error:
        raise try_again_later(503, "not-ready", f"{error}: try again in a moment.") from None
    request.state.key_id = principal.key_id
    return Caller(principal, request.app.state.catalog)


Authenticated = Annotated[Caller, Depends(authenticate)]


def _unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="usage"'})
