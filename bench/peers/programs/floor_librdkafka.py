"""The floor with librdkafka: confluent-kafka's `consume`, and a decode of the fields that rating needs."""

import os

from confluent_kafka import Consumer, TopicPartition
from decoding import Count, decoder


def main() -> None:
    """Read all partitions from the beginning and print the count as it goes."""
    consumer = Consumer({"bootstrap.servers": os.environ["BENCH_BROKER"], "group.id": "floor"})
    numbers = range(int(os.environ["BENCH_PARTITIONS"]))
    consumer.assign([TopicPartition("events", number, 0) for number in numbers])
    decode, count = decoder(int(os.environ["BENCH_PER_MESSAGE"])), Count()
    while True:
        for message in consumer.consume(1000, 1.0):
            count.add(decode(message.value()))
        count.show()


if __name__ == "__main__":
    main()
