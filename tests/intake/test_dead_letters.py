"""Dead letters: what they say, which are meant, and which are worth sending again."""

import asyncio
import json
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from click.testing import CliRunner, Result

from pipeline.cli import usage
from pipeline.domain.instants import DAY_US
from pipeline.domain.records import ALERTS_TOPIC, DEAD_LETTER_TOPIC, EVENTS_TOPIC, GRANTS_TOPIC, LINES_TOPIC
from pipeline.domain.rejects import CODES
from pipeline.intake.dead_letter_replay import Sent, replay_headers
from pipeline.intake.dead_letter_text import described, escaped, sent_lines
from pipeline.intake.dead_letters import Filter, History, Letter, hopeless, impossible, letter_of
from pipeline.settings import load_settings
from pipeline.stream.topics import ensure_topics
from tests.fixtures.servers import Server

NOW_MS = 1_795_000_000_000
DAY_MS = DAY_US // 1000


def record(offset: int = 0, value: bytes = b"{}", key: bytes | None = b"acme", **headers: str | None) -> ConsumerRecord:
    said = {
        "code": "unknown_customer",
        "message": "subject: no",
        "source-topic": EVENTS_TOPIC,
        "source-partition": "1",
        "source-offset": "7",
        "source-timestamp": str(NOW_MS),
    } | {name.replace("_", "-"): text for name, text in headers.items()}
    pairs = tuple((name, text.encode()) for name, text in said.items() if text is not None)
    return ConsumerRecord(DEAD_LETTER_TOPIC, 1, offset, NOW_MS + offset, 0, key, value, None, 0, 0, pairs)


def letter(offset: int = 0, **more: Any) -> Letter:
    return letter_of(record(offset, **more))


@pytest.mark.parametrize(
    ("wanted", "accepted"),
    [
        (Filter(), True),
        (Filter(codes=frozenset(["unknown_customer", "x"]), customer="acme", source_topic=EVENTS_TOPIC), True),
        (Filter(codes=frozenset(["x"])), False),
        (Filter(customer="other"), False),
        (Filter(source_topic=GRANTS_TOPIC), False),
        (Filter(since_ms=NOW_MS + 3, until_ms=NOW_MS + 4), True),
        (Filter(since_ms=NOW_MS + 4), False),
        (Filter(until_ms=NOW_MS + 3), False),
        (Filter(positions=frozenset([(1, 3)])), True),
        (Filter(positions=frozenset([(0, 3)])), False),
    ],
)
def test_a_filter_narrows(wanted: Filter, accepted: bool) -> None:
    """Code, customer, source, time of rejection (from on, before) and position narrow together."""
    assert wanted.accepts(letter(3)) == accepted
    assert not wanted.accepts(letter(3, code="replayed", replayed_to=f"{EVENTS_TOPIC} 1:9"))


def test_the_history_tells_what_became_of_a_letter() -> None:
    """A letter is open, replayed, or rejected again; then its successor is open."""
    first, other, mark = (
        letter(0),
        letter(1, source_offset="8"),
        letter(2, code="replayed", replayed_to="usage.events 1:9"),
    )
    successor = letter(3, source_offset="9")
    history = History()

    history.take([first, other, mark])
    before = [history.status(each) for each in (first, other)]
    history.take([successor])

    assert before == ["replayed", "open"]
    assert [history.status(each) for each in (first, other, successor)] == ["rejected again", "open", "open"]


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize("code", CODES)
def test_what_the_bytes_alone_decide_is_not_worth_a_replay(code: str) -> None:
    """A malformed record is rejected again however often it is sent; an unknown customer may be known by then."""
    by_its_bytes = {"malformed", "too_large", "invalid_field", "wrong_key"}

    assert (hopeless(letter(code=code), NOW_MS, keep_time=False) is not None) == (code in by_its_bytes)
    assert hopeless(letter(code=code, source_topic=LINES_TOPIC), NOW_MS, keep_time=True) is None


@pytest.mark.rule("R2.4", "R6.1")
def test_a_timestamp_that_cannot_be_kept_needs_a_new_one() -> None:
    """With its own timestamp an event from the future is rejected again, and an old one would find pools forgotten."""
    future, old = letter(code="time_in_future"), letter(source_timestamp=str(NOW_MS - 36 * DAY_MS))

    assert all("--now" in (hopeless(each, NOW_MS, keep_time=True) or "") for each in (future, old))
    assert [hopeless(each, NOW_MS, keep_time=False) for each in (future, old)] == [None, None]
    assert hopeless(letter(source_timestamp=str(NOW_MS - 34 * DAY_MS)), NOW_MS, keep_time=True) is None


