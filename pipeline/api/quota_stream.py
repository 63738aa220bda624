"""`GET /v1/quota/{customer}/stream`: a customer's quota as server-sent events, for gates (docs/quota.md)."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import msgspec
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from fastapi.security import HTTPAuthorizationCredentials
from sse_starlette import EventSourceResponse, ServerSentEvent

from pipeline.access import readable_apps
from pipeline.api import quota_routes, quota_schemas
from pipeline.api.guard import Authenticated, authenticate
from pipeline.api.problems import Problem, try_again_later
from pipeline.api.quota_routes import readable_board, require_customer
from pipeline.api.quota_views import Apps, shown_record, shown_view
from pipeline.domain.catalog import Catalog
from pipeline.domain.terms import TermsIndex
from pipeline.quota.board import Board
from pipeline.quota.follow import QuotaFollower
from pipeline.settings.clients import kafka_arguments

STREAMS_MAX = 1_000
STREAMS_OF_KEY_MAX = 100
QUEUE_MAX = 16
"""Records that wait for a slow client; of more the last ones, each of which says everything."""
AGE_EVERY_S = 2.0
"""How often a stream says how old what it knows is, and looks whether its key still holds."""
SEND_S_MAX = 10.0
"""A client that takes nothing for so long is let go."""
RETRY_S = 10

router = APIRouter(tags=["quota"])


class Streams:
    """How many streams are open, by key."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """Return how many are."""
        return self._open.total()

    def check(self, key_id: str) -> None:
        """Raise Problem (429) when there is no room for another stream."""
        if self._open[key_id] >= STREAMS_OF_KEY_MAX or self._open.total() >= STREAMS_MAX:
            raise try_again_later(429, "too-many-streams", "Too many streams are open.", after_s=RETRY_S)

    @contextmanager
    def counted(self, key_id: str) -> Iterator[None]:
        """Count a stream while the block runs."""
        self._open[key_id] += 1
        try:
            yield
        finally:
            self._open[key_id] -= 1
            if not self._open[key_id]:
                del self._open[key_id]


def install_quota(app: FastAPI, routes: APIRouter) -> None:
    """Give an application with settings and catalog the quota routes, and as `state.quota` what is to be started for them."""
    app.state.board = Board()
    app.state.index = TermsIndex(app.state.catalog)
    app.state.streams = Streams()
    app.state.quota = QuotaFollower(kafka_arguments(app.state.settings), app.state.board)
    routes.include_router(quota_routes.router)
    routes.include_router(router)


class _Version(msgspec.Struct):
    version: int


_version_of = msgspec.json.Decoder(_Version).decode


@router.get("/quota/{customer}/stream", response_class=Response, **quota_schemas.GET_STREAM)
async def get_quota_stream(request: Request, customer: str, caller: Authenticated) -> Response:
    """Stream a customer's quota: first `view` and the present `quota`, then `quota` at every change.

    The id of `quota` is the record's version, its data the record. `age` says every two seconds how old what is known is
    (`age_ms`); `end` says why the stream ends, such as a key that was revoked.
    """
    catalog: Catalog = request.app.state.catalog
    require_customer(caller, catalog, customer)
    board = readable_board(request)
    streams: Streams = request.app.state.streams
    streams.check(caller.principal.key_id)
    apps = readable_apps(caller.principal, catalog)
    events = _events(request, board, catalog, customer, apps, caller.principal.key_id)
    return EventSourceResponse(events, send_timeout=SEND_S_MAX)


async def _events(
    request: Request, board: Board, catalog: Catalog, customer: str, apps: Apps, key_id: str
) -> AsyncIterator[ServerSentEvent]:
    waiting: deque[bytes] = deque(maxlen=QUEUE_MAX)
    woken = asyncio.Event()

    def on_change(_: str, value: bytes | None) -> None:
        waiting.append(board.value(customer) if value is None else value)
        woken.set()

    unsubscribe = board.subscribe(on_change, customer)
    try:
        with request.app.state.streams.counted(key_id):
            yield ServerSentEvent(shown_view(catalog, customer, apps).decode(), event="view")
            yield _quota(board.value(customer), catalog, apps)
            said_s = 0.0
            while True:
                if time.monotonic() - said_s >= AGE_EVERY_S:
                    said_s = time.monotonic()
                    if (ended := await _refusal(request, catalog, customer)) is not None:
                        yield ServerSentEvent(ended, event="end")
                        return
                    yield ServerSentEvent(f'{{"age_ms":{board.age_ms()}}}', event="age")
                await _wait(woken, said_s + AGE_EVERY_S - time.monotonic())
                woken.clear()
                while waiting:
                    yield _quota(waiting.popleft(), catalog, apps)
    finally:
        unsubscribe()


def _quota(value: bytes, catalog: Catalog, apps: Apps) -> ServerSentEvent:
    version = _version_of(value).version
    return ServerSentEvent(shown_record(value, catalog, apps).decode(), event="quota", id=str(version))


async def _refusal(request: Request, catalog: Catalog, customer: str) -> str | None:
    """Return why the caller may not read any more, by the same checks as at the start."""
    _, _, token = request.headers["authorization"].partition(" ")
    credentials = HTTPAuthorizationCredentials(scheme="Bearer", credentials=token.strip())
    try:
        require_customer(await authenticate(request, credentials), catalog, customer)
    except Problem as problem:
        return problem.detail
    return None


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
