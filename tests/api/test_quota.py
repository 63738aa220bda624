"""Quota over HTTP: the record, decisions, quotes."""

import asyncio
import json
import time
from typing import Any

import pytest

from pipeline.codec.catalog_view import decode_view
from pipeline.codec.quota import decode_quota, encode_quota
from pipeline.domain.catalog import Catalog
from pipeline.domain.instants import format_instant
from pipeline.domain.quota import SCHEMA, AccountUsed, BudgetUsed, Held, QuotaRecord, Request, WindowUsed
from tests.api.support import RunningApi, usage, wait_until
from tests.domain.world import CENT, DOLLAR
from tests.quota.support import write

CALL = usage()["data"] | {"customer": "acme", "deployment": "dep_acme", "cost": "0.01"}


def record(version: int) -> QuotaRecord:
    """Return a record of acme, which uses the apps of two builders."""
    period = f"{format_instant(time.time_ns() // 1000)[:7]}-01"
    held = [
        Held(
            "r1",
            (time.time_ns() // 1_000_000) + 60_000,
            Request(name, "production", "w", "f", "m", "ticket", cost_pico=1),
        )
        for name in ("dep_acme", "dep_acme_insights")
    ]
    used = [AccountUsed(plan, 1, period, [WindowUsed(budgets=[BudgetUsed("b", 1, 1)])]) for plan in ("team", "deep")]
    return QuotaRecord(SCHEMA, "acme", version, version, time.time_ns() // 1_000_000, 5 * DOLLAR, used, [], held)


def publish(api: RunningApi, version: int) -> None:
    """Write acme's record and return once the API has it."""
    asyncio.run(write(api.settings.kafka, [("acme", encode_quota(record(version)))]))
    wait_until(lambda: api.app.state.board.record("acme").version == version, "the record to be read")


def test_gives_record_age_and_view(api: RunningApi, tokens: dict[str, str]) -> None:
    """A customer reads its own: all of its record, and what of the catalog decides about it, nobody else's."""
    publish(api, 7)

    answer = api.request("get", "/v1/quota/acme", tokens["acme"], None).json()

    shown = decode_quota(json.dumps(answer["record"]).encode())
    view = decode_view(json.dumps(answer["view"]).encode())
    assert (answer["customer"], shown.version, len(shown.accounts), len(shown.held)) == ("acme", 7, 2, 2)
    assert 0 <= answer["age_ms"] < 5000
    assert [*view.customers] == ["acme"]
    assert {deployment.customer for deployment in view.deployments.values()} == {"acme"}
    assert "globex" not in json.dumps(answer)


@pytest.mark.parametrize(
    ("builder", "app", "plan"), [("northwind", "helpdesk", "team"), ("brightwater", "insights", "deep")]
)
def test_a_builder_sees_what_belongs_to_its_apps(
    api: RunningApi, tokens: dict[str, str], builder: str, app: str, plan: str
) -> None:
    """Of a customer that two builders serve, each sees its own accounts, reservations, plans and deployments."""
    publish(api, 8)

    answer = api.request("get", "/v1/quota/acme", tokens[builder], None).json()

    view = decode_view(json.dumps(answer["view"]).encode())
    assert [account["plan"] for account in answer["record"]["accounts"]] == [plan]
    assert {held["request"]["deployment"] for held in answer["record"]["held"]} <= set(view.deployments)
    assert [*view.apps] == [app]
    assert {deployment.app for deployment in view.deployments.values()} == {app}
    assert [key[0] for key in view.plans] == [plan]


def test_check_decides_as_a_gate_would(api: RunningApi, tokens: dict[str, str], catalog: Catalog) -> None:
    """Amounts are integers and, beside them, decimal strings; the age and the version tell what it rests on."""
    publish(api, 9)

    answer = api.request("post", "/v1/quota/check", tokens["dep_acme"], CALL | {"quantity": 3})

    decided = answer.json()
    assert answer.status_code == 200
    assert decided["allowed"] is True
    assert (decided["charge_pico"], decided["charge"]) == (CENT, "0.010000000000")
    assert (decided["wallet_pico"], decided["wallet"]) == (5 * DOLLAR, "5.000000000000")
    assert (decided["version"], decided["currency"]) == (9, catalog.currency)
    assert decided["sentence"] == "3 of 3 tickets are paid: about $0.01."


def test_a_denial_is_an_answer(api: RunningApi, tokens: dict[str, str]) -> None:
    """A call that may not go is no error of the request: 200, with allowed false, reason and sentence."""
    answer = api.request("post", "/v1/quota/check", tokens["operator"], CALL | {"deployment": "dep_globex"})

    assert answer.status_code == 200
    assert (answer.json()["allowed"], answer.json()["reason"]) == (False, "wrong_customer")


def test_quotes_several_requests_each_by_itself(api: RunningApi, tokens: dict[str, str]) -> None:
    """One request or an array of them: an answer and a sentence for each, in their order."""
    several = api.request("post", "/v1/quote", tokens["acme"], [CALL, CALL | {"cost": "1.50"}]).json()["quotes"]
    one = api.request("post", "/v1/quote", tokens["acme"], CALL).json()["quotes"]

    assert [quote["charge_pico"] for quote in several] == [CENT, 150 * CENT]
    assert [quote["sentence"] for quote in several] == [
        "1 of 1 ticket is paid: about $0.01.",
        "1 of 1 ticket is paid: about $1.50.",
    ]
    assert [quote["charge_pico"] for quote in one] == [CENT]


def test_one_of_anothers_spoils_a_quote(api: RunningApi, tokens: dict[str, str]) -> None:
    """Nothing is answered about other tenants, however it is wrapped."""
    other = CALL | {"customer": "globex", "deployment": "dep_globex"}

    answer = api.request("post", "/v1/quote", tokens["acme"], [CALL, other])

    assert answer.status_code == 403
    assert "quotes" not in answer.json()


def test_who_may_not_read_is_not_told_what_exists(api: RunningApi, tokens: dict[str, str]) -> None:
    """For another tenant's customer and for nobody's the answer is the same, on every route."""
    for method, path, body in (
        ("get", "/v1/quota/{}", None),
        ("get", "/v1/quota/{}/stream", None),
        ("post", "/v1/quota/check", CALL),
        ("post", "/v1/quote", CALL),
    ):
        answers = []
        for customer in ("globex", "nobody"):
            content = body and body | {"customer": customer, "deployment": f"dep_{customer}"}
            answer = api.request(method, path.format(customer), tokens["dep_acme"], content)
            answers.append((answer.status_code, {**answer.json(), "request_id": ""}))
        assert answers[0] == answers[1], path
        assert answers[0][0] == 403


@pytest.mark.parametrize(
    ("content", "status", "word"),
    [
        (b"{", 400, "JSON"),
        (b"7", 400, "object"),
        (b"[]", 422, "1 to 100"),
        ([CALL] * 101, 422, "1 to 100"),
        (CALL | {"quantity": -1}, 422, "quantity"),
        (CALL | {"cost": 0.1}, 422, "cost"),
        (CALL | {"tokens": 5}, 422, "tokens"),
        ([CALL, CALL | {"unit": None}], 422, "1: unit: required"),
        (b" " * 300_000, 413, "bytes"),
    ],
)
def test_says_what_is_wrong_with_a_request(
    api: RunningApi, tokens: dict[str, str], content: Any, status: int, word: str
) -> None:
    """The field is named, and where it stands in an array."""
    answer = api.request("post", "/v1/quote", tokens["acme"], content)

    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert word in answer.json()["detail"]


def test_nothing_is_answered_before_the_records_are_read(api: RunningApi, tokens: dict[str, str]) -> None:
    """An empty board would allow everything: 503 until it is read, also for who asks whether it is ready."""
    board, as_of_s = api.app.state.board, api.app.state.board.as_of_s
    follower = api.app.state.quota
    read_at, board.read_at = board.read_at, lambda _: None
    board.as_of_s, follower.fault = float("-inf"), "the quota records are not read yet"
    try:
        answers = [
            api.request("get", "/v1/quota/acme", tokens["acme"], None),
            api.request("get", "/v1/quota/acme/stream", tokens["acme"], None),
            api.request("post", "/v1/quota/check", tokens["acme"], CALL),
            api.request("post", "/v1/quote", tokens["acme"], CALL),
            api.request("get", "/readyz", None, None),
        ]
    finally:
        board.as_of_s, board.read_at, follower.fault = as_of_s, read_at, None

    assert [answer.status_code for answer in answers] == [503] * 5
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
