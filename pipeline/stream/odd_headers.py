"""Reading past records whose header names are not UTF-8.

Kafka takes such records, and Java's client reads them with replacement characters. But aiokafka's parser raises
UnicodeDecodeError, and does so again at every start: one byte of one sender would stop a partition for good. So when a
read fails in this way, partitions are read anew from where they stood, by a parser that replaces what is no UTF-8. No name
that rating looks at comes about by that. It is slow, and only reads that have failed come here.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy

from pipeline.domain.records import Record
from pipeline.stream.chunks import ChunkConsumer, PartitionChunks

FETCH_BYTES_MAX = 4 << 20
"""What a fetch brings of a partition, the consumer's own and the lenient one: what failed must lie within one of ours. A
single larger record or batch still comes whole (KIP-74)."""
_MAGIC_OFFSET = 16
_MAGIC_WITH_HEADERS = 2
_ABORTED_FROM_END = 2
_RACK_AWARE_VERSION = 11
"""From this version of the response on, the aborted transactions stand one place further from the end."""

log = logging.getLogger(__name__)


class _Buffer(bytearray):
    """Bytes whose pieces, read as text, have replacement characters where they are no UTF-8."""

    def __getitem__(self, index: Any) -> Any:
        piece = super().__getitem__(index)
        return _Piece(piece) if isinstance(index, slice) else piece


class _Piece(bytearray):
    """A piece of a buffer."""

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:  # noqa: ARG002 - the parser's is strict
        """Return the piece as text."""
        return super().decode(encoding, "replace")


class _Batch(_DefaultRecordBatchPy):  # type: ignore[misc, unused-ignore] # final to type checkers only
    """A record batch that is read leniently."""

    _buffer: Any

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Buffer(self._buffer)


class _Batches(_MemoryRecordsPy):  # type: ignore[misc, unused-ignore]
    """The batches of a fetch, those that can have headers read leniently."""

    def next_batch(self, *_: Any) -> Any:
        """Return the next batch."""
        data = self._next_slice
        if data is None or data[_MAGIC_OFFSET] < _MAGIC_WITH_HEADERS:
            return super().next_batch()
        self._cache_next()
        return _Batch(data)


Chunks = dict[TopicPartition, list[list[Record]]]


async def fetched_chunks(
    consumer: ChunkConsumer,
    positions: Callable[[], Mapping[TopicPartition, int]],
    timeout_s: float,
    chunks_max: int,
) -> Chunks:
    """Return what the consumer has fetched of partitions, as its fetcher does, whatever their header names are.

    `positions` says of which partitions, and where what was handed over of each ends: when a read fails, what it had
    taken from others is lost, so they are sought back to there.
    """
    wanted = set(positions())
    try:
        with consumer._subscription.fetch_context():  # noqa: SLF001 - as Faust does; else we count as idle, and lose the group
            chunks: Chunks = await consumer._fetcher.fetched_records(wanted, timeout=timeout_s, max_records=chunks_max)  # noqa: SLF001
    except UnicodeDecodeError:
        return await _read_leniently(consumer, positions)
    return chunks


async def _read_leniently(consumer: ChunkConsumer, positions: Callable[[], Mapping[TopicPartition, int]]) -> Chunks:
    """Return records of the first partition that cannot be read otherwise, and seek behind them."""
    stands = dict(positions())
    for tp, position in stands.items():
        _seek(consumer, tp, position)
    for tp, position in stands.items():
        fetched = await _fetch(consumer, tp, position)
        if fetched is None or not _is_odd(fetched[0]):
            continue
        if positions().get(tp) != position:
            return {}  # dealt out anew, or sought anew, meanwhile
        data, aborted = fetched
        records = PartitionChunks(tp, _Batches(data), aborted, position, None, None, True, _isolation(consumer))
        chunks = list(records)
        _seek(consumer, tp, records.next_fetch_offset)
        log.warning(
            "%s/%d: offsets %d to %d hold header names that are not UTF-8: read with replacement characters",
            *tp,
            position,
            records.next_fetch_offset - 1,
        )
        return {tp: chunks}
    log.warning("a record could not be read, and is not found again where it should be: reading anew")
    return {}


async def _fetch(consumer: ChunkConsumer, tp: TopicPartition, position: int) -> tuple[bytes, Any] | None:
    """Return the record batches at a position and the transactions that were aborted; None when they cannot be had now."""
    client = consumer._client  # noqa: SLF001 - its connections, which know how to log in
    leader = client.cluster.leader_for_partition(tp)
    if leader is None:
        return None
    partition = (tp.partition, position, FETCH_BYTES_MAX)
    request = FetchRequest(0, 1, FETCH_BYTES_MAX, _isolation(consumer), [(tp.topic, [partition])])
    try:
        response = await client.send(leader, request)
    except KafkaError as failure:
        log.warning("%s/%d cannot be read: %r", *tp, failure)
        return None
    ((_, ((_, error_code, _, *rest),)),) = response.topics
    if error_code:
        return None  # the fetcher meets it too, and knows what to do
    aborted = rest[-_ABORTED_FROM_END - (response.API_VERSION >= _RACK_AWARE_VERSION)]
    return rest[-1], aborted


def _is_odd(data: bytes) -> bool:
    """Tell whether the ordinary parser fails at a header name."""
    batches = MemoryRecords(data)
    try:
        while batches.has_next():
            for _ in batches.next_batch():
                pass
    except UnicodeDecodeError:
        return True
    return False


def _seek(consumer: ChunkConsumer, tp: TopicPartition, position: int) -> None:
    if consumer._subscription.is_assigned(tp):  # noqa: SLF001 - else it is sought when it is assigned again
        consumer.seek(TopicPartition(*tp), position)


def _isolation(consumer: ChunkConsumer) -> int:
    isolation: int = consumer._fetcher._isolation_level  # noqa: SLF001 - as the fetcher reads
    return isolation
