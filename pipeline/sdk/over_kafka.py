"""Events straight to Kafka's topic `usage.events` (R2.1), for deployments that may produce to it."""

import asyncio
import logging
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.domain.records import EVENTS_TOPIC
from pipeline.sdk.transport import Answered, Away, Outcome, TooLarge

log = logging.getLogger(__name__)

CLOSE_S_MAX = 3.0
_HEADERS = [("content-type", b"application/cloudevents-batch+json")]
_abandoned: list[object] = []
"""Loops and producers of a parent process: were they collected here, they would meddle with its connections."""


class _Loop(asyncio.SelectorEventLoop):
    """Looks names up in its own thread: at the interpreter's end, when the last events go out, none can be started."""

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> Any:
        """Look an address up; nothing else waits for this loop."""
        return socket.getaddrinfo(*args, **kwargs)


class KafkaTransport:
    """Produces batches, idempotent and acknowledged by all replicas. `arguments` are those of aiokafka's producer."""

    def __init__(
        self,
        bootstrap: str,
        customer: str,
        *,
        topic: str = EVENTS_TOPIC,
        timeout_s: float = 10.0,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self._arguments = {"client_id": "usage-sdk"} | dict(arguments or {})
        self._bootstrap = bootstrap
        self._topic = topic
        self._key = customer.encode()
        self._timeout_s = timeout_s
        self._loop: _Loop | None = None
        self._producer: Any = None

    @property
    def endpoint(self) -> str:
        """Return brokers and topic."""
        return f"kafka://{self._bootstrap}/{self._topic}"

    def send(self, events: Sequence[bytes]) -> Outcome:
        """Produce a batch as one record, and wait until it is acknowledged."""
        from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError  # noqa: PLC0415

        if self._loop is None:
            self._loop = _Loop()
        try:
            self._loop.run_until_complete(
                asyncio.wait_for(self._send(b"[" + b",".join(events) + b"]"), self._timeout_s)
            )
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            return TooLarge("too_large", str(error))
        except Exception as error:  # noqa: BLE001 - aiokafka raises what its sockets raise too
            self._drop_producer()  # its state may be beyond use
            return Away(f"{type(error).__name__}: {error}")
        return Answered()

    def close(self) -> None:
        """Close the producer and its loop."""
        if self._loop is not None:
            self._drop_producer()
            self._loop.close()
            self._loop = None

    def forget(self) -> None:
        """Leave the parent's connections alone."""
        if self._loop is not None:
            _abandoned.append((self._loop, self._producer))
            self._loop = self._producer = None

    async def _send(self, value: bytes) -> None:
        if self._producer is None:
            self._producer = self._new_producer()
            await self._producer.start()
        await self._producer.send_and_wait(self._topic, value, key=self._key, headers=_HEADERS)

    def _new_producer(self) -> Any:
        from aiokafka import AIOKafkaProducer  # noqa: PLC0415

        return AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=int(self._timeout_s * 1000),
            **self._arguments,
        )

    def _drop_producer(self) -> None:
        """Stop the producer at once: it would go on to try what is sent again by another."""
        producer, self._producer = self._producer, None
        if producer is None or self._loop is None:
            return
        self._loop.run_until_complete(_cancel_others())
        try:
            self._loop.run_until_complete(asyncio.wait_for(producer.stop(), CLOSE_S_MAX))
        except Exception as error:  # noqa: BLE001 - as above; it is gone either way
            log.debug("a producer did not stop in order: %r", error)
        self._loop.run_until_complete(_cancel_others())


async def _cancel_others() -> None:
    """Cancel all tasks of the loop but this one."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), CLOSE_S_MAX)
