"""Questions to ClickHouse are bounded in number and time, and outlive its absence."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline.api import clickhouse as module
from pipeline.api.clickhouse import ClickHouse
from pipeline.api.problems import Problem
from pipeline.settings import load_settings
from tests.fixtures.servers import clickhouse_server


def one(client: Any) -> int:
    return int(client.query("SELECT 1").result_rows[0][0])


@pytest.mark.asyncio
async def test_it_asks_again_once_clickhouse_is_back(tmp_path: Path) -> None:
    """Away it is 503, afterwards answers come again, without a restart of ours."""
    server = clickhouse_server(tmp_path / "clickhouse")
    await server.started()
    pool = ClickHouse(load_settings(clickhouse=server.address))
    await pool.start()
    try:
        assert await pool.ask(one) == 1
        server.kill()
        with pytest.raises(Problem) as away:
            await pool.ask(one)
        await server.started()
        assert await pool.ask(one) == 1
    finally:
        await pool.stop()
        server.stop()

    assert (away.value.status, away.value.code) == (503, "clickhouse-away")
    assert "Retry-After" in away.value.headers


@pytest.mark.asyncio
@pytest.mark.parametrize(("limit", "value"), [("WAITING_MAX", 1), ("ANSWER_S_MAX", 0.05)])
async def test_what_would_wait_too_long_is_told_so(monkeypatch: pytest.MonkeyPatch, limit: str, value: float) -> None:
    """Neither the number of waiting questions nor the wait for one is without end."""
    monkeypatch.setattr(module, limit, value)
    monkeypatch.setattr(ClickHouse, "_client", lambda _: None)
    pool, go = ClickHouse(load_settings()), threading.Event()
    first = asyncio.create_task(pool.ask(lambda _: go.wait(20)))
    await asyncio.sleep(0)  # the first has its place
    try:
        with pytest.raises(Problem) as refused:
            await (pool.ask(lambda _: True) if limit == "WAITING_MAX" else first)
    finally:
        go.set()
        await asyncio.gather(first, return_exceptions=True)
        await pool.stop()

    assert refused.value.status == 503


@pytest.mark.asyncio
async def test_a_place_is_free_again_after_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the question failed."""
    monkeypatch.setattr(module, "WAITING_MAX", 1)
    monkeypatch.setattr(ClickHouse, "_client", lambda _: None)
    pool = ClickHouse(load_settings())

    def fail(_: Any) -> None:
        raise ValueError("of the question's own")

    for _ in range(3):
        with pytest.raises(ValueError, match="own"):
            await pool.ask(fail)
    assert await pool.ask(lambda _: 7) == 7
    await pool.stop()
