"""The demo: feed records through the running stack and hold the result against an offline rating of the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from clickhouse_connect.driver.client import Client

from pipeline.billing.lines import read_lines
from pipeline.codec.lines import line_fields
from pipeline.domain.catalog import Catalog
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.rating.offline import OfflineRating
from pipeline.settings import Settings
from pipeline.settings.clients import kafka_arguments

_RECORD_BYTES_MAX = 8 << 20


@dataclass(frozen=True, slots=True)
class Fed:
    """What was fed."""

    events: int
    records: int
    grants: int
    customers: int
    deployments: int


async def feed(
    settings: Settings, records: Sequence[Record], on_progress: Callable[[int], None] = lambda _: None
) -> None:
    """Send records to their topics, keyed by customer, in order; return when Kafka has acknowledged all of them."""
    producer = AIOKafkaProducer(
        **kafka_arguments(settings), acks="all", enable_idempotence=True, max_request_size=_RECORD_BYTES_MAX
    )
    await producer.start()
    try:
        acknowledgements = []
        for record in records:
            sent = await producer.send(
                record.topic,
                record.value,
                key=record.key,
                timestamp_ms=record.timestamp_ms,
                headers=list(record.headers),
            )
            acknowledgements.append(sent)
            on_progress(1)
        for sent in acknowledgements:
            await sent
    finally:
        await producer.stop()


def rate_offline(catalog: Catalog, records: Sequence[Record]) -> tuple[OfflineRating, list[dict[str, Any]], Fed]:
    """Return the offline rating of records, its lines in the form of R7.1 by customer and seq, and what was in them."""
    rating = OfflineRating(catalog)
    lines: list[dict[str, Any]] = []
    events = 0
    for record in records:
        outcome = rating.rate(record)
        events += outcome.events
        lines.extend(map(line_fields, outcome.lines))
    lines.sort(key=lambda line: (line["customer"], line["seq"]))
    fed = Fed(
        events=events,
        records=len(records),
        grants=sum(record.topic != EVENTS_TOPIC for record in records),
        customers=len({line["customer"] for line in lines}),
        deployments=len({line["deployment"] for line in lines}),
    )
    return rating, lines, fed


def difference(client: Client, expected: Sequence[dict[str, Any]]) -> str | None:
    """Return how the lines in ClickHouse differ from those expected, None when every field of every line is equal."""
    found = list(read_lines(client))
    if len(found) != len(expected):
        return f"ClickHouse has {len(found)} lines, the offline rating {len(expected)}"
    for ours, theirs in zip(expected, found, strict=True):
        fields = [name for name in ours if ours[name] != theirs.get(name)]
        if fields:
            return f"customer {ours['customer']}, seq {ours['seq']}: {', '.join(fields)} differ"
    return None
