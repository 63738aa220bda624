"""Tests of the sink from Kafka to ClickHouse, on real servers: what arrives, what is refused, what is committed."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from pipeline.settings import Settings, load_settings
from pipeline.sink import flush
from pipeline.sink.flush import TooManyRefused
from pipeline.sink.migrations import migrate
from tests.fixtures.servers import clickhouse_server
from tests.sink.support import (
    CASES,
    Feed,
    a_line,
    arrays,
    client_of,
    columns,
    eventually,
    expected,
    ndjson,
    priced,
    running_sink,
)

pytestmark = pytest.mark.asyncio


def rows(client: Client) -> list[tuple]:
    """Return the lines of lines_v1 as (customer, seq)."""
    return client.query("SELECT customer, seq FROM usage.lines_v1 ORDER BY customer, seq").result_rows


def showing(client: Client, *keys: tuple[str, int]) -> Callable[[], bool]:
    """Return a condition: lines_v1 shows exactly these lines."""
    return lambda: rows(client) == list(keys)


def arrived(client: Client) -> int:
    """Return how many rows the table holds before versions are folded."""
    return client.query("SELECT count() FROM usage.usage_lines").result_rows[0][0]


def repeats(client: Client) -> list[tuple[int, int, int]]:
    """Return which records a sink may have inserted again: partition, first offset, offset after the last."""
    return client.query(
        "SELECT DISTINCT partition, first_offset, next_offset FROM usage.sink_repeats ORDER BY ALL"
    ).result_rows


@pytest.mark.rule("R7.1", "R7.2")
async def test_lines_arrive_and_positions_follow(feed: Feed, settings: Settings, store: Client) -> None:
    """Every line of every conformance case arrives once; then the positions are noted, then committed."""
    sent = 0
    keys = set()
    for number, case in enumerate(CASES):
        lines = [
            {**line, "version": number, "customer": f"{case}-{line['customer']}"}
            for line in expected(case, "lines.ndjson")
        ]
        keys |= {(line["customer"], line["seq"]) for line in lines}
        for first in range(0, len(lines), 200):
            await feed.send(*lines[first : first + 200], partition=sent % 2)
            sent += 1

    async with running_sink(settings):
        await eventually(lambda: len(rows(store)) >= len(keys), "all lines")

    assert rows(store) == sorted(keys)
    assert arrived(store) == len(keys)
    positions = store.query("SELECT partition, next_offset FROM usage.sink_positions FINAL").result_rows
    assert sum(next_offset for _, next_offset in positions) == sent
    assert await feed.committed(settings.sink_group) == dict(positions)
    assert repeats(store) == [(partition, 0, end) for partition, end in sorted(positions)]  # sent before the sink began


async def test_a_restart_goes_on_where_it_was(feed: Feed, settings: Settings, store: Client) -> None:
    """A sink that stopped in order inserts nothing again."""
    await feed.send(a_line("acme", 1))
    async with running_sink(settings):
        await eventually(showing(store, ("acme", 1)), "the first line")
    await feed.send(a_line("acme", 2))

    async with running_sink(settings):
        await eventually(showing(store, ("acme", 1), ("acme", 2)), "the second line")

    assert arrived(store) == 2


@pytest.mark.rule("R7.2")
async def test_lines_sent_again_are_shown_once(feed: Feed, settings: Settings, store: Client) -> None:
    """A replay of the worker, with a later version of one line in another period, leaves each line once."""
    first = [a_line("acme", seq) for seq in (1, 2, 3)]
    again = [first[0], a_line("acme", 2, version=2, period="2026-12-01", **priced(0, 0)), first[2]]
    for lines in (first, again, first):
        await feed.send(*lines)

    async with running_sink(settings):
        await eventually(lambda: len(rows(store)) == 3, "three lines")

    found = store.query("SELECT seq, toString(period), toString(charge) FROM usage.lines_v1 ORDER BY seq").result_rows
    assert found == [(1, "2026-11-01", "1"), (2, "2026-12-01", "0"), (3, "2026-11-01", "1")]


@pytest.mark.rule("R7.1", "R7.2")
async def test_lines_as_arrays_and_as_objects_lie_in_one_topic(feed: Feed, settings: Settings, store: Client) -> None:
    """Workers of several versions write at once: both forms, and arrays in another order, show the same lines."""
    line = a_line("acme", 1, pools=[{"id": "p", "scope_value": "", "units": 1}], included=1, overage=0)
    turned = dict(reversed({**line, "customer": "turned"}.items()))
    await feed.send_objects({**line, "customer": "objects"})
    await feed.send(line)
    await feed.send(turned)
    await feed.send_objects({**line, "version": 2, "workspace": "finance"})

    async with running_sink(settings):
        await eventually(lambda: len(rows(store)) == 3, "three lines")

    found = store.query("SELECT * EXCEPT (customer, workspace) FROM usage.lines_v1").result_rows
    assert found[0] == found[1] == found[2]
    assert store.query("SELECT customer, workspace FROM usage.lines_v1 ORDER BY customer").result_rows == [
        ("acme", "finance"),
        ("objects", "legal"),
        ("turned", "legal"),
    ]


SOUND = a_line("bad", 1)
WITHOUT_CHARGE = {name: value for name, value in SOUND.items() if name != "charge_pico"}
POISONED_ARRAYS = {
    "names that are none": (arrays([SOUND]), b"customer,seq"),
    "a name twice": (arrays([SOUND]), columns(SOUND)[:-1] + b', "seq"]'),
    "an object": (ndjson([SOUND]), columns(SOUND)),
    "a value too few": (arrays([WITHOUT_CHARGE]), columns(SOUND)),
    "a value too many": (arrays([SOUND]), columns(WITHOUT_CHARGE)),
    "an absent amount": (arrays([WITHOUT_CHARGE]), columns(WITHOUT_CHARGE)),
    "a null amount": (arrays([{**SOUND, "charge_pico": None}]), columns(SOUND)),
    "nothing": (None, columns(SOUND)),
    "half an array": (arrays([SOUND])[:-1], columns(SOUND)),
    "a charge that does not add up": (arrays([{**SOUND, "charge_pico": 5}]), columns(SOUND)),
}


async def test_poisoned_arrays_are_put_aside_with_their_names(feed: Feed, settings: Settings, store: Client) -> None:
    """Arrays that can never be inserted go to the dead letters with what names their values; their neighbours arrive."""
    offsets = {}
    for number, (name, (value, names)) in enumerate(POISONED_ARRAYS.items(), start=1):
        await feed.send(a_line("acme", number))
        offsets[name] = await feed.send_raw(value, columns=names)

    async with running_sink(settings):
        letters = await feed.dead_letters(len(POISONED_ARRAYS))
        await eventually(lambda: len(rows(store)) >= len(POISONED_ARRAYS), "the sound lines")

    assert rows(store) == [("acme", number) for number in range(1, len(POISONED_ARRAYS) + 1)]
    found = {int(dict(letter.headers)["source-offset"]): letter for letter in letters}
    for name, (value, names) in POISONED_ARRAYS.items():
        letter = found[offsets[name]]
        assert (letter.value, dict(letter.headers)["columns"]) == (value or b"", names), name


POISON = {
    "no JSON": b"hello",
    "nothing": None,
    "half an object": b'{"customer": "acme", "seq": ',
    "an array": b"[]",
    "an open bracket": b"[",
    "no line": b"{}",
    "invalid UTF-8 and no line": b'{"\xff": 1}',
    "a float": ndjson([a_line("bad", 1)]).replace(b'"cost_pico": 1000000000000', b'"cost_pico": 1.5'),
    "a day that does not exist": ndjson([a_line("bad", 1, period="2026-13-01")]),
    "a charge that does not add up": ndjson([a_line("bad", 1, charge_pico=5)]),
    "an amount beyond 128 bits": ndjson([a_line("bad", 1, cost_pico=2**127)]),
}


async def test_poison_is_put_aside_with_its_reason(feed: Feed, settings: Settings, store: Client) -> None:
    """Messages that can never be inserted go to the dead letters with position and reason; their neighbours arrive."""
    offsets = {}
    keys = []
    for number, (name, value) in enumerate(POISON.items(), start=1):
        await feed.send(a_line("acme", number))
        offsets[name] = await feed.send_raw(value)
        keys.append(("acme", number))

    async with running_sink(settings):
        letters = await feed.dead_letters(len(POISON))
        await eventually(showing(store, *keys), "the sound lines")

    found = {int(dict(letter.headers)["source-offset"]): letter for letter in letters}
    assert sorted(found) == sorted(offsets.values())
    for name, offset in offsets.items():
        headers = dict(found[offset].headers)
        assert found[offset].value == (POISON[name] or b"")
        assert headers["code"] == b"malformed"
        assert headers["message"]
        assert (headers["source-topic"], headers["source-partition"]) == (b"usage.lines", b"0")
    assert (await feed.committed(settings.sink_group))[0] == 2 * len(POISON)


async def test_only_the_bad_line_of_a_message_is_put_aside(feed: Feed, settings: Settings, store: Client) -> None:
    """The sound lines of a message with a bad one are inserted, and the bad one is named by its place, in both forms."""
    bad = a_line("acme", 2, charge_pico=5)
    await feed.send(a_line("acme", 1), bad, a_line("acme", 3))
    await feed.send_objects(a_line("acme", 4), bad, a_line("acme", 5))

    async with running_sink(settings):
        letters = await feed.dead_letters(2)
        await eventually(showing(store, *(("acme", seq) for seq in (1, 3, 4, 5))), "the sound lines")

    assert {letter.value for letter in letters} == {arrays([bad]), ndjson([bad])}
    assert [dict(letter.headers)["source-index"] for letter in letters] == [b"1", b"1"]


async def test_a_field_that_the_table_has_not_is_named_and_stops_nothing(
    feed: Feed, settings: Settings, store: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Lines of a newer worker arrive without the new field, in both forms, and the log says what to do."""
    await feed.send({**a_line("acme", 1), "carbon_grams": {"value": [1]}})
    await feed.send_objects({**a_line("acme", 2), "water_litres": {"value": [1]}}, a_line("acme", 3))

    with caplog.at_level(logging.ERROR):
        async with running_sink(settings):
            await eventually(showing(store, ("acme", 1), ("acme", 2), ("acme", 3)), "all lines")

    assert "'carbon_grams'" in caplog.text
    assert "'water_litres'" in caplog.text
    assert "usage migrate" in caplog.text


