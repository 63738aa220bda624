"""Follow `billing.catalog`: every version as it comes."""

import asyncio
import logging
from collections.abc import Callable

from aiokafka.errors import KafkaError

from pipeline.domain.catalog import Catalog
from pipeline.domain.records import CATALOG_TOPIC
from pipeline.published.versions import Versions, open_consumer, read_to_end, take
from pipeline.settings import Settings

SAY_S = 10.0
"""How often it is said that a version is waited for."""
_POLL_MS = 1_000
_PAUSE_FIRST_S = 0.2
_PAUSE_S_MAX = 5.0

log = logging.getLogger(__name__)


class VersionFollower:
    """Keeps the versions up to date. `on_latest` is called with the catalog whenever another one is the latest."""

    def __init__(self, settings: Settings, on_latest: Callable[[Catalog], None] | None = None) -> None:
        self.versions = Versions()
        self.waiting = 0
        """How many wait for a version."""
        self._settings = settings
        self._on_latest = on_latest
        self._latest: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._came = asyncio.Condition()

    async def start(self) -> None:
        """Begin to follow."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait_for(self, digest: str, who: str) -> None:
        """Wait until a version is there, saying again and again who waits for it."""
        await self._wait(lambda: digest in self.versions, f"{who} waits for catalog version {digest}")

    async def wait_for_any(self, who: str) -> str:
        """Wait until there is a version, and return the digest of the first one."""
        await self._wait(lambda: self.versions.first is not None, f"{who} waits for a catalog: none is published")
        first = self.versions.first
        assert first is not None
        return first

    async def _wait(self, is_there: Callable[[], bool], what: str) -> None:
        self.waiting += 1
        try:
            async with self._came:
                while not is_there():
                    try:
                        async with asyncio.timeout(SAY_S):
                            await self._came.wait_for(is_there)
                    except TimeoutError:
                        log.warning("%s (on %s): publish it with `usage catalog publish`", what, CATALOG_TOPIC)
        finally:
            self.waiting -= 1

    async def _run(self) -> None:
        pause_s = _PAUSE_FIRST_S
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError) as error:
                log.warning("%s cannot be read: %s", CATALOG_TOPIC, str(error) or type(error).__name__)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_S_MAX)

    async def _follow(self) -> None:
        consumer = await open_consumer(self._settings)
        try:
            await read_to_end(consumer, self.versions)
            await self._announce()
            while True:
                if await take(consumer, self.versions, _POLL_MS):
                    await self._announce()
        finally:
            await consumer.stop()

    async def _announce(self) -> None:
        latest = self.versions.latest
        if latest is not None and latest != self._latest:
            self._latest = latest
            if self._on_latest is not None:
                self._on_latest(await asyncio.to_thread(self.versions.catalog, latest))
        async with self._came:
            self._came.notify_all()
