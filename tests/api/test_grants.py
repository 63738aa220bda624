"""Grants and top-ups over HTTP: what the worker would refuse, is refused here."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.codec.records import decode_grant
from pipeline.domain.grants import Grant, TopUp
from pipeline.domain.records import GRANTS_TOPIC
from tests.api.support import RunningApi, records_with

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples" / "billing.grants"


@pytest.mark.rule("R2.5")
@pytest.mark.parametrize("name", ["grant.json", "topup.json"])
def test_a_grant_arrives_as_it_was_sent(api: RunningApi, tokens: dict[str, str], name: str) -> None:
    """The examples are accepted, and the worker reads them from Kafka under the customer's key."""
    given = json.loads((EXAMPLES / name).read_text()) | {"customer": "acme"}

    answer = api.request("post", "/v1/grants", tokens["operator"], given)

    assert answer.status_code == 202, answer.text
    assert answer.json() == {"id": given["id"], "customer": "acme", "status": "accepted"}
    (record,) = records_with(api.settings, GRANTS_TOPIC, [given["id"]])
    assert record.key == b"acme"
    assert isinstance(decode_grant(record), Grant if name == "grant.json" else TopUp)


TOPUP = {"type": "topup", "id": "1", "customer": "acme", "amount": "1"}


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (TOPUP | {"amount": 1}, 422, "amount"),
        (TOPUP | {"amount": "-1"}, 422, "amount"),
        (TOPUP | {"id": None}, 422, "id"),
        (TOPUP | {"type": "gift"}, 422, "type"),
        (TOPUP | {"customer": "nobody"}, 409, "nobody"),
        ({"type": "grant", "id": "1", "customer": "acme", "quantity": 1, "match": {"colour": []}}, 422, "colour"),
        ([], 400, "object"),
        (b"{", 400, "JSON"),
        (b'{"id":"1","id":"2"}', 400, "twice"),
    ],
)
def test_a_faulty_grant_is_told_why(
    api: RunningApi, tokens: dict[str, str], content: Any, status: int, words: str
) -> None:
    """The answer names the field; nothing is written."""
    answer = api.request("post", "/v1/grants", tokens["operator"], content)

    assert answer.status_code == status
    assert words in answer.json()["detail"]


def test_a_grant_is_json(api: RunningApi, tokens: dict[str, str]) -> None:
    """Any other content type is 415."""
    assert api.request("post", "/v1/grants", tokens["operator"], TOPUP, content_type="text/plain").status_code == 415
