"""What ClickHouse will never take goes to `usage.dead-letter`, acknowledged, and is logged: never lost, never in the way."""

import logging

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from pipeline.domain.records import DEAD_LETTER_TOPIC
from pipeline.settings import Settings
from pipeline.settings.clients import kafka_arguments
from pipeline.sink.blocks import Piece

log = logging.getLogger(__name__)

MALFORMED = "malformed"
REQUEST_BYTES_MAX = 16 * 1024 * 1024
"""What the topic takes at most (schemas/topics/usage.dead-letter.yaml)."""
_CUT_BYTES = 512 * 1024
_KEPT_HEADERS = frozenset({"content-type", "columns"})
"""What tells a reader how the bytes are to be read."""


class DeadLetters:
    """Writes refused pieces to the dead-letter topic; connects at the first one."""

    def __init__(self, settings: Settings) -> None:
        self._arguments = kafka_arguments(settings)
        self._producer: AIOKafkaProducer | None = None

    async def send(self, piece: Piece, reason: str) -> None:
        """Write a piece's bytes with its position and the reason, and await the acknowledgement. Raises KafkaError."""
        producer = await self._started()
        headers = _headers(piece, reason)
        try:
            await producer.send_and_wait(DEAD_LETTER_TOPIC, piece.original, key=piece.record.key, headers=headers)
        except MessageSizeTooLargeError:
            cut = [*headers, ("cut-from", str(len(piece.original)).encode())]
            await producer.send_and_wait(
                DEAD_LETTER_TOPIC, piece.original[:_CUT_BYTES], key=piece.record.key, headers=cut
            )
        log.error("refused and put to %s: %s: %s", DEAD_LETTER_TOPIC, piece.where(), reason)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **self._arguments,
                client_id="usage-sink",
                acks="all",
                enable_idempotence=True,
                max_request_size=REQUEST_BYTES_MAX,
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer


def _headers(piece: Piece, reason: str) -> list[tuple[str, bytes]]:
    record = piece.record
    headers = [
        ("code", MALFORMED.encode()),
        ("message", reason.encode()),
        ("source-topic", record.topic.encode()),
        ("source-partition", str(record.partition).encode()),
        ("source-offset", str(record.offset).encode()),
        ("source-timestamp", str(record.timestamp).encode()),
    ]
    if piece.line is not None:
        headers.append(("source-index", str(piece.line - 1).encode()))
    headers += [(name, value) for name, value in record.headers if name in _KEPT_HEADERS]
    return headers
