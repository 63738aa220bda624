"""Quota records against rating itself: a decision is what R6 then does (R8.3), and reservations change no line (R9)."""

import json
from collections import Counter
from functools import lru_cache
from random import Random
from typing import Any

import pytest

from pipeline.codec.catalog_view import decode_view, encode_view
from pipeline.codec.quota import decode_quota, encode_quota
from pipeline.codec.records import decode_events
from pipeline.domain.catalog import Allowance, Budget, Catalog, PriceRow, Tier
from pipeline.domain.decisions import Standing
from pipeline.domain.events import UsageEvent
from pipeline.domain.instants import parse_instant
from pipeline.domain.lines import Line
from pipeline.domain.quota import QuotaRecord, Request, empty_quota, quota_record
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.domain.rejects import Rejected
from pipeline.domain.terms import TermsIndex
from pipeline.rating.ledger import Ledger
from pipeline.rating.rater import Rater
from tests.domain.world import CENT, DOLLAR, World
from tests.rating.support import balances, case, event, play, rate_offline, rated, record, reservations_before, restored

SEEDS = range(24)
PRICED = (
    "included",
    "granted",
    "overage",
    "blocked",
    "cost_pico",
    "cost_charged_pico",
    "margin_pico",
    "surcharge_pico",
)


@lru_cache(maxsize=len(SEEDS))
def compared(seed: int) -> Counter[str]:
    """Decide on every single event of a case before it is rated, check the decision, and count what was compared."""
    world = case(seed)
    index = TermsIndex(world.catalog)
    views: dict[str, TermsIndex] = {}
    rater = Rater(world.catalog, durable=False)
    seen: Counter[str] = Counter()
    for each in world.records:
        usage = single_event(each)
        if usage is None:
            rater.rate(each)
            continue
        customer = usage.customer
        view = views.setdefault(customer, TermsIndex(decode_view(encode_view(world.catalog, [customer]))))
        quota = decode_quota(encode_quota(quota_record(rater.state_of(customer), index)))
        outcome = rater.rate(each)
        for line in outcome.lines:
            seen[check(Standing(quota, view), usage, line, quota)] += 1
        for letter in outcome.dead_letters:
            is_past = usage.time_us < quota.watermark_ms * 1000
            if letter.code in ("no_subscription", "unknown_price") and not is_past:
                assert Standing(quota, view).decide(request_of(usage), usage.time_us).reason == letter.code
                seen[letter.code] += 1
    return seen


def single_event(record: Record) -> UsageEvent | None:
    """Return the usage event of a record that holds nothing else."""
    try:
        events = decode_events(record) if record.topic == EVENTS_TOPIC else []
    except Rejected:
        return None
    return events[0] if len(events) == 1 and isinstance(events[0], UsageEvent) else None


def request_of(usage: UsageEvent) -> Request:
    tokens = (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens)
    shape = (usage.source, usage.environment, usage.workspace, usage.feature, usage.model, usage.unit)
    return Request(*shape, usage.quantity, *tokens, usage.cost_pico, usage.byok)


def check(standing: Standing, usage: UsageEvent, line: Line, quota: QuotaRecord) -> str:
    posted_us = parse_instant(line.posted_at)
    if line.kind in ("failed", "repeat") or posted_us < quota.watermark_ms * 1000:
        return "not asked"  # nobody asks about a call that has failed, or for a time that is past
    decision = standing.decide(request_of(usage), posted_us)
    assert [getattr(decision, name) for name in PRICED] == [getattr(line, name) for name in PRICED]
    assert (decision.kind, decision.charge_pico) == (line.kind, line.charge_pico)
    assert (decision.plan, decision.plan_version, decision.period) == (line.plan, line.plan_version, line.period)
    assert sum(part.pico for part in decision.surcharges) == line.surcharge_pico
    assert decision.allowed == (line.blocked == 0) or line.quantity == 0
    return "denied" if line.blocked else "paid" if line.overage else line.kind


@pytest.mark.rule("R8.3")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_decision_is_what_rating_then_does(seed: int) -> None:
    """From record and view, as they are on the wire, every event is split and priced as its line then is."""
    compared(seed)


@pytest.mark.rule("R8.3")
def test_the_cases_ask_for_everything() -> None:
    """Over all cases there are decisions of every sort, so that the property means something."""
    total = sum((compared(seed) for seed in SEEDS), Counter[str]())

    assert all(total[kind] >= 20 for kind in ("usage", "paid", "denied", "byok", "non_billable", "no_subscription")), (
        total
    )


def with_reservations(seed: int) -> list[Record]:
    """Return the records of a case with reservations and releases before some events, sent at the same time."""
    rng = Random(seed)
    made: list[Record] = []
    for each in case(seed).records:
        usage = single_event(each)
        if usage is not None and rng.random() < 0.5:
            made += [each._replace(value=value, headers=()) for value in reservations_before(each.value or b"", rng)]
        made.append(each)
    return [each._replace(offset=offset) for offset, each in enumerate(made)]


@pytest.mark.rule("R9.2", "R9.4", "R9.5")
@pytest.mark.parametrize("seed", SEEDS)
def test_reservations_change_no_line(seed: int) -> None:
    """With reservations between the events, the lines are those without them."""
    wanted = rated(seed)

    got = rate_offline(case(seed).catalog, with_reservations(seed))

    assert got.lines == wanted.lines
    assert got.alerts == wanted.alerts
    assert got.statements == wanted.statements


