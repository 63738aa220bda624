"""Records to Kafka, acknowledged: what is not certainly there is never called accepted."""

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from pipeline.api.bodies import InFlight
from pipeline.settings import Settings
from pipeline.settings.clients import kafka_arguments

REQUEST_BYTES_MAX = 2 << 20
"""A record has at most 1 MiB (R2.1), beside its key and headers."""
_LINGER_MS = 2
_PAUSE_FIRST_S = 0.2
_PAUSE_S_MAX = 5.0
_CLOSE_S_MAX = 5.0
_PROBE_S_MAX = 2.0
_PROBE_AGE_S_MAX = 1.0

log = logging.getLogger(__name__)


class Outgoing(NamedTuple):
    """A record to write."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int


class NotDeliveredError(Exception):
    """Records are not acknowledged; unless `uncertain`, none of them was handed to Kafka."""

    def __init__(self, reason: str, *, uncertain: bool) -> None:
        super().__init__(reason)
        self.uncertain = uncertain


class Delivery:
    """An idempotent producer that waits for every acknowledgement, but not for ever."""

    def __init__(self, settings: Settings, in_flight: InFlight) -> None:
        self._settings = settings
        self._in_flight = in_flight
        self._timeout_s = settings.api_ack_timeout_ms / 1000
        self._producer: AIOKafkaProducer | None = None
        self.connected = asyncio.Event()
        """Set once Kafka has answered for the first time."""
        self._connecting: asyncio.Task[None] | None = None
        self._overdue: set[asyncio.Future[object]] = set()
        """What nobody waits for any more, and Kafka still has to acknowledge."""
        self._probe = (float("-inf"), False)
        self._probing = asyncio.Lock()

    async def start(self) -> None:
        """Begin to connect; until that is done, nothing is taken."""
        self._connecting = asyncio.create_task(self._connect())

    async def stop(self) -> None:
        """Disconnect, giving what is under way a moment."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._producer is not None:
            await _close(self._producer)

    def check(self) -> None:
        """Raise NotDeliveredError when there is no use in trying."""
        if self._producer is None:
            raise NotDeliveredError(f"Kafka at {self._settings.kafka} is not connected", uncertain=False)
        if self._overdue:
            raise NotDeliveredError("Kafka does not acknowledge what it was given", uncertain=False)

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Return once every record is acknowledged. Raises NotDeliveredError."""
        self.check()
        producer = self._producer
        assert producer is not None
        sent: list[asyncio.Future[object]] = []
        try:
            async with asyncio.timeout(self._timeout_s):
                for each in records:
                    place = {"key": each.key, "headers": list(each.headers), "timestamp_ms": each.timestamp_ms}
                    sent.append(await producer.send(each.topic, each.value, **place))
                await asyncio.wait(sent)  # unlike gather, it leaves them alone when time is up
            for future in sent:
                future.result()
        except (TimeoutError, KafkaTimeoutError):
            self._leave(sent, records)
            raise NotDeliveredError(f"no acknowledgement within {self._timeout_s:g} s", uncertain=bool(sent)) from None
        except KafkaError as error:
            self._leave(sent, records)
            self._replace(producer, error)
            raise NotDeliveredError(f"Kafka refused: {type(error).__name__}", uncertain=bool(sent)) from error

    async def is_reachable(self) -> bool:
        """Return whether Kafka answers and acknowledges; asked anew at most once a second."""
        if self._overdue:
            return False
        async with self._probing:
            asked_at_s, answered = self._probe
            if time.monotonic() - asked_at_s < _PROBE_AGE_S_MAX:
                return answered
            self._probe = (time.monotonic(), await self._ask())
            return self._probe[1]

    async def _ask(self) -> bool:
        if self._producer is None:
            return False
        try:
            return bool(await asyncio.wait_for(self._producer.client.force_metadata_update(), _PROBE_S_MAX))
        except (TimeoutError, KafkaError, OSError):
            return False

    def _leave(self, sent: Sequence[asyncio.Future[object]], records: Sequence[Outgoing]) -> None:
        """Go on counting the bytes of what the producer still holds: it tries until Kafka has them."""
        for future, record in zip(sent, records, strict=False):
            if future.done():
                future.exception()
                continue
            self._overdue.add(future)
            self._in_flight.held_bytes += len(record.value)
            future.add_done_callback(partial(self._settle, len(record.value)))

    def _settle(self, size: int, future: asyncio.Future[object]) -> None:
        self._overdue.discard(future)
        self._in_flight.give(size)
        if not future.cancelled():
            future.exception()  # it was reported as uncertain already

    def _replace(self, broken: AIOKafkaProducer, error: KafkaError) -> None:
        """Connect anew: a producer whose batch was refused for good has a gap in its sequence."""
        if self._producer is not broken:
            return
        log.error("Kafka refused a record, connecting anew: %r", error)
        self._producer = None
        self._connecting = asyncio.create_task(self._connect(broken))

    async def _connect(self, broken: AIOKafkaProducer | None = None) -> None:
        if broken is not None:
            await _close(broken)
        pause_s = _PAUSE_FIRST_S
        while True:
            producer = AIOKafkaProducer(
                **kafka_arguments(self._settings),
                client_id="usage-api",
                acks="all",
                enable_idempotence=True,
                linger_ms=_LINGER_MS,
                max_request_size=REQUEST_BYTES_MAX,
                request_timeout_ms=self._settings.api_ack_timeout_ms,
            )
            try:
                await producer.start()
            except (KafkaError, OSError) as error:
                await _close(producer)
                log.warning("Kafka at %s: %s", self._settings.kafka, error)
            else:
                self._producer = producer
                self.connected.set()
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_S_MAX)


async def _close(producer: AIOKafkaProducer) -> None:
    """Close a producer, but do not wait for ever: it tries to get rid of what it holds."""
    closing = asyncio.ensure_future(producer.stop())
    done, _ = await asyncio.wait({closing}, timeout=_CLOSE_S_MAX)
    for task in done:
        if not task.cancelled() and task.exception() is not None:
            log.warning("closing the connection to Kafka: %r", task.exception())
    closing.cancel()
