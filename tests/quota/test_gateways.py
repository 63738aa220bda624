"""Gateways that share budgets by reservations, over a real worker (R9)."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from pipeline.catalog import load_catalog
from pipeline.domain.instants import SECOND_MS
from pipeline.sdk.client import UsageClient
from pipeline.sdk.gate import QuotaGate
from pipeline.sdk.gate_reserve import Reserved
from tests.domain.world import CENT
from tests.fixtures.servers import broker_server
from tests.stream.harness import Stream, open_stream

GATEWAYS = 16
UNITS = 40
LIMIT_PICO = 100 * CENT
CALL_PICO = 7 * CENT
CATALOG = """\
currency: USD
models: [{id: small, provider: p, class: standard, input: "0.25", cached_input: "0.025", output: "2.00"}]
builders: [{id: b}]
apps: [{id: app, builder: b}]
customers: [{id: units}, {id: amounts}, {id: expiry}, {id: twice}]
deployments:
  - {id: dep_units, customer: units, app: app}
  - {id: dep_amounts, customer: amounts, app: app}
  - {id: dep_expiry, customer: expiry, app: app}
  - {id: dep_twice, customer: twice, app: app}
plans:
  - id: plan
    version: 1
    app: app
    prices: [{margin_percent: "0"}]
    budgets:
      - {id: units-cap, match: {unit: [document]}, quantity: 40, action: block}
      - {id: amount-cap, match: {unit: [answer]}, amount: "1.00", action: block}
      - {id: two-cap, match: {unit: [page]}, quantity: 2, action: block}
subscriptions:
  - {customer: units, plan: plan, version: 1, start: 2026-01-01}
  - {customer: amounts, plan: plan, version: 1, start: 2026-01-01}
  - {customer: expiry, plan: plan, version: 1, start: 2026-01-01}
  - {customer: twice, plan: plan, version: 1, start: 2026-01-01}
"""


class Shop(NamedTuple):
    """A worker that runs, and what gateways need."""

    stream: Stream
    catalog: Path


class Gateway(NamedTuple):
    """What one gateway has of its own."""

    gate: QuotaGate
    client: UsageClient

    def reserve(self, unit: str, **options: Any) -> Reserved:
        what: Any = {"workspace": "w", "feature": "f", "model": "small", "unit": unit, "cost": "0.07"}
        return self.gate.reserve(self.client, wait_s=15.0, **what | options)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    folder = tmp_path_factory.mktemp("gateways")
    catalog = folder / "catalog.yaml"
    catalog.write_text(CATALOG)
    server = await broker_server(folder / "broker").started()
    try:
        async with open_stream(server.address, folder) as stream:
            await stream.worker(catalog)
            yield Shop(stream, catalog)
    finally:
        server.kill()


@contextmanager
def gateways(shop: Shop, customer: str, number: int = 1) -> Iterator[list[Gateway]]:
    """Open gateways of a customer, each with a gate and a client of its own, all of them ready."""
    catalog = load_catalog(shop.catalog)
    sender = {"deployment": f"dep_{customer}", "environment": "production"}
    with ExitStack() as stack:
        opened = []
        for _ in range(number):
            gate = stack.enter_context(
                QuotaGate.kafka(shop.stream.kafka, catalog_view=catalog, customer=customer, **sender)
            )
            client = UsageClient.kafka(shop.stream.kafka, customer=customer, **sender, spool=False)
            stack.callback(client.close)
            opened.append(Gateway(gate, client))
        assert all(gateway.gate.wait_ready(30) for gateway in opened)
        yield opened


async def lines_of(shop: Shop, customer: str, count: int) -> list[dict[str, Any]]:
    """Return a customer's lines as soon as there are so many of it."""
    count_all = 0
    while True:
        lines = await shop.stream.lines(count_all + 1)
        if len(lines.get(customer, [])) >= count:
            return lines[customer]
        count_all = sum(map(len, lines.values()))


