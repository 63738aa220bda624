"""Reading what was fetched by chunks of our records, where aiokafka makes three objects and a generator's step of each.

What is read is the same: checksums, aborted transactions, control records and gaps are looked at as aiokafka does.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException

from pipeline.domain.records import Record

CHUNK_RECORDS = 20
"""Records of a chunk; a batch's last one may have fewer."""


class PartitionChunks(PartitionRecords):  # type: ignore[misc, unused-ignore] # aiokafka is untyped
    """What was fetched of one partition; a step of it gives the next chunk, a list of records."""

    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[list[Record]]:
        topic, partition = self._tp
        while self._records.has_next():
            batch = self._records.next_batch()
            if self._is_wanted(batch):
                rows = chain(batch)  # a batch can be asked for its iterator only once
                while taken := list(islice(rows, CHUNK_RECORDS)):
                    start = self.next_fetch_offset  # a compressed batch may begin before it
                    chunk = [
                        Record(topic, partition, row.offset, row.timestamp, row.key, row.value, tuple(row.headers))
                        for row in taken
                        if row.offset >= start
                    ]
                    if chunk:
                        self.next_fetch_offset = chunk[-1].offset + 1
                        yield chunk
            self.next_fetch_offset = batch.next_offset

    def _is_wanted(self, batch: Any) -> bool:
        """Say whether a batch holds records for us; raise CorruptRecordException when it is damaged."""
        if self._check_crcs and not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {self._tp}")
        if self._isolation_level == READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and self._contains_abort_marker(batch):
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return False
        return not batch.is_control_batch


def chunks_of(records: PartitionRecords) -> PartitionChunks:
    """Return the chunks of records that nobody has begun to read, and nobody will."""
    records._records_iterator = None  # noqa: SLF001 - it holds `records`, and so what was fetched, until the next gc
    return PartitionChunks(
        records._tp,  # noqa: SLF001 - there is no public way
        records._records,  # noqa: SLF001
        records._aborted_transactions,  # noqa: SLF001
        records.next_fetch_offset,
        None,
        None,
        records._check_crcs,  # noqa: SLF001
        records._isolation_level,  # noqa: SLF001
    )


class _ChunkedResults(OrderedDict[TopicPartition, Any]):
    """What the fetcher has fetched, by partition."""

    def __setitem__(self, tp: TopicPartition, result: Any) -> None:
        if type(result) is FetchResult:
            result._partition_records = chunks_of(result._partition_records)  # noqa: SLF001
        super().__setitem__(tp, result)


class ChunkConsumer(AIOKafkaConsumer):  # type: ignore[misc, unused-ignore]
    """A consumer whose fetcher hands over chunks in place of records; its limits count chunks."""

    async def start(self) -> None:
        """Connect; the fetcher has fetched nothing yet, for nothing is assigned."""
        await super().start()
        self._fetcher._records = _ChunkedResults()  # noqa: SLF001
