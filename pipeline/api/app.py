"""The application: routes, and what they share."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import HTMLResponse

from pipeline.access import KeyRing
from pipeline.access.log import KeyFollower
from pipeline.access.operator_file import read_operator_key
from pipeline.api import (
    describe,
    event_routes,
    explain_routes,
    grant_routes,
    health_routes,
    margin_routes,
    payout_routes,
    statement_routes,
    usage_routes,
)
from pipeline.api.bodies import InFlight
from pipeline.api.clickhouse import ClickHouse
from pipeline.api.delivery import Delivery
from pipeline.api.docs_page import docs_page
from pipeline.api.envelope import Envelope
from pipeline.api.guard import authenticate
from pipeline.api.problems import install_problems
from pipeline.api.quota_stream import install_quota
from pipeline.api.request_counts import RequestCounts
from pipeline.domain.catalog import Catalog
from pipeline.domain.terms import TermsIndex
from pipeline.observe.counters import Counters
from pipeline.published import VersionFollower
from pipeline.settings import Settings

log = logging.getLogger(__name__)

_ABOUT = (
    "Usage events and grants in; quota, statements and reports out. Every route under /v1 needs an API key (`usage keys make`): Authorization: Bearer uk_... "
    "Errors are problem details (RFC 9457)."
)


def create_app(settings: Settings, catalog: Catalog) -> FastAPI:
    """Return the application. Raises OSError, ValueError when the operator's key file cannot be used."""
    app = FastAPI(
        title="Usage pipeline",
        version=version("usage-pipeline"),
        description=_ABOUT,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    key_file = settings.api_operator_key_file
    app.state.settings = settings
    app.state.counters = Counters()
    app.state.catalog = catalog
    app.state.ring = KeyRing(read_operator_key(key_file) if key_file else None)
    app.state.in_flight = InFlight(settings.api_in_flight_bytes_max)
    app.state.delivery = Delivery(settings, app.state.in_flight)
    app.state.keys = KeyFollower(settings, app.state.ring)
    app.state.versions = VersionFollower(settings, lambda catalog: _take(app, catalog))
    app.state.clickhouse = ClickHouse(settings)

    v1 = APIRouter(prefix="/v1", dependencies=[Depends(authenticate)])
    v1.include_router(event_routes.router)
    v1.include_router(grant_routes.router)
    for reports in (statement_routes, usage_routes, explain_routes, payout_routes, margin_routes):
        v1.include_router(reports.router)
    install_quota(app, v1)
    app.include_router(v1)
    app.include_router(health_routes.router)
    _describe(app)
    install_problems(app)
    app.add_middleware(Envelope)
    app.add_middleware(RequestCounts, counters=app.state.counters)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start what follows Kafka, and stop it in turn."""
    state = app.state
    async with AsyncExitStack() as stack:
        for service in (state.delivery, state.keys, state.versions, state.quota, state.clickhouse):
            await service.start()
            stack.push_async_callback(service.stop)
        yield


def _take(app: FastAPI, catalog: Catalog) -> None:
    """Decide by the catalog version that was published last (R10.4); requests under way keep theirs."""
    app.state.catalog, app.state.index = catalog, TermsIndex(catalog)
    log.info("catalog version %s is in force", catalog.digest)


def _describe(app: FastAPI) -> None:
    """Serve the OpenAPI document at /openapi.json, and the same for people at /docs."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe.complete(generate())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # the way FastAPI documents

    @app.get("/docs", include_in_schema=False)
    async def get_docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))
