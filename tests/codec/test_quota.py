"""Quota records and catalog views on the wire (R8.3)."""

import json
from pathlib import Path

import jsonschema
import pytest

from pipeline.codec.catalog_view import decode_view, encode_view
from pipeline.codec.quota import decode_quota, encode_quota, quota_schema
from pipeline.codec.records import decode_events
from pipeline.domain.events import CommittingEvent, Release, Reserve, UsageEvent
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.settings.resources import schema_path
from tests.rating.support import case

QUOTAS = sorted(schema_path("examples", "usage.quota").glob("*.json"))


@pytest.mark.rule("R8.3")
def test_the_published_schema_is_that_of_the_code() -> None:
    """`schemas/json/usage.quota.v1.schema.json` is what `quota_schema` returns: write it anew when a record changes."""
    assert json.loads(schema_path("json", "usage.quota.v1.schema.json").read_text()) == quota_schema()


@pytest.mark.rule("R8.3")
@pytest.mark.parametrize("path", QUOTAS, ids=lambda path: path.stem)
def test_the_examples_are_records(path: Path) -> None:
    """An example fits the schema, is read, and is what is written again."""
    example = json.loads(path.read_text())

    record = decode_quota(path.read_bytes())

    jsonschema.validate(example, quota_schema())
    assert json.loads(encode_quota(record)) == example


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"{}", "cannot be read"),
        (b"", "cannot be read"),
        (b'{"schema":2,"customer":"a","version":0,"seq":0,"watermark_ms":0,"wallet_pico":0}', "update this program"),
    ],
)
def test_a_record_that_we_cannot_read_is_refused(value: bytes, message: str) -> None:
    """The error says what is wrong."""
    with pytest.raises(ValueError, match=message):
        decode_quota(value)


@pytest.mark.rule("R9.1")
@pytest.mark.parametrize(
    ("name", "kind"),
    [("usage", UsageEvent), ("commit", CommittingEvent), ("reserve", Reserve), ("release", Release)],
)
def test_the_examples_are_events(name: str, kind: type) -> None:
    """Each example of an event is accepted, for what it is."""
    value = schema_path("examples", "usage.events", f"{name}.json").read_bytes()

    (event,) = decode_events(Record(EVENTS_TOPIC, 0, 0, 1_793_700_000_000, b"acme", value))

    assert type(event) is kind


@pytest.mark.rule("R8.3")
@pytest.mark.parametrize("seed", range(8))
def test_a_view_tells_of_its_customers_alone(seed: int) -> None:
    """It holds the plans, deployments and models of its customers as they are, and nobody else's name or terms."""
    catalog = case(seed).catalog
    for customer in catalog.customers:
        value = encode_view(catalog, [customer, "unheard-of"])

        view = decode_view(value)

        assert set(view.customers) == {customer}
        assert {each.customer for each in view.deployments.values()} <= {customer}
        assert view.subscriptions == {key: some for key, some in catalog.subscriptions.items() if key[0] == customer}
        assert view.models == catalog.models
        assert not any(json.dumps(other).encode() in value for other in catalog.customers if other != customer)


def test_a_view_that_we_cannot_read_is_refused() -> None:
    """The error says what is wrong."""
    with pytest.raises(ValueError, match="cannot be read"):
        decode_view(b"[]")
    with pytest.raises(ValueError, match="update this program"):
        decode_view(encode_view(case(0).catalog, []).replace(b'"schema":1', b'"schema":2'))
