"""Rating the whole log again, into the scratch tables of an audit: no Faust, no states, no clock."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition

from pipeline.cli.audit_catalogs import InForce
from pipeline.cli.audit_letters import letter_row
from pipeline.cli.audit_load import LineLoader, RowLoader
from pipeline.cli.audit_log import LogError, Logs, Offsets, as_record
from pipeline.codec.lines import encode_lines
from pipeline.codec.records import decode_events, envelope_of, key_of
from pipeline.codec.states import Positions
from pipeline.codec.switches import switched_to
from pipeline.domain.events import UsageEvent
from pipeline.domain.rating import rate_event
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from pipeline.domain.rejects import Rejected
from pipeline.domain.terms import TermsIndex
from pipeline.rating.rater import Outcome, Rater

Progress = Callable[[int], object]


@dataclass(slots=True)
class Accounted:
    """What became of every event of the log: exactly one of line, duplicate, reject and reservation."""

    records: int = 0
    """Of both topics."""
    rejected_records: int = 0
    """Records that were rejected as a whole, so that nobody knows how many events they were."""
    events: int = 0
    lines: int = 0
    duplicates: int = 0
    rejects: int = 0
    reservations: int = 0
    """Asked for or released: they have no line (R9.2)."""
    waiting: int = 0
    """Records that no worker had rated when the audit began."""

    def add(self, outcome: Outcome, *, tail: bool) -> None:
        """Count what a record came to."""
        self.records += 1
        self.waiting += tail
        self.events += outcome.events
        self.lines += len(outcome.lines)
        self.duplicates += outcome.duplicates
        self.reservations += outcome.reservations
        whole = sum(letter.index is None for letter in outcome.dead_letters)
        self.rejected_records += whole
        self.rejects += len(outcome.dead_letters) - whole

    @property
    def complete(self) -> bool:
        """Tell whether every event became exactly one thing."""
        return self.events == self.lines + self.duplicates + self.rejects + self.reservations


async def check_whole(logs: Logs) -> None:
    """Make sure that the logs still have their beginning. Raises LogError."""
    for place, offset in (await logs.begins(EVENTS_TOPIC, GRANTS_TOPIC)).items():
        if offset > 0:
            raise LogError(
                f"{place.topic}/{place.partition} begins at offset {offset}: what came before is deleted (retention), so "
                "a full re-rating is impossible. Without --rerate the audit compares with usage.lines"
            )


class Rerating:
    """Rates partition after partition, so that only one partition's states are in memory at a time."""

    def __init__(
        self, logs: Logs, in_force: InForce, customer: str | None, lines: LineLoader, rejects: RowLoader
    ) -> None:
        self.accounted = Accounted()
        self._versions: dict[bytes, dict[int, int]] = {}
        """By customer, in the second pass: number of a line to its version in the log."""
        self._logs = logs
        self._in_force = in_force
        self._key = None if customer is None else customer.encode()
        self._lines = lines
        self._rejects = rejects

    async def run(self, positions: Mapping[int, Positions], ends: Offsets, on_progress: Progress) -> None:
        """Rate every record below `ends`; what lies behind the workers' `positions` may not be rated by them yet."""
        for place in self._logs.partitions(EVENTS_TOPIC):
            number = place.partition
            done = positions.get(number, Positions(events=0, grants=0))
            grants = TopicPartition(GRANTS_TOPIC, number)
            rater = Rater(self._in_force.first, durable=False)
            rated = {place: done.events, grants: done.grants}
            start = {place: 0, grants: 0}
            merged = self._by_version if self._versions else self._by_time
            async for record in merged(rater, place, grants, start, rated, on_progress):
                await self._rate(rater, record, tail=False)
            async for record in self._by_time(rater, place, grants, rated, ends, on_progress):
                await self._rate(rater, record, tail=True)
        await self._lines.flush()
        await self._rejects.flush()

    def again(self, versions: Mapping[str, dict[int, int]]) -> None:
        """Let the next run rate only these customers, their grants where the versions of their lines say they were.

        A version is the offset of the event's record, plus that of the customer's last grant before it, plus 2.
        """
        self._versions = {customer.encode(): of_customer for customer, of_customer in versions.items()}

    async def _by_time(
        self,
        _: Rater,
        events: TopicPartition,
        grants: TopicPartition,
        start: Offsets,
        end: Offsets,
        on_progress: Progress,
    ) -> AsyncIterator[Record]:
        """Yield the records of a partition in the order of rating: by timestamp, a grant first (docs/decisions/0002).

        The grants are held in memory, as the states hold them.
        """
        waiting = deque([record async for record in self._records(grants, start, end, on_progress)])
        async for record in self._records(events, start, end, on_progress):
            while waiting and waiting[0].timestamp_ms <= record.timestamp_ms:
                yield waiting.popleft()
            yield record
        for record in waiting:
            yield record

    async def _by_version(
        self,
        rater: Rater,
        events: TopicPartition,
        grants: TopicPartition,
        start: Offsets,
        end: Offsets,
        on_progress: Progress,
    ) -> AsyncIterator[Record]:
        """Yield the records of a partition, each grant before the first line whose version counts it."""
        waiting: dict[bytes, deque[Record]] = {key: deque() for key in self._versions}
        offsets: dict[bytes, set[int]] = {key: {-1} for key in self._versions}
        async for record in self._records(grants, start, end, on_progress):
            waiting[record.key or b""].append(record)
            offsets[record.key or b""].add(record.offset)
        async for record in self._records(events, start, end, on_progress):
            key = record.key or b""
            version = self._versions[key].get(rater.state_of(key.decode()).seq + 1)
            applied = -1 if version is None else version - record.offset - 2
            if waiting[key] and applied in offsets[key] and waiting[key][0].offset <= applied:
                makes_lines = self._makes_lines(rater, record)
                while makes_lines and waiting[key] and waiting[key][0].offset <= applied:
                    yield waiting[key].popleft()
            yield record
        for left in waiting.values():
            for record in left:
                yield record

    def _makes_lines(self, rater: Rater, record: Record) -> bool:
        """Tell whether a record makes a line at all: the version at hand is that of the next line, maybe a later record's."""
        envelope = envelope_of(record, key_of(record))
        self._in_force.switch(rater, envelope.key or "")
        terms = TermsIndex(rater.catalog)
        state = rater.state_of(envelope.key or "")
        state.forget_tariffs()  # the catalog would be copied with them
        trial = deepcopy(state)
        try:
            batch = decode_events(record)
        except Rejected:
            return False
        for event in batch:
            with suppress(Rejected):
                if isinstance(event, UsageEvent) and rate_event(terms, trial, event, envelope) is not None:
                    return True
        return False

    async def _records(
        self, place: TopicPartition, start: Offsets, end: Offsets, on_progress: Progress
    ) -> AsyncIterator[Record]:
        async for records in self._logs.read({place: start[place]}, {place: end[place]}, on_progress):
            for fetched in records:
                if (fetched.key in self._versions) if self._versions else (self._key in (None, fetched.key)):
                    yield as_record(fetched)

    async def _rate(self, rater: Rater, record: Record, *, tail: bool) -> None:
        if switched_to(record) is not None:
            return  # the lines say what it has put in force, also where the order of arrival decided
        self._in_force.switch(rater, key_of(record) or "")
        outcome = rater.rate(record)
        if not self._versions:
            self.accounted.add(outcome, tail=tail)
        if outcome.lines:
            await self._lines.add(record.partition, record.offset, encode_lines(outcome.lines), tail=tail)
        if outcome.dead_letters and not self._versions:
            await self._rejects.add(_reject_row(letter, tail=tail) for letter in outcome.dead_letters)


def _reject_row(letter: Any, *, tail: bool) -> dict[str, Any]:
    record = letter.record
    customer = (record.key or b"").decode(errors="replace")
    place = (record.topic, record.partition, record.offset, letter.index)
    row = letter_row(customer, place, letter.code, letter.original)
    return row | {"log_partition": record.partition, "log_offset": record.offset, "tail": tail}
