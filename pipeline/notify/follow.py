"""The alerts as they come, for whoever watches: no group, nothing remembered."""

from collections.abc import AsyncGenerator

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from pipeline.domain.records import ALERTS_TOPIC
from pipeline.notify.delivery import FETCH_BYTES_MAX, NoTopicError
from pipeline.settings import Settings
from pipeline.settings.clients import consumer_arguments

_WAIT_MS = 200


async def follow_alerts(
    settings: Settings, *, from_beginning: bool, to_end: bool
) -> AsyncGenerator[ConsumerRecord, None]:
    """Yield the records of `usage.alerts`, those of a fetch by time; up to where it ends now, or for ever.

    Raises NoTopicError and KafkaError.
    """
    consumer = AIOKafkaConsumer(
        ALERTS_TOPIC,
        **consumer_arguments(settings),
        client_id="usage-alerts-tail",
        auto_offset_reset="earliest" if from_beginning else "latest",
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
    )
    try:
        await consumer.start()
        if ALERTS_TOPIC not in await consumer.topics():
            raise NoTopicError(f"there is no topic {ALERTS_TOPIC}: is it the right Kafka? `usage topics` creates it")
        places = sorted(consumer.assignment())
        ends = await consumer.end_offsets(places)
        while not (to_end and all([await consumer.position(place) >= ends[place] for place in places])):
            fetched = await consumer.getmany(timeout_ms=_WAIT_MS)
            for record in sorted((each for some in fetched.values() for each in some), key=lambda each: each.timestamp):
                yield record
    finally:
        await consumer.stop()
