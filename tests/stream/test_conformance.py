"""Real rating by real workers, one of them killed: the lines of the worked examples."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalog import load_catalog
from pipeline.domain.records import ALERTS_TOPIC, DEAD_LETTER_TOPIC
from tests.stream.harness import Stream

pytestmark = pytest.mark.asyncio

CASE = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "case2"


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CASE / name).read_text().splitlines()]


@pytest.mark.skipif(not CASE.is_dir(), reason=f"no worked example at {CASE}")
@pytest.mark.rule("R3.3")
async def test_rates_the_example_over_a_kill(stream: Stream):
    """Two workers, of which one is killed half-way and started again, write the example's lines, alerts and rejects."""
    expected = {(line["customer"], line["seq"]): line for line in read("expected/lines.ndjson")}
    journal = read("journal.ndjson")
    catalog = CASE / "catalog.yaml"
    victim, _ = await stream.worker(catalog), await stream.worker(catalog)

    offsets: dict[tuple[str, int, int], int] = {}
    for at, record in enumerate(journal):
        if at == len(journal) // 2:
            victim.kill()
            stream.start_worker(catalog)
        key = None if record["key"] is None else record["key"].encode()
        place = await stream.send(record["topic"], key, record["payload"].encode(), record["ts"])
        offsets[record["topic"], *place] = record["offset"]

    written = [line for lines in (await stream.lines(len(expected))).values() for line in lines]
    beside = ("version", "catalog", "provider")
    assert {(w["customer"], w["seq"]): {name: w[name] for name in w if name not in beside} for w in written} == expected
    assert {w["catalog"] for w in written} == {load_catalog(catalog).digest}
    alerts = read("expected/alerts.ndjson")
    sent = await stream.records(ALERTS_TOPIC, lambda found: len({record.value for record in found}) >= len(alerts))
    assert keyed(json.loads(record.value) for record in sent) == keyed(alerts)
    rejects = {(reject["offset"], reject["index"], reject["code"]) for reject in read("expected/rejects.ndjson")}
    letters = await stream.records(DEAD_LETTER_TOPIC, lambda found: len({place_of(r) for r in found}) >= len(rejects))
    assert {(offsets[place], index, code) for place, index, code in map(place_of, letters)} == rejects


def keyed(alerts: Any) -> set[tuple[Any, ...]]:
    """Return the alerts as a set: one may be written again after a crash."""
    return {(a["customer"], a["period"], a["id"], a["scope_value"], a["threshold"], a["seq"]) for a in alerts}


def place_of(letter: Any) -> tuple[tuple[str, int, int], int | None, str]:
    """Return the source place, the index and the code of a dead letter."""
    headers = dict(letter.headers)
    place = (headers["source-topic"].decode(), int(headers["source-partition"]), int(headers["source-offset"]))
    return place, int(headers["source-index"]) if "source-index" in headers else None, headers["code"].decode()
