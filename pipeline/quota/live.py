"""Quota that follows its source in a thread of its own, for hosts that must not wait for it."""

import asyncio
import atexit
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

from pipeline.domain.catalog import Catalog
from pipeline.quota.board import Board
from pipeline.quota.book import AnswerBook
from pipeline.quota.waiting import Waiting

STOP_S_MAX = 2.0
"""How long the thread may take to let go of its connections."""
AGAIN_S = 1.0
"""How long it rests after a fault of ours."""

log = logging.getLogger(__name__)


class Source(Protocol):
    """What keeps a board up to date."""

    fault: str | None

    async def run(self) -> None:
        """Follow for ever."""


class LiveQuota:
    """A board, its answers, and the thread that keeps both up to date; after a fork the child begins anew."""

    def __init__(self, make: Callable[[Board, AnswerBook], Source]) -> None:
        self._make = make
        self._closed = False
        self._begin()
        self.start()
        _alive.add(self)

    def _begin(self) -> None:
        board = Board()
        self.book = AnswerBook(board)
        self.waiting = Waiting()
        board.subscribe(self.waiting.tell)
        self._source = self._make(board, self.book)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    @property
    def fault(self) -> str | None:
        """Return why the source is not followed at the moment."""
        return self._source.fault

    def start(self) -> None:
        """Start the thread, unless it runs or everything is closed."""
        with self._starting:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="usage-quota", daemon=True)
                self._thread.start()

    def use(self, catalog: Catalog) -> None:
        """Answer by another catalog from now on."""
        self.book.use(catalog)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(self.book.wake)

    def close(self) -> None:
        """Stop following; what is known goes on getting older."""
        self._closed = True
        loop, stopping, thread = self._loop, self._stopping, self._thread
        if loop is not None and stopping is not None and thread is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended before
                loop.call_soon_threadsafe(stopping.set)
            if thread is not threading.current_thread():
                thread.join(STOP_S_MAX)

    def after_fork(self) -> None:
        """Begin anew, with the thread to be started when it is needed."""
        _abandoned.append((self.book, self._source, self._loop))
        self._begin()

    def _run(self) -> None:
        asyncio.run(self._work())

    async def _work(self) -> None:
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(_for_ever(each)) for each in (self._source.run, self.book.run)]
        if not self._closed:
            await self._stopping.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _for_ever(work: Callable[[], object]) -> None:
    """Do something that ends only by a fault of ours, and do it again after that."""
    while True:
        try:
            await work()  # type: ignore[misc]
        except Exception:
            log.exception("following the quota is disturbed, and begins again")
        await asyncio.sleep(AGAIN_S)


_alive: "weakref.WeakSet[LiveQuota]" = weakref.WeakSet()
_abandoned: list[object] = []
"""What a forked process has of its parent's: were it collected, it would take leave of the parent's connections."""


def _close_all() -> None:
    for live in list(_alive):
        live.close()


def _after_fork() -> None:
    for live in list(_alive):
        live.after_fork()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