def race(opened: list[Gateway], unit: str, **options: Any) -> list[Reserved]:
    """Let every gateway reserve and commit, as fast as it can, until it is refused; return what came of it."""

    def work(gateway: Gateway) -> list[Reserved]:
        outcomes = [gateway.reserve(unit, **options)]
        while outcomes[-1]:
            assert outcomes[-1].reservation is not None
            outcomes[-1].reservation.commit()
            outcomes.append(gateway.reserve(unit, **options))
        gateway.client.flush()
        return outcomes

    with ThreadPoolExecutor(len(opened)) as pool:
        return [outcome for outcomes in pool.map(work, opened) for outcome in outcomes]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.rule("R9.2", "R9.4")
async def test_gateways_never_pass_a_budget_of_units(shop: Shop) -> None:
    """Sixteen that race for forty units get just forty, all of them are charged, and none is blocked later."""
    with gateways(shop, "units", GATEWAYS) as opened:
        outcomes = await asyncio.to_thread(race, opened, "document")

    lines = await lines_of(shop, "units", UNITS)

    assert [outcome.status for outcome in outcomes].count("held") == UNITS
    assert {outcome.reason for outcome in outcomes if not outcome} == {"budget_exhausted"}
    assert {outcome.status for outcome in outcomes} == {"held", "refused"}
    assert sum(line["overage"] for line in lines) == UNITS
    assert sum(line["blocked"] for line in lines) == 0


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.rule("R9.2")
async def test_gateways_pass_a_budget_of_money_by_less_than_a_call(shop: Shop) -> None:
    """Of money the call that reaches the limit goes (R6.5), and none after it, however many ask at once."""
    calls = -(-LIMIT_PICO // CALL_PICO)

    with gateways(shop, "amounts", GATEWAYS) as opened:
        outcomes = await asyncio.to_thread(race, opened, "answer")

    lines = await lines_of(shop, "amounts", calls)

    assert [outcome.status for outcome in outcomes].count("held") == calls
    assert sum(line["charge_pico"] for line in lines) == calls * CALL_PICO < LIMIT_PICO + CALL_PICO


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.rule("R9.3")
async def test_what_is_not_used_in_time_is_free_again(shop: Shop) -> None:
    """A gateway that dies with its reservations keeps the budget for their time to live, and no longer."""
    with gateways(shop, "expiry") as (gateway,):
        dead = [await asyncio.to_thread(gateway.reserve, "page", ttl_s=2) for _ in range(2)]
        expires_ms = time.time_ns() // 1_000_000 + 2 * SECOND_MS
        refused = await asyncio.to_thread(gateway.reserve, "page")
        while not (alive := await asyncio.to_thread(gateway.reserve, "page")):
            assert time.time_ns() // 1_000_000 < expires_ms + 5 * SECOND_MS
            await asyncio.sleep(0.05)  # the clock goes on by itself

    assert [outcome.status for outcome in dead] == ["held", "held"]
    assert (refused.status, refused.reason) == ("refused", "budget_exhausted")
    assert alive.status == "held"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.rule("R9.4", "R9.5")
async def test_a_commit_ends_one_reservation_once(shop: Shop) -> None:
    """Whoever commits twice has used once; what another holds stays held until it is released."""
    with gateways(shop, "twice", 2) as (one, other):
        held = await one.gate.areserve(
            one.client, wait_s=15.0, workspace="w", feature="f", model="small", unit="page", cost="0.07"
        )
        others = await asyncio.to_thread(other.reserve, "page")
        assert held.reservation is not None
        assert others.reservation is not None
        identities = [held.reservation.commit(), held.reservation.commit()]
        one.client.flush()
        (line,) = await lines_of(shop, "twice", 1)
        full = await asyncio.to_thread(other.reserve, "page")
        others.reservation.release()
        other.client.flush()
        while not (freed := await asyncio.to_thread(other.reserve, "page")):  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # until the release is read

    assert identities[1] is None
    assert (line["overage"], line["event_id"]) == (1, identities[0])
    assert (full.status, full.reason) == ("refused", "budget_exhausted")
    assert freed.status == "held"
