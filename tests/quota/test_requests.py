"""Requests as programs write them."""

from typing import Any

import pytest

from pipeline.domain.quota import Request
from pipeline.domain.rejects import Rejected
from pipeline.quota.requests import parse_request
from tests.domain.world import CENT
from tests.quota.support import ASKED

SOUND = {"customer": "acme", **ASKED}


def test_reads_what_an_event_would_say() -> None:
    """Optional fields have the defaults of usage events, null counts as absent, and a cost is a decimal string."""
    assert parse_request(SOUND) == ("acme", Request(**ASKED))
    assert parse_request(SOUND | {"quantity": None, "cost": "0.01", "route": "byok", "reservation": "r"}) == (
        "acme",
        Request(**ASKED, cost_pico=CENT, byok=True, reservation="r"),
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "a request is a JSON object"),
        ({name: value for name, value in SOUND.items() if name != "customer"}, "customer: required"),
        (SOUND | {"workspace": ""}, "workspace: must have 1 to 128"),
        (SOUND | {"workspace": "a\nb"}, "workspace: must not hold control"),
        (SOUND | {"quantity": -1}, "quantity: must be 0 to"),
        (SOUND | {"quantity": 1.0}, "quantity: must be an integer"),
        (SOUND | {"quantity": True}, "quantity: must be an integer"),
        (SOUND | {"cost": 0.1}, "cost: must be a string"),
        (SOUND | {"cost": "-1"}, "cost: "),
        (SOUND | {"route": "scenic"}, "route: must be routed or byok"),
        (SOUND | {"quanity": 3}, "quanity: there is no such field"),
    ],
)
def test_names_the_field_that_is_wrong(value: Any, message: str) -> None:
    """What an event would be rejected for is refused, and so is a field that nobody knows: a typo would change the price."""
    with pytest.raises(Rejected) as caught:
        parse_request(value)

    assert message in caught.value.message
