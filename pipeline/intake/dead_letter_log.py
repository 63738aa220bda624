"""Reading `usage.dead-letter`: from its beginning to where it ended when it was opened, what was committed only."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.domain.records import DEAD_LETTER_TOPIC
from pipeline.intake.dead_letters import History, Letter, letter_of
from pipeline.settings import Settings
from pipeline.settings.clients import consumer_arguments

STALLED_S_MAX = 30
_WAIT_MS = 500


class LetterLogError(Exception):
    """The letters cannot be read; the message says why."""


class LetterLog:
    """The dead letters that were there when it was opened."""

    def __init__(
        self, consumer: AIOKafkaConsumer, begins: dict[TopicPartition, int], ends: dict[TopicPartition, int]
    ) -> None:
        self._consumer = consumer
        self._begins = begins
        self._ends = ends

    @property
    def partitions(self) -> int:
        """Return how many partitions there are, as of every topic."""
        return len(self._ends)

    @property
    def size(self) -> int:
        """Return over how many offsets a whole reading goes."""
        return sum(end - self._begins[place] for place, end in self._ends.items())

    async def read(self, on_progress: Callable[[int], object] = lambda _: None) -> AsyncGenerator[list[Letter], None]:
        """Yield all letters and marks, each list of one partition and in its order. Raises LetterLogError, KafkaError."""
        left = {place: begin for place, begin in self._begins.items() if begin < self._ends[place]}
        for place, begin in left.items():
            self._consumer.resume(place)
            self._consumer.seek(place, begin)
        idle_ms = 0
        while left:
            fetched = await self._consumer.getmany(*left, timeout_ms=_WAIT_MS)
            for place, records in fetched.items():
                yield [letter_of(record) for record in records if record.offset < self._ends[place]]
            moved = await self._advance(left)
            on_progress(moved)
            idle_ms = 0 if moved else idle_ms + _WAIT_MS
            if idle_ms > STALLED_S_MAX * 1000:
                raise LetterLogError(f"Kafka gives nothing more of {DEAD_LETTER_TOPIC}, though it goes on")

    async def _advance(self, left: dict[TopicPartition, int]) -> int:
        """Note how far each partition is, drop those that are read, and return by how many offsets all moved."""
        moved = 0
        for place in list(left):
            position = min(await self._consumer.position(place), self._ends[place])
            moved += position - left[place]
            left[place] = position
            if position >= self._ends[place]:
                del left[place]
                self._consumer.pause(place)
        return moved

    async def history(self, on_progress: Callable[[int], object] = lambda _: None) -> History:
        """Return what became of all letters. Raises LetterLogError, KafkaError."""
        history = History()
        async for letters in self.read(on_progress):
            history.take(letters)
        return history

    async def letter_at(self, partition: int, offset: int) -> Letter:
        """Return the letter at a position. Raises LetterLogError when there is none."""
        place = TopicPartition(DEAD_LETTER_TOPIC, partition)
        name = f"{partition}:{offset}"
        if place not in self._ends:
            raise LetterLogError(f"{name}: {DEAD_LETTER_TOPIC} has partitions 0 to {len(self._ends) - 1}")
        begin, end = self._begins[place], self._ends[place]
        if not begin <= offset < end:
            raise LetterLogError(f"{name}: partition {partition} has the offsets {begin} to {end - 1}")
        self._consumer.resume(place)
        self._consumer.seek(place, offset)
        while await self._consumer.position(place) <= offset:
            fetched = await self._consumer.getmany(place, timeout_ms=_WAIT_MS, max_records=1)
            for record in fetched.get(place, ()):
                if record.offset == offset:
                    return letter_of(record)
        raise LetterLogError(f"{name}: there is no letter, it is an offset that Kafka uses for itself")


@asynccontextmanager
async def open_letters(settings: Settings) -> AsyncIterator[LetterLog]:
    """Connect, and find out where the letters end now. Raises LetterLogError when there is no topic, and KafkaError."""
    consumer = AIOKafkaConsumer(
        DEAD_LETTER_TOPIC,
        **consumer_arguments(settings),
        client_id="usage-dead-letter",
        auto_offset_reset="earliest",
    )
    try:
        await consumer.start()
        places = sorted(consumer.assignment())
        if not places or DEAD_LETTER_TOPIC not in await consumer.topics():
            raise LetterLogError(f"no topic {DEAD_LETTER_TOPIC}: is it the right Kafka? `usage topics` creates it")
        consumer.pause(*places)
        yield LetterLog(consumer, await consumer.beginning_offsets(places), await consumer.end_offsets(places))
    finally:
        await consumer.stop()
