"""`usage audit` against Kafka's logs: re-rating, dead letters, deleted beginnings, a pipeline that goes on, refusals."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from clickhouse_connect.driver.client import Client

from pipeline.cli import usage
from pipeline.cli.audit_log import Logs
from pipeline.domain.records import DEAD_LETTER_TOPIC, EVENTS_TOPIC, LINES_TOPIC
from tests.billing.audit_fixtures import feeding
from tests.billing.audit_support import PARTITIONS, Audited, named, of

pytest_plugins = ["tests.billing.audit_fixtures"]

Ends = dict[TopicPartition, int]


def change_ends(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[TopicPartition, int], int]) -> None:
    """Let the logs seem to begin or end elsewhere."""
    real = getattr(Logs, name)

    async def changed(self: Logs, *topics: str) -> Ends:
        return {place: change(place, offset) for place, offset in (await real(self, *topics)).items()}

    monkeypatch.setattr(Logs, name, changed)


def largest(audited: Audited) -> int:
    """Return the partition with the longest log of lines."""
    return max(audited.next_offsets, key=lambda number: audited.next_offsets[number])


@pytest.mark.rule("R3.3")
def test_a_line_that_nobody_could_have_rated_so_is_found_by_rating_again(fed_alone: Audited):
    """A line forged in usage.lines and ClickHouse alike is sound to all other checks, but not to a re-rating."""
    line = fed_alone.some_line()
    forged = {**line, "version": line["version"] + 1000, "workspace": "forged"}
    partition = next(number for number, lines in fed_alone.by_partition.items() if line in lines)
    offset = fed_alone.send(LINES_TOPIC, json.dumps(forged, ensure_ascii=False).encode(), partition=partition)
    fed_alone.next_offsets[partition] = offset + 1
    fed_alone.fill()
    fed_alone.insert([forged])

    fed_alone.audit(code=0)
    found = fed_alone.checks("--rerate", "--catalog", str(fed_alone.catalog))

    assert set(found) == {"re-rating"}
    (finding,) = found["re-rating"]["findings"]
    assert (finding["customer"], finding["seq"]) == (line["customer"], line["seq"])
    assert finding["found"]["workspace"] == "forged"
    assert "usage.events/" in finding["what"]


@pytest.mark.rule("R3.3")
def test_grants_that_came_too_late_for_their_timestamps_are_put_where_they_were_applied(
    clickhouse: str,
    store: Client,  # noqa: ARG001
    tmp_path: Path,
):
    """Behind which event a grant was applied is in the versions of the lines; the report says so, and finds no damage."""
    with feeding(clickhouse, tmp_path, 400, grants_late_ms=5 * 24 * 3600 * 1000) as audited:
        audited.fill()
        arguments = ("--rerate", "--catalog", str(audited.catalog), "--format", "json")
        report = json.loads(audited.audit(*arguments, code=0).stdout)
        audited.update(audited.some_line(), "feature = 'forged'")
        found = audited.checks(*arguments)

    (check,) = [check for check in report["checks"] if check["check"] == "re-rating"]
    assert "grants that came too late" in check["notes"][0]
    assert report["rerated"]["lines"] == len(audited.lines)
    assert found["re-rating"]["count"] == found["log"]["count"] == 1


@pytest.mark.rule("R2.3")
def test_dead_letters_that_are_not_accounted_for_are_found(fed_alone: Audited):
    """An unknown code, a place that no record has, a reject told twice; by rating again, a reject of what was accepted."""
    headers = {
        "code": "malformed",
        "message": "x",
        "source-topic": EVENTS_TOPIC,
        "source-partition": "0",
        "source-offset": "0",
    }
    bad: list[tuple[dict[str, str], str]] = [
        ({"code": "nonsense"}, "unknown code 'nonsense'"),
        ({"source-topic": "elsewhere"}, "unknown source topic 'elsewhere'"),
        ({"source-offset": "99999"}, "there is no record usage.events/0 offset 99999"),
        ({"source-partition": "9"}, "there is no record usage.events/9 offset 0"),
        ({"source-offset": "-1"}, "its source position is no position"),
        ({"message": ""}, "no message"),
    ]
    for changes, _ in bad:
        fed_alone.letter({**headers, **changes})
    for _ in range(2):
        fed_alone.letter({**headers, "source-index": "9999"})

    found = fed_alone.checks()
    rerated = fed_alone.checks("--rerate", "--catalog", str(fed_alone.catalog))

    assert set(found) == set(rerated) == {"dead letters"}
    texts = [finding["what"] for finding in found["dead letters"]["findings"]]
    for (_, fault), text in zip(bad, texts, strict=False):
        assert text.endswith(fault)
    assert texts[len(bad) :] == ["usage.events/0 offset 0 event 9999: rejected several times"]
    again = [finding["what"] for finding in rerated["dead letters"]["findings"]][len(texts) :]
    assert again == ["usage.events/0 offset 0 event 9999: the event is no reject"]


@pytest.mark.rule("R2.3")
def test_a_reject_without_a_dead_letter_is_found_by_rating_again(audited: Audited, monkeypatch: pytest.MonkeyPatch):
    """The dead letters end before the last of them, as if it had never been written."""
    change_ends(monkeypatch, "ends", lambda place, offset: offset - (place.topic == DEAD_LETTER_TOPIC and offset > 0))

    found = audited.checks("--rerate", "--catalog", str(audited.catalog))

    assert set(found) == {"dead letters"}
    assert all("the dead letter is missing" in finding["what"] for finding in found["dead letters"]["findings"])
    assert 1 <= found["dead letters"]["count"] <= PARTITIONS


def test_what_the_log_does_not_hold_any_more_is_said(audited: Audited, monkeypatch: pytest.MonkeyPatch):
    """With its beginning deleted the log proves what it has; how far it reaches, and how much that leaves, is reported."""
    partition = largest(audited)
    cut = audited.next_offsets[partition] // 2
    change_ends(
        monkeypatch,
        "begins",
        lambda place, offset: cut if place == TopicPartition(LINES_TOPIC, partition) else offset,
    )

    report = json.loads(audited.audit("--format", "json", code=0).stdout)
    text = audited.audit(code=0).stdout

    assert report["log_begins"][str(partition)]["offset"] == cut
    assert 0 < report["lines_before_log"] < report["lines"]
    assert re.search(rf"usage.lines/{partition} reaches back to offset {cut}, 20..-..-.. ", text)


def test_with_the_log_cut_damage_within_its_reach_is_found(audited: Audited, monkeypatch: pytest.MonkeyPatch):
    """A last line that was edited is in reach; deleting an old line leaves a gap in the numbers."""
    partition = largest(audited)
    last_record = audited.by_partition[partition][-1]
    cut = audited.next_offsets[partition] - 1
    change_ends(
        monkeypatch,
        "begins",
        lambda place, offset: cut if place == TopicPartition(LINES_TOPIC, partition) else offset,
    )
    first = next(line for line in audited.by_partition[partition] if line["customer"] == last_record["customer"])
    assert first["seq"] == 1
    audited.update(last_record, "feature = 'forged'")
    audited.delete(of(first))

    done = audited.audit("--format", "json", period=last_record["period"], code=1)

    found = {check["check"]: check for check in json.loads(done.stdout)["checks"] if check["count"]}
    assert (last_record["customer"], last_record["seq"]) in named(found["log"])
    assert named(found["line numbers"]) == {(first["customer"], 1)}


def test_rating_again_is_refused_when_events_are_deleted(audited: Audited, monkeypatch: pytest.MonkeyPatch):
    """Without the beginning there is no full re-rating: exit code 2, and why."""
    change_ends(monkeypatch, "begins", lambda place, offset: 3 if place.topic == EVENTS_TOPIC else offset)

    done = audited.audit("--rerate", "--catalog", str(audited.catalog), code=2)

    assert "begins at offset 3" in done.stderr
    assert "a full re-rating is impossible" in done.stderr


def test_lines_that_come_while_it_looks_are_no_damage(audited: Audited, monkeypatch: pytest.MonkeyPatch):
    """What was written after the audit began may be in ClickHouse or not; before, it must be."""
    partition = largest(audited)
    asked: list[int] = []

    def early(place: TopicPartition, offset: int) -> int:
        if place != TopicPartition(LINES_TOPIC, partition):
            return offset
        asked.append(offset)
        return offset - 1 if len(asked) == 1 else offset

    change_ends(monkeypatch, "ends", early)
    late = audited.records_of(partition)[-1]
    for line in late[1:]:
        audited.delete(of(line))

    for period in {line["period"] for line in late}:
        asked.clear()
        audited.audit(period=period, code=0)
    monkeypatch.undo()
    if late[1:]:
        audited.audit(period=late[-1]["period"], code=1)


def test_a_line_that_is_no_line_is_found(fed_alone: Audited):
    """Bytes in usage.lines that nobody can read are named with their place, and hide nothing else."""
    line = fed_alone.some_line()
    partition = next(number for number, lines in fed_alone.by_partition.items() if line in lines)
    text = json.dumps(line, ensure_ascii=False).encode()
    offset = fed_alone.send(LINES_TOPIC, text + b'\n{"customer": 1', partition=partition)
    fed_alone.next_offsets[partition] = offset + 1
    fed_alone.fill()

    check = fed_alone.checks()["log"]

    assert [finding["what"] for finding in check["findings"]] == [
        f"usage.lines/{partition} offset {offset} line 2: this is no line"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--customer", "acmee"), "no lines of customer 'acmee'; did you mean 'acme'?"),
        (("--period", "1999-01-01"), "no lines in period 1999-01-01; periods with lines: "),
        (("--customer", "acme", "--period", "1999-01-01"), "no lines of customer 'acme' in period 1999-01-01"),
        (("--period", "January"), "'January' is no period: a period is named by its first day"),
        (("--rerate",), "no catalog is published: give one with --catalog"),
        (("--kafka", "127.0.0.1:9"), "Kafka at 127.0.0.1:9"),
        (("--clickhouse", "http://127.0.0.1:9"), "ClickHouse does not answer at http://127.0.0.1:9"),
    ],
)
def test_what_cannot_be_audited_is_explained(audited: Audited, arguments: tuple[str, ...], message: str):
    """Exit code 2, nothing on standard output, and what is known instead or what to do."""
    done = audited.audit(*arguments, code=2)

    assert done.stdout == ""
    assert message in done.stderr


def test_a_sink_that_is_behind_proves_nothing(audited: Audited):
    """Lines that are on their way are not missing; after --wait the audit says that it cannot be done yet."""
    partition = largest(audited)
    audited.client.command(
        "INSERT INTO usage.sink_positions (topic, partition, next_offset) "
        f"VALUES ('usage.lines', {partition}, {audited.next_offsets[partition] - 1})"
    )

    done = audited.audit("--wait", "0", code=2)

    assert f"usage.lines/{partition} at {audited.next_offsets[partition] - 1} of" in done.stderr


def test_it_is_a_command_of_usage():
    """`usage` lists it."""
    assert "audit" in usage.list_commands(None)  # type: ignore[arg-type]


def test_scratch_databases_that_were_left_behind_are_dropped(audited: Audited):
    """One of an audit that was killed days ago goes; one of an audit that may be running stays."""
    old, young = "usage_audit_20200101000000_0123abcd", "usage_audit_29990101000000_0123abcd"
    for name in (old, young):
        audited.client.command(f"CREATE DATABASE {name}")
    try:
        audited.audit(code=0)
        rows: Any = audited.client.query("SELECT name FROM system.databases WHERE name LIKE 'usage_audit%'").result_rows
    finally:
        audited.client.command(f"DROP DATABASE {young}")

    assert rows == [(young,)]
