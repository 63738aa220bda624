"""Cases of the naive model's generator, and the pipeline's rating of them."""

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from pipeline.catalog import load_catalog
from pipeline.codec.journal import parse_journal_line
from pipeline.codec.lines import COLUMNS, alert_fields, line_fields, objects_of
from pipeline.codec.states import Part, parse_part
from pipeline.domain.catalog import Catalog
from pipeline.domain.quota import QuotaRecord
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.rating.ledger import Effects, Ledger
from pipeline.rating.offline import OfflineRating
from tests.domain.world import NOON, ms
from tests.model.cases import make_case
from tests.model.naive import Result

CONFORMANCE = Path(__file__).resolve().parents[3] / "shared" / "conformance"


@dataclass
class Case:
    """A generated case, as the naive model reads it and as the pipeline does."""

    plain_catalog: dict[str, Any]
    plain_records: list[dict[str, Any]]
    catalog: Catalog
    records: list[Record]


@lru_cache(maxsize=64)
def case(seed: int, events: int = 200) -> Case:
    plain_catalog, plain_records = make_case(seed, events)
    with tempfile.TemporaryDirectory() as folder:
        catalog = load_catalog(write_catalog(Path(folder), plain_catalog))
    return Case(plain_catalog, plain_records, catalog, records_of(plain_records))


def write_catalog(folder: Path, plain_catalog: dict[str, Any]) -> Path:
    path = folder / "catalog.yaml"
    path.write_text(yaml.safe_dump(plain_catalog, allow_unicode=True), encoding="utf-8")
    return path


def records_of(plain_records: Iterable[dict[str, Any]]) -> list[Record]:
    """Return records by way of the journal's form (R2.6)."""
    return [parse_journal_line(json.dumps(record).encode()) for record in plain_records]


def rate_offline(catalog: Catalog, records: Iterable[Record]) -> Result:
    """Rate records and return what came of them in the form of the naive model."""
    rating = OfflineRating(catalog)
    result = Result()
    for record in records:
        outcome = rating.rate(record)
        result.lines += map(line_fields, outcome.lines)
        result.alerts += map(alert_fields, outcome.alerts)
        result.rejects += [
            {"offset": record.offset, "index": letter.index, "code": letter.code} for letter in outcome.dead_letters
        ]
    result.statements = [statement.as_dict() for statement in rating.statements()]
    return result


@lru_cache(maxsize=64)
def rated(seed: int) -> Result:
    return rate_offline(case(seed).catalog, case(seed).records)


@dataclass
class Log:
    """What a worker has written: outputs in order, and the changelog that a new worker restores from."""

    lines: list[bytes] = field(default_factory=list)
    alerts: list[tuple[bytes, bytes]] = field(default_factory=list)
    rejects: list[tuple[int, int | None, str, bytes]] = field(default_factory=list)
    duplicates: int = 0
    changelog: list[tuple[bytes, bytes | None]] = field(default_factory=list)

    def write(self, effects: Effects) -> None:
        self.lines += rows_of(effects)
        self.alerts += effects.alerts
        self.rejects += [(each.record.offset, each.index, each.code, each.original) for each in effects.dead_letters]
        self.duplicates += effects.duplicates
        for changed in effects.states:
            self.changelog += changed.records

    def outputs(self) -> tuple[Any, ...]:
        return (self.lines, self.alerts, self.rejects, self.duplicates)

    def compacted(self) -> dict[bytes, bytes]:
        """Return the last value of each key that is not deleted."""
        values = dict(self.changelog)
        return {key: value for key, value in values.items() if value is not None}


def rows_of(effects: Effects) -> list[bytes]:
    """Return the lines of some effects as they are written."""
    return [text for block in effects.blocks for text in objects_of(block.rows, COLUMNS)]


def parts_in(changelog: Iterable[tuple[bytes, bytes | None]]) -> list[tuple[Part, bytes | None]]:
    """Return the parts that changelog entries write and delete."""
    return [(parse_part(key), value) for key, value in changelog]


def restored(catalog: Catalog, changelog: Iterable[tuple[bytes, bytes | None]]) -> Ledger:
    ledger = Ledger(catalog)
    for key, value in changelog:
        ledger.restore(key, value)
    return ledger


def play(ledger: Ledger, rounds: Iterable[Sequence[Record]], log: Log | None = None) -> Log:
    """Rate rounds of records and write what each comes to."""
    log = log or Log()
    for records in rounds:
        for record in records:
            ledger.rate(record)
        log.write(ledger.take_effects())
    return log


def event(identity: str, **changes: Any) -> dict[str, Any]:
    """Return an event of the small world, that of tests/domain/world.py, as JSON fields; it costs a cent."""
    fields = {
        "specversion": "1.0",
        "type": "ai.usage.v1",
        "id": identity,
        "source": changes.pop("source", "dep"),
        "subject": changes.pop("subject", "acme"),
        "time": changes.pop("time", NOON),
    }
    data = {"environment": "production", "workspace": "legal", "feature": "f", "model": "small", "unit": "document"}
    return {**fields, "data": {**data, "cost": "0.01", **changes}}


def record(offset: int, value: Any, sent: str = NOON, *, key: str | None = "acme", topic: str = EVENTS_TOPIC) -> Record:
    payload = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Record(topic, 0, offset, ms(sent), None if key is None else key.encode(), payload)


def reservations_before(value: bytes, rng: Random) -> list[bytes]:
    """Return a reservation for the one event of a record and sometimes a release, to be sent before it at the same time."""
    fields = json.loads(value)
    fields = fields[0] if isinstance(fields, list) else fields
    data = {key: each for key, each in fields["data"].items() if key not in ("operation", "status", "reservation")}
    reserve = fields | {"type": "ai.usage.reserve.v1", "id": fields["id"] + "-r"}
    reserve["data"] = data | {"ttl_s": rng.choice([1, 60, 86_400])}
    release = fields | {"type": "ai.usage.release.v1", "id": fields["id"] + "-x"}
    release["data"] = {"reservation": rng.choice([reserve["id"], "another"])}
    chosen = [reserve, release] if rng.random() < 0.3 else [reserve]
    return [json.dumps(each).encode() for each in chosen]


def balances(record: QuotaRecord, now: QuotaRecord) -> tuple[Any, ...]:
    """Return what of a record still counts at the time of another; of windows, those of the period."""
    grants = [left for left in record.grants if left.expires_us is None or now.watermark_ms * 1000 < left.expires_us]
    held = [each for each in record.held if each.expires_ms > now.watermark_ms]
    open_periods = {each.period for each in now.accounts}
    accounts = [
        (
            [window for window in each.windows if window.day_us < 0],
            each.tiers,
            each.plan,
            each.plan_version,
            each.period,
        )
        for each in record.accounts
        if each.period in open_periods
    ]
    return record.wallet_pico, grants, held, accounts
