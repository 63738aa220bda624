"""Dead letters as an audit reads them: a known code, and the place of a record that the log has (R2.3)."""

from collections.abc import Mapping
from typing import Any

from pipeline.billing.audit import Check, Finding, Scope
from pipeline.cli.audit_load import RowLoader, digest_of
from pipeline.cli.audit_log import Offsets
from pipeline.domain.records import DEAD_LETTER_TOPIC, EVENTS_TOPIC, GRANTS_TOPIC, LINES_TOPIC
from pipeline.domain.rejects import CODES
from pipeline.intake.dead_letters import REPLAYED
from pipeline.notify.letters import UNDELIVERABLE

SOURCES = (EVENTS_TOPIC, GRANTS_TOPIC, LINES_TOPIC)


class LetterReader:
    """Checks dead letters one by one, and loads them for the checks over all of them."""

    def __init__(self, scope: Scope, loader: RowLoader, begins: Offsets, ends: Offsets) -> None:
        """Take where the logs of SOURCES begin and end."""
        self.check = Check(
            "dead letters", ("R2.3",), "each reject is there once, with a known code and its event's place"
        )
        self.letters = 0
        self._scope = scope
        self._loader = loader
        self._begins = {(place.topic, place.partition): offset for place, offset in begins.items()}
        self._ends = {(place.topic, place.partition): offset for place, offset in ends.items()}
        self._of_sink = 0
        self._gone = 0

    async def take(self, records: list[Any]) -> None:
        """Check the next dead letters."""
        for record in records:
            customer = (record.key or b"").decode(errors="replace")
            if self._scope.customer is not None and customer != self._scope.customer:
                continue
            headers = {name: value.decode(errors="replace") for name, value in record.headers}
            if headers.get("code") in (REPLAYED, UNDELIVERABLE):
                continue  # it says what became of a letter or an alert, and rejects nothing
            self.letters += 1
            faults = self._faults(headers)
            if faults:
                where = f"{DEAD_LETTER_TOPIC}/{record.partition} offset {record.offset}: {'; '.join(faults)}"
                self.check.add(Finding(customer, None, where, None, headers), self._scope.findings_max)
            else:
                await self._loader.add([_row(record, customer, headers)])

    def finish(self) -> None:
        """Note what is no damage."""
        if self._of_sink:
            self.check.notes.append(
                f"{self._of_sink:,} records of {LINES_TOPIC} were refused by ClickHouse: see the log"
            )
        if self._gone:
            self.check.notes.append(f"{self._gone:,} are of records that the log does not hold any more")

    def _faults(self, headers: Mapping[str, str]) -> list[str]:
        faults = []
        if headers.get("code") not in CODES:
            faults.append(f"unknown code {headers.get('code')!r}")
        if not headers.get("message"):
            faults.append("no message")
        topic = headers.get("source-topic")
        if topic not in SOURCES:
            return [*faults, f"unknown source topic {topic!r}"]
        numbers = [headers.get(f"source-{name}", "-1") for name in ("partition", "offset")]
        if not all(number.isdecimal() for number in [*numbers, headers.get("source-index", "0")]):
            return [*faults, "its source position is no position"]
        place, offset = (topic, int(numbers[0])), int(numbers[1])
        if place not in self._ends or offset >= self._ends[place]:
            return [*faults, f"there is no record {topic}/{place[1]} offset {offset}"]
        self._gone += offset < self._begins[place]
        self._of_sink += topic == LINES_TOPIC
        return faults


def letter_row(customer: str, place: tuple[str, int, int, int | None], code: str, original: bytes) -> dict[str, Any]:
    """Return a dead letter as a row; `place` is topic, partition, offset and index of its source."""
    topic, partition, offset, index = place
    return {
        "customer": customer,
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "place": -1 if index is None else index,
        "code": code,
        "original": digest_of(original),
    }


def _row(record: Any, customer: str, headers: Mapping[str, str]) -> dict[str, Any]:
    index = int(headers["source-index"]) if "source-index" in headers else None
    place = (headers["source-topic"], int(headers["source-partition"]), int(headers["source-offset"]), index)
    row = letter_row(customer, place, headers["code"], record.value or b"")
    return row | {"log_partition": record.partition, "log_offset": record.offset}
