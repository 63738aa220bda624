"""The floor with our client: aiokafka's `getmany`, and a decode of the fields that rating needs. Nothing else is done."""

import asyncio
import os

from aiokafka import AIOKafkaConsumer, TopicPartition
from decoding import Count, decoder


async def main() -> None:
    """Read all partitions from the beginning and print the count as it goes."""
    consumer = AIOKafkaConsumer(bootstrap_servers=os.environ["BENCH_BROKER"], auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition("events", number) for number in range(int(os.environ["BENCH_PARTITIONS"]))])
    decode, count = decoder(int(os.environ["BENCH_PER_MESSAGE"])), Count()
    while True:
        fetched = await consumer.getmany(timeout_ms=1000)
        for records in fetched.values():
            for record in records:
                count.add(decode(record.value))
        count.show()


if __name__ == "__main__":
    asyncio.run(main())
