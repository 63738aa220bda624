"""Following one customer's quota by the API's stream, for gates that may not read Kafka (docs/quota.md)."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec

from pipeline.codec.catalog_view import decode_view
from pipeline.domain.catalog import Catalog
from pipeline.quota.board import Board
from pipeline.quota.sse import EventParser, ServerEvent

if TYPE_CHECKING:
    import httpx

SILENCE_S_MAX = 10.0
"""After so long without a word the connection counts as lost; the API says every two seconds how old what it knows is."""
CONNECT_S_MAX = 5.0
PAUSE_FIRST_S = 0.2
PAUSE_S_MAX = 10.0
_LOCAL = ("127.0.0.1", "::1", "localhost")

log = logging.getLogger(__name__)


class _LostError(Exception):
    """The stream cannot be followed at the moment; the message says why."""


class _Age(msgspec.Struct):
    age_ms: int


class StreamFollower:
    """Keeps a board up to date with one customer; `on_view` is told the catalog, `on_turn` is called after each event.

    `ca_file` replaces the known authorities. Raises ValueError when the address or the key cannot be used.
    """

    def __init__(
        self,
        url: str,
        key: str,
        customer: str,
        board: Board,
        on_view: Callable[[Catalog], None],
        on_turn: Callable[[], None],
        *,
        ca_file: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ValueError("the API's address must be https://HOST or http://HOST, without a user or password")
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("the API key is empty, or holds what no key holds: is it the key alone?")
        if parts.scheme == "http" and parts.hostname not in _LOCAL:
            log.warning("the API key goes to %s unencrypted: use https://", parts.hostname)
        base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"
        self._url = f"{base}/v1/quota/{quote(customer, safe='')}/stream"
        self._headers = {"authorization": f"Bearer {key}", "accept": "text/event-stream"}
        self._customer = customer
        self._board = board
        self._on_view = on_view
        self._on_turn = on_turn
        self._ca_file = ca_file
        self.fault: str | None = "the quota stream is not read yet"
        """Why the stream is not followed at the moment."""

    async def run(self) -> None:
        """Follow for ever; connect again when the stream ends, after pauses that grow."""
        import httpx  # noqa: PLC0415 - slow to import, and not needed by every host of the SDK

        pause_s = PAUSE_FIRST_S
        async with self._client(httpx) as client:
            while True:
                try:
                    await self._follow(client)
                except (
                    httpx.HTTPError,
                    httpx.InvalidURL,
                    OSError,
                    ValueError,
                    msgspec.MsgspecError,
                    _LostError,
                ) as error:
                    pause_s = PAUSE_FIRST_S if self.fault is None else min(pause_s * 2, PAUSE_S_MAX)
                    self.fault = f"the quota stream is lost: {str(error) or type(error).__name__}"
                    log.warning("%s", self.fault)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - so that gates do not come all at once

    def _client(self, httpx: Any) -> "httpx.AsyncClient":
        import ssl  # noqa: PLC0415

        verify = ssl.create_default_context(cafile=self._ca_file) if self._ca_file else True
        timeout = httpx.Timeout(SILENCE_S_MAX, connect=CONNECT_S_MAX)
        return httpx.AsyncClient(timeout=timeout, verify=verify)  # type: ignore[no-any-return]

    async def _follow(self, client: "httpx.AsyncClient") -> None:
        """Read one connection to its end."""
        async with client.stream("GET", self._url, headers=self._headers) as response:
            media_type = response.headers.get("content-type", "").partition(";")[0]
            if response.status_code != HTTPStatus.OK or media_type != "text/event-stream":
                raise _LostError(f"{self._url} answers {response.status_code} {media_type}")
            parser = EventParser()
            async for piece in response.aiter_bytes():
                for event in parser.feed(piece):
                    self._take(event)
        raise _LostError("it ended")

    def _take(self, event: ServerEvent) -> None:
        """Apply an event. Raises ValueError, _LostError."""
        if event.name == "view":
            self._on_view(decode_view(event.data))
        elif event.name == "quota":
            self._board.put(self._customer, event.data)
        elif event.name == "age":
            age = msgspec.json.decode(event.data, type=_Age)
            self._board.read_at(time.monotonic() - age.age_ms / 1000)
            self.fault = None
        elif event.name == "end":
            raise _LostError(event.data.decode(errors="replace")[:200])
        self._on_turn()
