"""What a running pipeline tells: every process on a port of its own, and what it tells is what was sent."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from pipeline.embedded.stack import Stack
from pipeline.observe.metrics import METRICS, Process
from pipeline.settings import load_settings
from tests.fixtures.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
WAIT_S_MAX = 20


async def scraped(client: httpx.AsyncClient, port: int) -> dict[str, float]:
    """Return the samples of a process by name with labels."""
    text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


async def until(client: httpx.AsyncClient, port: int, holds: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """Return the samples of a process as soon as they are as wanted."""
    async with asyncio.timeout(WAIT_S_MAX):
        while not holds(samples := await scraped(client, port)):  # noqa: ASYNC110 - another process counts
            await asyncio.sleep(0.05)
        return samples


def tells_all(samples: dict[str, float], process: Process) -> bool:
    """Say whether a process tells every metric without labels that it has."""
    plain = {each.exposed for each in METRICS.values() if process in each.processes and not each.labels}
    kinds = {each.exposed for each in METRICS.values() if each.kind == "histogram"}
    return {f"{name}_count" if name in kinds else name for name in plain} <= samples.keys()


@pytest.mark.asyncio
async def test_every_process_tells_what_it_did(tmp_path: Path) -> None:
    """A reading is a request of the API by route, a line of the worker, a row of the sink, and nobody lags behind."""
    first = free_port()
    settings = load_settings(catalog=ROOT / "schemas/examples/catalog.yaml", metrics_port=first, sink_rollup_ms=100)
    event = (ROOT / "schemas/examples/usage.events/usage.json").read_bytes()
    stack = Stack(settings, tmp_path, kafka_port=0, clickhouse_port=0, workers=1, api_port=0, log=lambda *_: None)
    async with stack, httpx.AsyncClient(trust_env=False) as client:
        key = (tmp_path / "operator.key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}", "content-type": "application/cloudevents+json"}
        api = f"http://127.0.0.1:{stack.settings.api_port}"
        for _ in range(2):
            (await client.post(f"{api}/v1/events", content=event, headers=headers)).raise_for_status()
        await client.get(f"{api}/v1/quota/acme", headers=headers)
        public = await client.get(f"{api}/metrics", headers=headers)
        await client.get(f"{api}/made-up/{json.loads(event)['id']}")
        await until(client, first, lambda told: told["usage_events_total"] == 2)
        worker = await until(client, first, lambda told: told["usage_worker_lag_records"] == 0)
        sink = await until(
            client, first + 1, lambda told: told["usage_sink_rows_total"] == 1 and tells_all(told, "sink")
        )
        await until(client, first + 1, lambda told: told["usage_sink_lag_records"] == 0)
        served = await scraped(client, first + 2)

    assert public.status_code == 404
    assert (worker["usage_lines_total"], worker["usage_duplicates_total"]) == (1, 1)
    assert worker["usage_worker_lag_seconds"] == 0
    assert served['usage_api_requests_total{method="POST",route="/v1/events",status="202"}'] == 2
    assert served['usage_api_requests_total{method="GET",route="/v1/quota/{customer}",status="200"}'] == 1
    assert served['usage_api_requests_total{method="GET",route="none",status="404"}'] == 2
    assert worker["usage_ready"] == sink["usage_ready"] == served["usage_ready"] == 1
    assert tells_all(worker, "worker")
    assert sink["usage_sink_inserts_total"] == 1
    assert tells_all(served, "api")