@pytest.mark.parametrize(
    "change",
    [
        {"source_topic": None},
        {"source_topic": "elsewhere"},
        {"source_offset": "x"},
        {"source_timestamp": "-5"},
        {"source_partition": "4"},
        {"cut_from": "99"},
    ],
)
def test_what_does_not_say_where_it_comes_from_stays(change: dict[str, str | None]) -> None:
    """A letter without its place, or without all of its original, cannot be sent again."""
    assert impossible(letter(), 4) is None
    assert impossible(letter(**change), 4) is not None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, {}),
        (
            {"content_type": "application/cloudevents+json", "source_index": "0"},
            {"content-type": b"application/cloudevents+json"},
        ),
        (
            {"content_type": "application/CloudEvents-batch+json; charset=utf-8", "source_index": "3"},
            {"content-type": b"application/cloudevents+json"},
        ),
        (
            {"content_type": "application/cloudevents-batch+json"},
            {"content-type": b"application/cloudevents-batch+json"},
        ),
        ({"x_usage_import": "offline", "other": "x"}, {"x-usage-import": b"offline"}),
        ({"target": "ops", "source_topic": ALERTS_TOPIC}, {"target": b"ops"}),
    ],
)
def test_headers_of_the_source_are_kept(said: dict[str, str], expected: dict[str, bytes]) -> None:
    """Content type, import mark and an alert's target go along; an event of a batch is sent as a single one."""
    assert dict(replay_headers(letter(**said))) == expected | {"replayed-from": b"usage.dead-letter 1:0"}


def test_nothing_in_a_letter_steers_a_terminal() -> None:
    """Escape sequences, bells, changes of direction and broken UTF-8 are shown as their escapes."""
    shown = described(
        letter(value=b'{"a": "\x1b[2J\x07\xff\xe2\x80\xae"}', key=b"\x1b]0;x", message="\x9bm", code="\r")
    )

    assert "\\x1b[2J\\x07\\xff\\u202e" in shown
    assert all(line.isprintable() for line in shown.split("\n"))
    assert escaped("a\nb") == "a\\nb"


def test_a_timestamp_that_is_none_is_shown_as_it_is() -> None:
    """A sender that takes microseconds for milliseconds does not break the view."""
    assert f"{NOW_MS * 10**6} ms" in described(letter(source_timestamp=str(NOW_MS * 10**6)))


def test_a_report_says_what_was_left_out() -> None:
    """What was sent and why others were not."""
    sent = Sent(already=2, more=True)
    sent.add(letter())
    sent.left_out["malformed: the same bytes are rejected again"] += 3

    said = "\n".join(sent_lines(sent, dry_run=False))

    assert said.startswith("sent 1 letter again: 1 to usage.events (1 unknown_customer)")
    assert "left out 2 that an earlier replay has sent" in said
    assert "left out 3, malformed" in said


async def _fill(kafka: str) -> None:
    await ensure_topics(load_settings(kafka=kafka, partitions=2))
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for offset, code in enumerate(("unknown_customer", "malformed")):
        made = record(value=b"\x1b[2J\xff", code=code, source_offset=str(offset))
        await producer.send_and_wait(
            DEAD_LETTER_TOPIC,
            made.value,
            key=made.key,
            partition=1,
            timestamp_ms=NOW_MS + offset,
            headers=list(made.headers),
        )
    await producer.stop()


def test_the_command_finds_and_shows_letters(new_broker: Server) -> None:
    """List, show, raw bytes, filters by time, and messages for what is not there."""
    new_broker.start()
    asyncio.run(_fill(new_broker.address))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(usage, ["dead-letter", *arguments, "--kafka", new_broker.address])

    (latest,) = json.loads(run("list", "--since", "2026-11-18T11:06:40.001Z", "--format", "json").stdout)
    table = run("list", "--limit", "1")
    shown, raw = run("show", latest["position"]), run("show", "1:0", "--raw")
    absent, nothing = run("show", "1:9"), run("replay")
    partly = run("replay", "1:0", "1:1", "1:7", "--dry-run")

    assert (latest["position"], latest["code"], latest["status"]) == ("1:1", "malformed", "open")
    assert "1:1" in table.stdout
    assert "\n1:0" not in table.stdout
    assert "\\x1b[2J\\xff" in shown.stdout
    assert raw.stdout_bytes == b"\x1b[2J\xff"
    assert (absent.exit_code, nothing.exit_code, partly.exit_code) == (1, 2, 1)
    assert "offsets 0 to 1" in absent.stderr
    assert "would send 1 letter again" in partly.stdout
    assert "left out 1, malformed" in partly.stdout
    assert "only 2 of the 3 positions" in partly.stderr