async def test_too_much_poison_stops_the_sink(
    feed: Feed, settings: Settings, store: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nothing but refusals comes, the sink stops loudly instead of emptying the topic into the dead letters."""
    monkeypatch.setattr(flush, "REFUSED_IN_A_ROW_MAX", 3)
    for _ in range(5):
        await feed.send_raw(b"{}")

    with pytest.raises(TooManyRefused, match="usage migrate"):
        async with running_sink(settings) as task:
            await task

    assert rows(store) == []
    assert await feed.committed(settings.sink_group) == {}


async def test_clickhouse_killed_during_the_feed_costs_nothing(
    feed: Feed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While ClickHouse is away the sink waits, says so once, and goes on with the same data when it is back."""
    server = await clickhouse_server(tmp_path / "clickhouse").started()
    client = client_of(server.address)
    migrate(client)
    settings = load_settings(kafka=feed.address, clickhouse=server.address, sink_wait_ms_max=10, sink_rows_max=20)
    try:
        with caplog.at_level(logging.INFO):
            async with running_sink(settings) as task:
                for kill in range(2):
                    first = kill * 200
                    for seq in range(first, first + 200, 5):
                        await feed.send(*(a_line("acme", seq + more + 1) for more in range(5)), partition=seq % 2)
                        if seq == first + 100:
                            await asyncio.to_thread(server.kill)
                    await eventually(lambda kill=kill: caplog.text.count("is away") > kill, "the sink notices")
                    await server.started()
                    await eventually(lambda kill=kill: caplog.text.count("is back") > kill, "the sink goes on")
                await eventually(showing(client, *(("acme", seq) for seq in range(1, 401))), "all lines")
                assert not task.done()
        assert repeats(client), "an insert whose outcome was unknown"
    finally:
        client.close()
        await asyncio.to_thread(server.kill)


async def test_an_undisturbed_sink_repeats_nothing(feed: Feed, settings: Settings, store: Client) -> None:
    """What comes after a sink has begun is inserted once, and not noted as a possible repeat."""
    async with running_sink(settings):
        for seq in range(1, 6):
            await feed.send(a_line("acme", seq), partition=seq % 2)
            await eventually(showing(store, *(("acme", each) for each in range(1, seq + 1))), "the line")

    assert repeats(store) == []


async def test_a_sink_that_waits_leaves_the_group_alone(feed: Feed, settings: Settings, store: Client) -> None:
    """A rebalance during an outage goes through at once: the waiting sink gives up its block, and all arrives later."""
    async with running_sink(settings) as first:
        store.command("RENAME TABLE usage.usage_lines TO usage.hidden")
        try:
            for partition in (0, 1):
                await feed.send(a_line(f"c{partition}", 1), partition=partition)
            async with running_sink(settings) as second:
                assert not first.done()
                assert not second.done()
                assert arrived_hidden(store) == 0
                store.command("RENAME TABLE usage.hidden TO usage.usage_lines")
                await eventually(showing(store, ("c0", 1), ("c1", 1)), "both lines")
        finally:
            store.command("DROP TABLE IF EXISTS usage.hidden")


def arrived_hidden(client: Client) -> int:
    """Return how many rows the hidden table holds."""
    return client.query("SELECT count() FROM usage.hidden").result_rows[0][0]


USAGE = [sys.executable, "-c", "from pipeline.cli import main; main()"]


async def test_sigterm_flushes_commits_and_leaves(feed: Feed, settings: Settings, store: Client) -> None:
    """SIGTERM inserts what is gathered, commits it and exits with 0; the next sink needs not wait for the group."""
    arguments = ["sink", "--kafka", feed.address, "--clickhouse", settings.clickhouse]
    process = await asyncio.create_subprocess_exec(
        *USAGE, *arguments, stderr=asyncio.subprocess.PIPE, env={"USAGE_SINK_WAIT_MS_MAX": "3600000"}
    )
    assert process.stderr is not None
    async with asyncio.timeout(20):
        while b"sink ready" not in await process.stderr.readline():
            pass
        await feed.send(a_line("acme", 1))
        await asyncio.sleep(0.5)  # nothing tells that a message is gathered: an insert is an hour away
        assert rows(store) == []
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0

    assert rows(store) == [("acme", 1)]
    assert await feed.committed(settings.sink_group) == {0: 1}


DIES_BEFORE_COMMIT = """
import asyncio, os, signal, sys
from pipeline.settings import load_settings
from pipeline.sink import run

async def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

run._commit = die
asyncio.run(run.run_sink(load_settings(kafka=sys.argv[1], clickhouse=sys.argv[2], sink_wait_ms_max=10)))
"""


@pytest.mark.rule("R7.2")
async def test_killed_between_insert_and_commit_doubles_nothing(feed: Feed, settings: Settings, store: Client) -> None:
    """A sink that dies after the insert leaves no position; the next one inserts again, and no reader sees it."""
    keys = [("acme", seq) for seq in range(1, 51)]
    await feed.send(*(a_line(*key) for key in keys))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DIES_BEFORE_COMMIT, feed.address, settings.clickhouse
    )
    assert await asyncio.wait_for(process.wait(), 20) == -signal.SIGKILL
    assert rows(store) == keys
    assert await feed.committed(settings.sink_group) == {}

    # Another group stands for the same one after the dead member's session: it begins without a position too.
    successor = settings.model_copy(update={"sink_group": "usage-sink-successor"})
    async with running_sink(successor):
        await eventually(lambda: arrived(store) == 2 * len(keys), "the second insert")

    assert rows(store) == keys
    assert repeats(store) == [(0, 0, 1)]
