import json
from dataclasses import replace

import pytest

from pipeline.codec.lines import encode_alert, encode_line, line_fields
from pipeline.domain.alerts import Alert
from pipeline.domain.catalog import Allowance
from tests.domain.world import CENT, World

FIELDS = [
    "customer",
    "seq",
    "event_id",
    "source",
    "time",
    "posted_at",
    "period",
    "late",
    "builder",
    "app",
    "plan",
    "plan_version",
    "deployment",
    "environment",
    "workspace",
    "feature",
    "model",
    "class",
    "request_type",
    "unit",
    "kind",
    "quantity",
    "included",
    "granted",
    "overage",
    "blocked",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "cost_pico",
    "cost_charged_pico",
    "margin_pico",
    "surcharge_pico",
    "charge_pico",
    "provider_reward_pico",
    "builder_earnings_pico",
    "pools",
]


@pytest.mark.rule("R7.1")
def test_a_line_has_the_fields_of_the_spec_and_no_other() -> None:
    """The names are those of R7.1; the topic's form adds the version."""
    line = World().line()

    assert set(line_fields(line)) == set(FIELDS)
    assert set(json.loads(encode_line(line, 1))) == {*FIELDS, "version"}


@pytest.mark.rule("R7.1", "R3.1")
def test_a_line_says_what_was_rated() -> None:
    """Names, times in UTC with microseconds, units, pools and money of a late, partly included event."""
    world = World(allowances=(Allowance("a", 1, scope="workspace"),), grace_hours=0)
    event = world.event(
        id="e", time="2026-10-31T10:00:00.5Z", quantity=2, model="large", operation="job", request_type="chat",
        input_tokens=1, cached_input_tokens=2, output_tokens=3,
    )  # fmt: skip

    rated = world.send(event, sent="2026-11-01T00:00:00.007Z")

    assert rated is not None
    assert line_fields(rated.line) == {
        "customer": "acme",
        "seq": 1,
        "event_id": "e",
        "source": "dep",
        "time": "2026-10-31T10:00:00.500000Z",
        "posted_at": "2026-11-01T00:00:00.007000Z",
        "period": "2026-11-01",
        "late": True,
        "builder": "northwind",
        "app": "docflow",
        "plan": "team",
        "plan_version": 1,
        "deployment": "dep",
        "environment": "production",
        "workspace": "legal",
        "feature": "contract-extraction",
        "model": "large",
        "class": "premium",
        "request_type": "chat",
        "unit": "document",
        "kind": "usage",
        "quantity": 2,
        "included": 1,
        "granted": 0,
        "overage": 1,
        "blocked": 0,
        "input_tokens": 1,
        "cached_input_tokens": 2,
        "output_tokens": 3,
        "cost_pico": CENT,
        "cost_charged_pico": CENT // 2,
        "margin_pico": 0,
        "surcharge_pico": 0,
        "charge_pico": CENT // 2,
        "provider_reward_pico": CENT // 2,
        "builder_earnings_pico": 0,
        "pools": [{"id": "a", "scope_value": "legal", "units": 1}],
    }


@pytest.mark.rule("R5.3")
@pytest.mark.parametrize("amount", [2**63, -(2**64), 10**38 - 1, -(10**38) + 1])
def test_amounts_beyond_64_bits_are_integers_on_the_wire(amount: int) -> None:
    """Every amount is a JSON integer with all its digits under a name that ends in _pico."""
    line = replace(World().line(), cost_pico=amount, cost_charged_pico=amount, margin_pico=-amount + 1)

    text = encode_line(line, 1)

    sent = json.loads(text, parse_float=lambda digits: pytest.fail(f"{digits} is no integer"))
    assert (sent["cost_pico"], sent["margin_pico"], sent["charge_pico"]) == (amount, 1 - amount, 1)
    assert f'"cost_pico":{amount},'.encode() in text


@pytest.mark.rule("R6.10")
def test_an_alert_says_what_was_reached_by_which_line() -> None:
    """An alert's fields are customer, period, id, scope_value, threshold and seq."""
    alert = Alert("acme", "2026-11-01", "cap", "legal", 80, 7)

    assert json.loads(encode_alert(alert)) == {
        "customer": "acme",
        "period": "2026-11-01",
        "id": "cap",
        "scope_value": "legal",
        "threshold": 80,
        "seq": 7,
    }