def rounds_of(records: list[Record], rng: Random) -> list[list[Record]]:
    rounds: list[list[Record]] = [[]]
    for each in records:
        if rng.random() < 0.2:
            rounds.append([])
        rounds[-1].append(each)
    return rounds


def quotas_of(ledger: Ledger, catalog: Catalog) -> dict[str, QuotaRecord]:
    index = TermsIndex(catalog)
    return {name: quota_record(ledger.state_of(name), index) for name in ledger.customers()}


@pytest.mark.rule("R8.3", "R9.2", "R9.3", "R3.3")
@pytest.mark.parametrize("seed", SEEDS)
def test_quota_depends_on_the_log_alone(seed: int) -> None:
    """Cut into other rounds, with a restart from the changelog in the middle, every quota record is the same."""
    rng = Random(seed)
    records, catalog = with_reservations(seed), case(seed).catalog
    half = len(records) // 2
    whole = Ledger(catalog)
    play(whole, [records])

    log = play(Ledger(catalog), rounds_of(records[:half], rng))
    second = restored(catalog, log.changelog)
    play(second, rounds_of(records[half:], rng))

    assert quotas_of(second, catalog) == quotas_of(whole, catalog)


@pytest.mark.rule("R8.3")
@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_published_last_is_what_is_left(seed: int) -> None:
    """Nothing that a decision depends on changes without a quota record that says so."""
    rng = Random(seed)
    catalog = case(seed).catalog
    ledger = Ledger(catalog)
    published: dict[str, QuotaRecord] = {}

    for records in rounds_of(with_reservations(seed), rng):
        for each in records:
            ledger.rate(each)
        for key, value in ledger.take_effects().quotas:
            published[key.decode()] = decode_quota(value)

    for name, now in quotas_of(ledger, catalog).items():
        last = published.get(name, empty_quota(name))
        assert balances(last, now) == balances(now, now)


@pytest.mark.rule("R9.2")
def test_the_answer_to_a_reservation_is_published_once() -> None:
    """The record of the round says whether it is held; the next one does not repeat it."""
    world = World(allowances=(Allowance("docs", 1),), overage={"default": "block"})
    ledger = Ledger(world.catalog)
    for offset, name in enumerate(("r1", "r2")):
        ledger.rate(record(offset, reserve(name)))
    first = decode_quota(ledger.take_effects().quotas[0][1])
    ledger.rate(record(2, event("e1", reservation="r1")))

    second = decode_quota(ledger.take_effects().quotas[0][1])

    assert [(each.id, each.refused) for each in first.answers] == [("r1", None), ("r2", "overage_blocked")]
    assert [each.id for each in first.held] == ["r1"]
    assert (second.answers, second.held) == ([], [])


def reserve(name: str) -> dict[str, Any]:
    fields = event(name, ttl_s=60)
    return fields | {"type": "ai.usage.reserve.v1"}


@pytest.mark.rule("R8.3")
def test_a_duplicate_publishes_nothing() -> None:
    """A record that changes no balance makes no quota record."""
    ledger = Ledger(World().catalog)
    ledger.rate(record(0, event("e1")))
    ledger.take_effects()
    ledger.rate(record(1, event("e1")))

    assert ledger.take_effects().quotas == []


@pytest.mark.rule("R8.3")
def test_the_record_of_a_customer_with_three_allowances_is_small() -> None:
    """It takes less than 2 KB, with budgets per hour and tiers in use."""
    plan = {
        "allowances": (Allowance("a" * 20, 9), Allowance("b" * 20, 9, per="day"), Allowance("c" * 20, 9, per="hour")),
        "budgets": (Budget("runaway", blocks=True, amount_pico=DOLLAR, scope="deployment", per="hour"),),
        "prices": (PriceRow(tiers=(Tier(10, CENT), Tier(None, 1))),),
    }
    ledger = Ledger(World(**plan).catalog)
    ledger.rate(record(0, event("e1", quantity=40)))

    assert len(ledger.take_effects().quotas[0][1]) < 700


@pytest.mark.rule("R9.2")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_reservation_is_held_when_rating_would_block_nothing(seed: int) -> None:
    """Also for old events, of windows and periods that no gate asks about: the log decides on everything it knows."""
    rater = Rater(case(seed).catalog, durable=False)
    compared = 0
    for each in case(seed).records:
        usage = single_event(each)
        held = None if usage is None or usage.failed else is_held(rater, each, usage)
        for line in rater.rate(each).lines:
            if held is not None and line.kind == "usage" and line.quantity:
                assert held == (line.blocked == 0)
                compared += 1

    assert compared > 5


def is_held(rater: Rater, record: Record, usage: UsageEvent) -> bool | None:
    """Reserve what an event will use, release it at once, and return whether it was held; None when its time was over."""
    fields = json.loads(record.value or b"")
    fields = fields[0] if isinstance(fields, list) else fields
    data = {name: each for name, each in fields["data"].items() if name not in ("operation", "status", "reservation")}
    fields["id"] = f"reservation {record.offset}"  # a resend is a call of its own here
    reserve = fields | {"type": "ai.usage.reserve.v1", "data": data | {"ttl_s": 86_400}}
    release = fields | {"type": "ai.usage.release.v1", "data": {"reservation": fields["id"]}}
    headers = tuple(header for header in record.headers if header[0] == "x-usage-import")
    rater.rate(record._replace(value=json.dumps(reserve).encode(), headers=headers))
    state = rater.state_of(usage.customer)
    held = (usage.source, fields["id"]) in state.holds
    rater.rate(record._replace(value=json.dumps(release).encode(), headers=headers))
    return None if record.timestamp_ms + 86_400_000 <= state.watermark_ms else held
