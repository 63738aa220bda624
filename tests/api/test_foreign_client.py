"""Events that another CloudEvents client made."""

from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from pipeline.domain.catalog import Catalog
from pipeline.domain.records import EVENTS_TOPIC
from tests.api.support import RunningApi, records_with, usage, worker_takes


def event_of(identity: str, **data: Any) -> CloudEvent:
    """Return a usage event as the client's users would make it."""
    made = usage(identity, **data)
    attributes = {name: made[name] for name in ("type", "source", "subject")}
    extra = {"id": identity, "specversion": "1.0", "time": datetime.now(UTC), "datacontenttype": "application/json"}
    return CloudEvent(attributes=attributes | extra, data=made["data"])


@pytest.mark.parametrize("form", [to_structured, to_binary])
def test_single_events_arrive(api: RunningApi, tokens: dict[str, str], catalog: Catalog, form: Any) -> None:
    """Structured and binary messages of the cloudevents package are taken as they are."""
    identity = f'foreign {form.__name__} ü%"'
    message = form(event_of(identity, quantity=3, cost="0.10"), JSONFormat())

    answer = api.events(tokens["dep_acme"], bytes(message.body), **message.headers)

    assert answer.status_code == 202, answer.text
    assert answer.json()["results"][0]["id"] == identity
    (record,) = records_with(api.settings, EVENTS_TOPIC, [f"foreign {form.__name__}"])
    assert worker_takes([record], catalog) == [identity]


def test_batches_arrive(api: RunningApi, tokens: dict[str, str], catalog: Catalog) -> None:
    """So is a batch in the JSON batch format, put together of the client's events."""
    names = [f"foreign batch {number}" for number in range(3)]
    bodies = [bytes(to_structured(event_of(name), JSONFormat()).body) for name in names]

    answer = api.events(
        tokens["dep_acme"],
        b"[%b]" % b",".join(bodies),
        content_type="application/cloudevents-batch+json; charset=UTF-8",
    )

    assert answer.json()["accepted"] == 3, answer.text
    (record,) = records_with(api.settings, EVENTS_TOPIC, names)
    assert worker_takes([record], catalog) == names
