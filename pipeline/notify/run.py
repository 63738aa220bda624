"""All targets side by side, until a stop."""

import asyncio
import logging
from collections.abc import Sequence

from aiokafka.errors import KafkaError

from pipeline.domain.catalog import Catalog
from pipeline.notify.delivery import Delivery, NoTopicError
from pipeline.notify.letters import Undeliverables
from pipeline.notify.mail import MailSender
from pipeline.notify.sending import Sender
from pipeline.notify.stdout import StdoutSender
from pipeline.notify.targets import SmtpTarget, Target, WebhookTarget
from pipeline.notify.webhook import WebhookSender
from pipeline.observe.counters import Counters
from pipeline.observe.endpoint import Endpoint, MetricsPortError
from pipeline.settings import Settings

log = logging.getLogger(__name__)

STOP_S_MAX = 15.0
"""How long attempts may still take after a stop; what they do not finish is delivered again."""


class Alerts:
    """Delivers alerts to targets, each at its own pace."""

    def __init__(self, settings: Settings, catalog: Catalog | None, targets: Sequence[Target]) -> None:
        self._letters = Undeliverables(settings)
        self.counters = Counters()
        self._deliveries = [
            Delivery(settings, catalog, target, sender_of(target), self._letters, self.counters) for target in targets
        ]
        for each in self._deliveries:
            self.counters.add("alerts_given_up", 0, each.target)  # so that the first one is seen as a step
        self._endpoint = Endpoint(settings, "alerts", self.counters, self.faults, self.refresh)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Finish what is under way, commit, and leave the groups."""
        self._stopping.set()
        for delivery in self._deliveries:
            delivery.stop()

    async def ready(self) -> None:
        """Return when every target has its partitions."""
        await asyncio.gather(*(delivery.ready.wait() for delivery in self._deliveries))

    async def faults(self) -> list[str]:
        """Return which targets wait for their partitions."""
        return [f"target {each.target} has no partitions" for each in self._deliveries if not each.ready.is_set()]

    async def refresh(self) -> None:
        """Bring the gauges up to date."""
        for delivery in self._deliveries:
            self.counters.level("alerts_waiting", delivery.waiting, delivery.target)

    async def run(self) -> int:
        """Deliver until `stop`, and return the exit code: 0 after a stop, 1 when a target cannot go on."""
        try:
            await self._endpoint.start()
        except MetricsPortError as error:
            log.critical("%s", error)
            return 1
        try:
            return await self._deliver()
        finally:
            await self._endpoint.stop()

    async def _deliver(self) -> int:
        tasks = [asyncio.create_task(delivery.run()) for delivery in self._deliveries]
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
            self.stop()
            await asyncio.wait(tasks, timeout=STOP_S_MAX)
        finally:
            for task in (stopping, *tasks):
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await self._letters.close()
        return _exit_code(results)


def _exit_code(results: Sequence[BaseException | None]) -> int:
    failures = [each for each in results if isinstance(each, Exception)]
    for failure in failures:
        known = isinstance(failure, KafkaError | NoTopicError | BrokenPipeError)
        log.critical("%s", failure if known else repr(failure), exc_info=None if known else failure)
    return 1 if failures else 0


def sender_of(target: Target) -> Sender:
    """Return what delivers to a target. Raises TargetError when its secret is not there."""
    if isinstance(target, WebhookTarget):
        return WebhookSender(target)
    if isinstance(target, SmtpTarget):
        return MailSender(target)
    return StdoutSender(target)
