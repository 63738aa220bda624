"""Record batches that no client of ours would write: header names of any bytes."""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition, codec
from aiokafka.errors import NotLeaderForPartitionError, for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

TRIES_MAX = 50
LENGTH_AT, COUNTED_FROM, CRC_AT, CHECKED_FROM, RECORDS_AT = 8, 12, 17, 21, 61
COMPRESS: dict[int, Callable[[bytes], bytes]] = {
    0: bytes,
    1: codec.gzip_encode,
    2: codec.snappy_encode,
    3: codec.lz4_encode,
    4: codec.zstd_encode,
}
"""By the number in a batch's attributes."""


class RawRecord(NamedTuple):
    """A record whose header names are bytes: UTF-8, or long enough to be told apart."""

    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[bytes, bytes | None]] = ()


def raw_batch(records: Iterable[RawRecord], compression: int = 0) -> bytes:
    """Return a batch; names that are no UTF-8 are put into a finished one in place of others."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 30)
    names: list[bytes] = []
    for offset, record in enumerate(records):
        headers = []
        for name, value in record.headers:
            try:
                headers.append((name.decode(), value))
            except UnicodeDecodeError:
                headers.append((_mark(len(names), len(name)), value))
                names.append(name)
        builder.append(offset, record.timestamp_ms, record.key, record.value, headers)
    batch = bytes(builder.build())
    for number, name in enumerate(names):
        mark = _mark(number, len(name)).encode()
        assert batch.count(mark) == 1
        batch = batch.replace(mark, name)
    head, rest = batch[CHECKED_FROM:RECORDS_AT], COMPRESS[compression](batch[RECORDS_AT:])
    checked = struct.pack(">h", compression) + head[2:] + rest
    counted = batch[COUNTED_FROM:CRC_AT] + struct.pack(">I", calc_crc32c(checked)) + checked
    return batch[:LENGTH_AT] + struct.pack(">i", len(counted)) + counted


def _mark(number: int, size: int) -> str:
    mark = f"\x01{number:x}\x01"
    assert len(mark) <= size, "too short a name to be told apart"
    return mark.ljust(size, "\x02")


async def send_raw(producer: AIOKafkaProducer, topic: str, partition: int, batch: bytes) -> int:
    """Send a batch as it is and return its first offset."""
    request = ProduceRequest(None, -1, 30_000, [(topic, [(partition, batch)])])
    for _ in range(TRIES_MAX):
        await producer.client._wait_on_metadata(topic)
        node = producer.client.cluster.leader_for_partition(TopicPartition(topic, partition))
        response = await producer.client.send(node, request)
        ((_, ((_, error_code, offset, *_),)),) = response.topics
        if not error_code:
            return offset
        if for_code(error_code) is not NotLeaderForPartitionError:
            raise for_code(error_code)
        await producer.client.force_metadata_update()  # a topic that was only just made
    raise NotLeaderForPartitionError
