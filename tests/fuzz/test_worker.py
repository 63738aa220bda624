"""A worker on a broker, fed some thousand records of every malformed kind: each event has one end, and it works on."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from random import Random
from zlib import crc32

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.codec.records import TIMESTAMP_LIMIT_MS
from pipeline.domain.records import DEAD_LETTER_TOPIC, EVENTS_TOPIC, GRANTS_TOPIC, LINES_TOPIC, Record
from pipeline.observe.poison import EVENTS_MIN
from pipeline.rating.ledger import Effects, Ledger
from tests.fixtures.lines import lines_in
from tests.fuzz.accounts import check_effects, ends
from tests.fuzz.journals import BASE_MS, CASE, KEYS, ODD_TIMES_MS, read_journal, write_journal
from tests.fuzz.mutations import mutate_journal
from tests.fuzz.raw import RawRecord, raw_batch, send_raw
from tests.fuzz.test_targets import blind
from tests.rating.support import rows_of, write_catalog
from tests.stream.harness import PARTITIONS, Stream

pytestmark = pytest.mark.asyncio

RECORDS = 3_000
DAYS_MAX_MS = 100 * 86_400_000
ODD_NAME = b"\xff\xfe\x00odd-name\x80"
ODD_NAME_SHARE = 0.05


def malformed_records(rng: Random, *, grants: bool) -> list[Record]:
    """Return mutated records of the case, as good as in the order of their timestamps."""
    topic = GRANTS_TOPIC if grants else EVENTS_TOPIC
    sources = [record for record in CASE.records if record.topic == topic and len(record.value or b"") < 3000]
    made: list[tuple[int, Record]] = []
    while len(made) < (RECORDS // 10 if grants else RECORDS):
        data = write_journal(rng.sample(sources, 3))
        for _ in range(rng.randrange(4)):
            data = mutate_journal(data, 1 << 15, rng, lambda each, size: blind(rng, each, size))
        records = [record for record in read_journal(data) if record.topic == topic]
        moment_ms = max([BASE_MS, *(each.timestamp_ms for each in records if each.timestamp_ms not in ODD_TIMES_MS)])
        round_ = b'"id": "%d-e' % rng.randrange(10)  # the case has few events: most would be duplicates
        for each in records:
            renamed = each._replace(value=each.value and each.value.replace(b'"id": "e', round_))
            made.append((moment_ms, renamed if is_of_use(each) else renamed._replace(timestamp_ms=moment_ms)))
    return [record for _, record in sorted(made, key=lambda each: each[0])]


def is_of_use(record: Record) -> bool:
    """Tell whether a record may stay: one accepted in the far future makes all that comes after it late."""
    return not BASE_MS + DAYS_MAX_MS < record.timestamp_ms < TIMESTAMP_LIMIT_MS or record.key == KEYS[0]


def headers_of(record: Record, rng: Random) -> list[tuple[bytes, bytes | None]]:
    headers = [(name.encode(), value) for name, value in record.headers]
    if rng.random() < ODD_NAME_SHARE:
        headers.insert(rng.randrange(len(headers) + 1), (ODD_NAME, rng.choice([None, b"", b"\xff", b"x" * 500])))
    return headers


async def send(producer: AIOKafkaProducer, records: list[Record], rng: Random) -> list[Record]:
    """Send records in batches of every compression, a key always to one partition; return them with their places."""
    placed: list[Record] = []
    while records:
        partition = crc32(records[0].key or b"") % PARTITIONS
        batch: list[Record] = []
        for record in records[: rng.choice([1, 3, 30, 200])]:
            odd = record.timestamp_ms in ODD_TIMES_MS  # a batch cannot span all of time
            if crc32(record.key or b"") % PARTITIONS != partition or (odd and batch):
                break
            batch.append(record)
            if odd:
                break
        records = records[len(batch) :]
        rows = [RawRecord(each.timestamp_ms, each.key, each.value, headers_of(each, rng)) for each in batch]
        topic = batch[0].topic
        first = await send_raw(producer, topic, partition, raw_batch(rows, rng.randrange(5)))
        placed += [each._replace(partition=partition, offset=first + at) for at, each in enumerate(batch)]
    return placed


def rate_offline(placed: list[Record]) -> list[Effects]:
    """Rate what lies in each partition, and check it record by record."""
    ledgers = {number: Ledger(CASE.catalog) for number in range(PARTITIONS)}
    played = []
    for record in placed:
        ledger = ledgers[record.partition]
        ledger.rate(record)
        played.append(ledger.take_effects())
        check_effects(record, played[-1])
    return played


def place_of(letter) -> tuple:
    headers = dict(letter.headers)
    index = int(headers["source-index"]) if "source-index" in headers else None
    source = headers["source-topic"].decode(), int(headers["source-partition"]), int(headers["source-offset"])
    return (*source, index, headers["code"].decode(), letter.key, letter.value)


def wanted_place_of(letter) -> tuple:
    record = letter.record
    source = (record.topic, record.partition, record.offset)
    return (*source, letter.index, letter.code, record.key, letter.original)


def line_count(record) -> int:
    return int(dict(record.headers)["lines"])


def without_version(lines: Iterable[bytes]) -> Counter[str]:
    plain: Counter[str] = Counter()
    for text in lines:
        fields = json.loads(text)
        fields.pop("version", None)
        plain[json.dumps(fields, sort_keys=True)] += 1
    return plain


def counters_of(log: str) -> Counter[str]:
    """Return what the worker has counted, from its last words."""
    said = log.rsplit("worker stopped: ", 1)[1].splitlines()[0]
    return Counter({name: int(number) for name, number in re.findall(r"(\S+) (\d+)(?:,|$)", said)})


@pytest.mark.rule("R2.1", "R2.3")
async def test_every_malformed_record_ends_as_offline(stream: Stream, tmp_path: Path) -> None:
    """Lines, duplicates and dead letters are those of the offline rating, nothing twice; odd header names change nothing."""
    rng = Random(1)
    worker = await stream.worker(write_catalog(tmp_path, CASE.plain_catalog))
    producer = stream._producer
    events = malformed_records(rng, grants=False)
    events += [Record(EVENTS_TOPIC, 0, 0, 1, rng.choice(KEYS), rng.randbytes(40)) for _ in range(100)]
    refused = [each for each in malformed_records(rng, grants=True) if rate_offline([each])[0].dead_letters]
    placed = await send(producer, events, rng)
    placed += await send(producer, refused, rng)
    wanted = rate_offline(placed)
    counts = ends(wanted)

    wanted_letters = Counter(wanted_place_of(letter) for effects in wanted for letter in effects.dead_letters)
    letters = await stream.records(DEAD_LETTER_TOPIC, lambda found: len(found) >= wanted_letters.total())
    lines = await stream.records(LINES_TOPIC, lambda found: sum(map(line_count, found)) >= counts["lines"])
    code = await worker.terminate()

    assert Counter(map(place_of, letters)) == wanted_letters
    assert without_version(json.dumps(line).encode() for line in lines_in(lines)) == without_version(
        chain.from_iterable(map(rows_of, wanted))
    )
    assert counts["lines"] > 300
    assert counts["duplicates"] > 100
    logged = counters_of(worker.log())
    rejects = sum(number for name, number in logged.items() if name.startswith("rejects"))
    assert rejects == wanted_letters.total()
    assert (logged["events"], logged["lines"], logged["duplicates"]) == tuple(
        counts[name] for name in ("events", "lines", "duplicates")
    )
    assert logged["records{usage.events}"] + logged["records{billing.grants}"] == len(placed)
    assert code == 0


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize("stop", [False, True])
async def test_a_worker_that_rejects_nearly_everything_says_so(stream: Stream, tmp_path: Path, *, stop: bool) -> None:
    """It shouts, counts and goes on; told to stop, it ends before it writes what would only fill the dead letters."""
    worker = await stream.worker(write_catalog(tmp_path, CASE.plain_catalog), worker_poison_stop=stop)
    garbage = raw_batch(RawRecord(1, b"acme", b"garbage") for _ in range(2 * EVENTS_MIN))
    await send_raw(stream._producer, EVENTS_TOPIC, 0, garbage)

    await worker.logged("events were rejected, mostly as malformed")

    if stop:
        assert await worker.ended() == 1
        assert "PoisonError" in worker.log()
    else:
        await stream.records(DEAD_LETTER_TOPIC, lambda found: len(found) >= 2 * EVENTS_MIN)
        assert await worker.terminate() == 0
        assert counters_of(worker.log())["poisoned"] > 0
