"""Metrics and health over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from pipeline.observe import endpoint as endpoint_module
from pipeline.observe.counters import Counters
from pipeline.observe.endpoint import Endpoint, MetricsPortError
from pipeline.settings import load_settings


@asynccontextmanager
async def served(faults: list[str], counters: Counters | None = None) -> AsyncIterator[Endpoint]:
    async def known_faults() -> list[str]:
        return faults

    endpoint = Endpoint(load_settings(metrics_port=0), "sink", counters or Counters(), known_faults)
    await endpoint.start()
    try:
        yield endpoint
    finally:
        await endpoint.stop()


async def get(endpoint: Endpoint, path: str, method: str = "GET") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.request(method, f"http://127.0.0.1:{endpoint.port}{path}")


@pytest.mark.asyncio
async def test_metrics_and_health_are_served() -> None:
    """/metrics has the counters, /healthz says alive, /readyz ready."""
    counters = Counters()
    counters.add("sink_rows", 4)

    async with served([], counters) as endpoint:
        metrics = await get(endpoint, "/metrics")
        health, ready = await get(endpoint, "/healthz"), await get(endpoint, "/readyz?verbose")

    assert metrics.headers["content-type"].startswith("text/plain; version=")
    assert "usage_sink_rows_total 4.0" in metrics.text
    assert "usage_ready 1.0" in metrics.text
    assert (health.status_code, ready.status_code) == (200, 200)


@pytest.mark.asyncio
async def test_what_is_not_ready_says_why_and_lives() -> None:
    """Without partitions /readyz is 503 with the reason, usage_ready is 0, and /healthz is 200 all the same."""
    async with served(["no partition is assigned"]) as endpoint:
        ready, health = await get(endpoint, "/readyz"), await get(endpoint, "/healthz")
        metrics = await get(endpoint, "/metrics")

    assert (ready.status_code, ready.text) == (503, "no partition is assigned\n")
    assert health.status_code == 200
    assert "usage_ready 0.0" in metrics.text


@pytest.mark.asyncio
async def test_a_question_that_hangs_does_not_take_the_metrics_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is not known whether a process is ready, it is not, and its metrics are served."""
    monkeypatch.setattr(endpoint_module, "FAULTS_S_MAX", 0.01)

    async def hanging() -> list[str]:
        await asyncio.Event().wait()
        return []

    endpoint = Endpoint(load_settings(metrics_port=0), "api", Counters(), hanging)
    await endpoint.start()
    metrics = await get(endpoint, "/metrics")
    await endpoint.stop()

    assert "usage_ready 0.0" in metrics.text


@pytest.mark.asyncio
async def test_nothing_else_is_answered() -> None:
    """Other paths are 404, other methods 405, HEAD has no body."""
    async with served([]) as endpoint:
        other, posted = await get(endpoint, "/v1/events"), await get(endpoint, "/metrics", "POST")
        head = await get(endpoint, "/metrics", "HEAD")

    assert (other.status_code, posted.status_code) == (404, 405)
    assert posted.headers["allow"] == "GET, HEAD"
    assert head.status_code == 200
    assert not head.content


@pytest.mark.asyncio
@pytest.mark.parametrize("sent", [b"\r\n\r\n", b"GET /metrics\r\n\r\n", b"\xff\xfe \x00\r\n\r\n", b"x" * 20_000])
async def test_what_is_no_request_is_refused(sent: bytes) -> None:
    """Garbage and endless headers get 400 or no answer, and the next request is served."""
    async with served([]) as endpoint:
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        writer.write(sent)
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
        writer.close()
        after = await get(endpoint, "/healthz")

    assert answer[:12] in (b"", b"HTTP/1.1 400")
    assert after.status_code == 200


@pytest.mark.asyncio
async def test_a_slow_client_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who begins a request and does not end it loses the connection."""
    monkeypatch.setattr(endpoint_module, "REQUEST_S_MAX", 0.05)

    async with served([]) as endpoint:
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        writer.write(b"GET /met")
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()

    assert answer == b""


@pytest.mark.asyncio
async def test_without_a_port_nothing_listens() -> None:
    """Metrics are off unless asked for."""

    async def faults() -> list[str]:
        return []

    endpoint = Endpoint(load_settings(), "worker", Counters(), faults)
    await endpoint.start()
    await endpoint.stop()

    assert endpoint.port is None


@pytest.mark.asyncio
async def test_a_taken_port_is_named() -> None:
    """A second process on the same port is told which setting to change."""

    async def faults() -> list[str]:
        return []

    async with served([]) as first:
        second = Endpoint(load_settings(metrics_port=first.port), "worker", Counters(), faults)

        with pytest.raises(MetricsPortError, match="USAGE_METRICS_PORT"):
            await second.start()
