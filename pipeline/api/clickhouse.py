"""Questions to ClickHouse: a few at a time, in threads of their own, each within a time limit."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.api.problems import Problem, try_again_later
from pipeline.settings import Settings
from pipeline.settings.clients import clickhouse_arguments

CLIENTS_MAX = 4
"""Questions that are asked at once; more wait."""
WAITING_MAX = 32
"""Questions that wait or are asked; beyond, clients are asked to come again."""
CONNECT_S_MAX = 3
QUESTION_S_MAX = 20
"""How long ClickHouse may take over one query."""
ANSWER_S_MAX = 30.0
"""How long a request waits for its answer."""
RETRY_S = 5
_NOT_MIGRATED = (60, 81)
"""ClickHouse's UNKNOWN_TABLE and UNKNOWN_DATABASE."""
_REFUSED = (192, 193, 194, 516)
"""ClickHouse's codes of unknown users, wrong or missing passwords, and failed authentication."""
_OVERLOADED = (159, 202, 241)
"""ClickHouse's TIMEOUT_EXCEEDED, TOO_MANY_SIMULTANEOUS_QUERIES and MEMORY_LIMIT_EXCEEDED."""
_REASONS = (
    dict.fromkeys(_NOT_MIGRATED, "ClickHouse has no usage tables yet, `usage migrate` makes them")
    | dict.fromkeys(_REFUSED, "ClickHouse refuses the user of the API")
    | dict.fromkeys(_OVERLOADED, "ClickHouse is overloaded")
)

T = TypeVar("T")

log = logging.getLogger(__name__)


class ClickHouse:
    """Asks ClickHouse; connects when it is first asked, and anew after a failure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(CLIENTS_MAX, thread_name_prefix="clickhouse")
        self._own = threading.local()
        self._clients: set[Client] = set()
        self._room = threading.BoundedSemaphore(WAITING_MAX)

    async def start(self) -> None:
        """Begin without a connection: the API serves the rest while ClickHouse is away."""
        logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # what it logs, it raises too

    async def stop(self) -> None:
        """Give up what still waits, and close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for client in list(self._clients):
            client.close()

    async def ask(self, question: Callable[[Client], T]) -> T:
        """Return what a question finds out with a client. Raises Problem (503) when ClickHouse cannot answer in time."""
        if not self._room.acquire(blocking=False):
            raise _away("too many questions wait for ClickHouse already")
        asked = self._threads.submit(self._answer, question)
        asked.add_done_callback(lambda _: self._room.release())
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await asyncio.wrap_future(asked)
        except TimeoutError:
            raise _away(f"ClickHouse has not answered within {ANSWER_S_MAX:g} s") from None

    def _answer(self, question: Callable[[Client], T]) -> T:
        """Ask from a thread of the pool, with the client that is the thread's own."""
        try:
            return question(self._client())
        except (ClickHouseError, OSError) as error:
            self._drop_client()
            raise _problem_of(error) from error

    def _client(self) -> Client:
        client: Client | None = getattr(self._own, "client", None)
        if client is None:
            client = self._own.client = clickhouse_connect.get_client(
                **clickhouse_arguments(self._settings),
                connect_timeout=CONNECT_S_MAX,
                send_receive_timeout=QUESTION_S_MAX,
                autogenerate_session_id=False,
                query_retries=0,
                settings={"max_execution_time": QUESTION_S_MAX},
            )
            self._clients.add(client)
        return client

    def _drop_client(self) -> None:
        client: Client | None = getattr(self._own, "client", None)
        if client is not None:
            self._own.client = None
            self._clients.discard(client)
            client.close()


def _problem_of(error: Exception) -> Problem:
    """Return what a client is told of a failure, which is logged. Raises what is a fault of ours."""
    code: int | None = getattr(error, "code", None)
    if code is not None and code not in _REASONS:
        raise error
    reason = "ClickHouse does not answer" if code is None else _REASONS[code]
    log.warning("%s: %s", reason, " ".join(str(error).split())[:300])
    return _away(reason)


def _away(reason: str) -> Problem:
    return try_again_later(503, "clickhouse-away", f"{reason}: try again in a moment.", after_s=RETRY_S)
