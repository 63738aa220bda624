"""Following `usage.quota` on a real broker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline.domain.records import QUOTA_TOPIC
from pipeline.quota import follow
from pipeline.quota.board import Board
from pipeline.quota.follow import QuotaFollower
from pipeline.settings import load_settings
from pipeline.stream.topics import ensure_topics
from tests.fixtures.brokers import on_every_broker
from tests.fixtures.servers import Server, broker_server
from tests.quota.support import write

pytestmark = pytest.mark.asyncio


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - another task does what is waited for
            await asyncio.sleep(0.005)


async def with_topics(server: Server) -> Server:
    await server.started()
    await ensure_topics(load_settings(kafka=server.address, partitions=2))
    return server


@asynccontextmanager
async def following(kafka: str, board: Board) -> AsyncIterator[QuotaFollower]:
    follower = QuotaFollower({"bootstrap_servers": kafka}, board)
    await follower.start()
    try:
        yield follower
    finally:
        await follower.stop()


@on_every_broker
async def test_reads_what_is_there_and_then_every_change(new_broker: Server) -> None:
    """The last record of each customer counts; a tombstone takes it away; what is not committed is not seen."""
    kafka = (await with_topics(new_broker)).address
    customers = [f"c{number}" for number in range(20)]
    await write(kafka, [(name, b"old") for name in customers] + [(name, b"new") for name in customers], "w")
    await write(kafka, [("c0", None), ("c1", b"3")])
    await write(kafka, [("c2", b"aborted")], "w", abort=True)
    board = Board()

    async with following(kafka, board) as follower:
        await until(lambda: board.is_ready)
        at_first = {name: board._values.get(name) for name in customers}
        await write(kafka, [("c3", b"aborted too"), ("c4", b"aborted too")], "w", abort=True)
        await write(kafka, [("c3", b"4"), ("c5", None), ("late", b"1")], "w")
        await until(lambda: board._values.get("late") == b"1" and "c5" not in board._values)

    assert at_first == dict.fromkeys(customers, b"new") | {"c0": None, "c1": b"3"}
    assert (board._values["c3"], board._values["c4"]) == (b"4", b"new")
    assert follower.fault is None


@on_every_broker
async def test_age_tells_whether_the_broker_answers(new_broker: Server) -> None:
    """While nothing comes, but the broker says so, the age stays small; while it is away it grows, and shrinks after."""
    server = await with_topics(new_broker)
    await write(server.address, [("acme", b"1")], "w")
    board = Board()

    async with following(server.address, board):
        await until(lambda: board.is_ready)
        ready_s = board.as_of_s
        await until(lambda: board.as_of_s > ready_s + 1.5)
        quiet_ms = board.age_ms() or 0
        server.pause()
        await until(lambda: (board.age_ms() or 0) > 2500)
        server.resume()
        await until(lambda: (board.age_ms() or 0) < 1500)

    assert quiet_ms < 1500
    assert board._values == {"acme": b"1"}


async def test_survives_a_restart_of_the_broker(tmp_path: Path) -> None:
    """After the broker was killed and started again, changes come in as before, and nothing older takes their place."""
    server = await with_topics(broker_server(tmp_path / "broker"))
    await write(server.address, [("acme", b"1"), ("acme", b"2")])
    board = Board()
    heard: list[bytes | None] = []

    async with following(server.address, board):
        await until(lambda: board.is_ready)
        board.subscribe(lambda _, value: heard.append(value))
        server.kill()
        await until(lambda: (board.age_ms() or 0) > 1500)
        await server.started()
        await write(server.address, [("acme", b"3")])
        await until(lambda: board._values["acme"] == b"3")
        await until(lambda: (board.age_ms() or 0) < 1500)

    server.kill()
    assert heard == [b"3"]


async def test_waits_for_the_topic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the topic it says what to do, creates nothing, and begins once it is there."""
    monkeypatch.setattr(follow, "_PAUSE_S_MAX", 0.2)
    server = await broker_server(tmp_path / "broker").started()
    board = Board()

    async with following(server.address, board) as follower:
        await until(lambda: QUOTA_TOPIC in (follower.fault or ""))
        not_ready = board.is_ready
        await ensure_topics(load_settings(kafka=server.address, partitions=2))
        await until(lambda: board.is_ready)

    server.kill()
    assert not not_ready


async def test_reads_a_long_log_in_turns(tmp_path: Path) -> None:
    """While much is read, others get their turn."""
    server = await with_topics(broker_server(tmp_path / "broker"))
    await write(server.address, [(f"c{number}", b"x" * 100) for number in range(2000)], "w")
    board = Board()
    turns = 0

    async with following(server.address, board):
        while not board.is_ready:
            turns += 1
            await asyncio.sleep(0)

    server.kill()
    assert len(board._values) == 2000
    assert turns > 2000 / follow.POLL_RECORDS_MAX
