"""What is sent in each way arrives on Kafka as it was sent, and as the worker accepts it."""

import gzip
import json
from typing import Any

import pytest

from pipeline.domain.catalog import Catalog
from pipeline.domain.records import EVENTS_TOPIC
from tests.api.support import RunningApi, records_with, usage, worker_takes

SINGLE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
NDJSON = "application/x-ndjson"


def lines(*events: Any) -> bytes:
    return b"\n".join(json.dumps(event).encode() for event in events) + b"\n"


def in_binary_mode(event: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    headers = {f"ce_{name}": value for name, value in event.items() if name != "data"}
    return json.dumps(event["data"]).encode(), headers | {"content_type": "application/json"}


@pytest.mark.rule("R2.1")
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("mode", ["single", "batch", "ndjson", "binary", "json object", "json array"])
def test_every_mode_arrives(api: RunningApi, tokens: dict[str, str], catalog: Catalog, mode: str, zipped: bool) -> None:
    """Each content mode, compressed or not, becomes a record that the worker takes, keyed by the customer."""
    names = [f"{mode} {zipped} {number}" for number in range(1 if mode in ("single", "binary", "json object") else 3)]
    events = [usage(name, quantity=10**12, cost="0.000000000001", operation="ü") for name in names]
    headers: dict[str, str] = {}
    body = json.dumps(events if len(events) > 1 else events[0]).encode()
    if mode == "binary":
        body, headers = in_binary_mode(events[0])
    elif mode == "ndjson":
        body, headers = lines(*events), {"content_type": NDJSON}
    elif not mode.startswith("json"):
        headers = {"content_type": SINGLE if mode == "single" else BATCH}
    if zipped:
        body, headers = gzip.compress(body), headers | {"content_encoding": "gzip"}

    answer = api.events(tokens["dep_acme"], body, **headers)

    assert answer.status_code == 202, answer.text
    said = answer.json()
    assert (said["accepted"], said["rejected"]) == (len(names), 0)
    assert said["results"] == [{"index": i, "id": name, "status": "accepted"} for i, name in enumerate(names)]
    (record,) = records_with(api.settings, EVENTS_TOPIC, names)
    assert worker_takes([record], catalog) == names
    assert dict(record.headers)["content-type"].decode() == (SINGLE if len(names) == 1 else BATCH)
    decoded = json.loads(record.value or b"")
    assert [each["data"] for each in (decoded if len(names) > 1 else [decoded])] == [each["data"] for each in events]


def test_an_event_arrives_as_it_was_written(api: RunningApi, tokens: dict[str, str]) -> None:
    """Order of keys, unknown fields, spacing and the digits of numbers are kept to the byte."""
    text = json.dumps(usage("as written", cost="1.500"), indent=1).replace(
        '"data": {', '"data": {"odd": 1.50e+2,  "x":[ ],'
    )

    answer = api.events(tokens["dep_acme"], b"[%b ,%b]" % (text.encode(), json.dumps(usage("beside it")).encode()))

    assert answer.status_code == 202
    (record,) = records_with(api.settings, EVENTS_TOPIC, ["as written"])
    assert text.encode() in (record.value or b"")


def test_sound_events_go_on_without_the_others(api: RunningApi, tokens: dict[str, str], catalog: Catalog) -> None:
    """A mixed request is 202, says so plainly, names each fault by index and id, and keeps only what it accepted."""
    sound = [usage("mixed 1"), usage("mixed 2")]
    faulty: list[Any] = [
        usage("no unit", unit=None),
        usage("other", "dep_globex", "globex"),
        3,
        usage("float", quantity=1.5),
    ]

    answer = api.events(tokens["dep_acme"], [sound[0], *faulty, sound[1]])

    said = answer.json()
    assert answer.status_code == 202
    assert (said["accepted"], said["rejected"]) == (2, 4)
    assert "2 of 6" in said["message"]
    assert [each["status"] for each in said["results"]] == ["accepted", *["rejected"] * 4, "accepted"]
    assert [(each["id"], each["code"]) for each in said["results"][1:5]] == [
        ("no unit", "invalid_field"),
        ("other", "forbidden"),
        (None, "malformed"),
        ("float", "invalid_field"),
    ]
    assert "data.unit" in said["results"][1]["message"]
    (record,) = records_with(api.settings, EVENTS_TOPIC, ["mixed 1"])
    assert worker_takes([record], catalog) == ["mixed 1", "mixed 2"]


FAR = "2099-01-01T00:00:00Z"
REFUSALS: list[tuple[str, Any, int, str]] = [
    ("dep_acme", usage(quantity=-1), 422, "invalid_field"),
    ("dep_acme", usage(source="dep_globex", subject="globex"), 403, "forbidden"),
    ("dep_acme", usage(subject="globex"), 403, "forbidden"),
    ("acme", usage(), 403, "forbidden"),
    ("northwind", usage(), 403, "forbidden"),
    ("dep_acme_vault", usage(source="dep_acme_vault"), 409, "air_gapped"),
    ("operator", usage(source="dep_acme_vault"), 409, "air_gapped"),
    ("operator", usage(source="dep_nobody"), 409, "unknown_deployment"),
    ("operator", usage(subject="nobody"), 409, "unknown_customer"),
    ("operator", usage(source="dep_globex"), 409, "wrong_customer"),
    ("operator", usage() | {"time": FAR}, 409, "time_in_future"),
    ("operator", b"{", 400, "malformed"),
    ("operator", b'{"id": "1", "id": "2"}', 400, "malformed"),
    ("operator", b'{"id": NaN}', 400, "malformed"),
    ("operator", b"\xff{}", 400, "malformed"),
    ("operator", b"[" * 200 + b"]" * 200, 400, "malformed"),
    ("operator", b"[]", 400, "malformed"),
    ("operator", b"", 400, "malformed"),
    ("operator", b"[1, 2] 3", 400, "malformed"),
]


@pytest.mark.parametrize(("name", "content", "status", "code"), REFUSALS)
def test_what_is_not_accepted_says_why(
    api: RunningApi, tokens: dict[str, str], name: str, content: Any, status: int, code: str
) -> None:
    """When nothing is accepted the status and the code tell whose fault it is, and the detail what to mend."""
    answer = api.events(tokens[name], content)

    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert problem["detail"]
    codes = [each["code"] for each in problem.get("results", ())] or [problem["type"].rpartition(":")[2]]
    assert set(codes) == {code}


def test_an_air_gapped_deployment_is_told_the_way(api: RunningApi, tokens: dict[str, str]) -> None:
    """Over HTTP comes nothing of it; `usage import` is its way (R4.4)."""
    answer = api.events(tokens["dep_acme_vault"], usage(source="dep_acme_vault"), x_usage_import="offline")

    assert answer.status_code == 409
    assert "import command" in answer.json()["detail"]


def test_one_odd_event_does_not_hold_the_batch_back(api: RunningApi, tokens: dict[str, str]) -> None:
    """NaN, a key that stands twice or half of a surrogate pair concerns its event only."""
    odd = [b'{"id":NaN}', b'{"id":"1","id":"2"}', b'"\\ud800"', b"[" * 127 + b"]" * 127]
    body = b"[%b,%b]" % (b",".join(odd), json.dumps(usage("among odd ones")).encode())

    said = api.events(tokens["dep_acme"], body).json()

    assert [each["status"] for each in said["results"]] == [*["rejected"] * 4, "accepted"]
    assert {each.get("code") for each in said["results"][:4]} == {"malformed"}


@pytest.mark.parametrize("line", ["{}, {}", "1],[2", '{"a":1}]', "[{}]", '{"id":"x"', " ", '{"a":1}{"b":2}'], ids=repr)
def test_a_line_cannot_be_more_than_an_event(
    api: RunningApi, tokens: dict[str, str], catalog: Catalog, line: str
) -> None:
    """What a line of NDJSON holds cannot slip into the record beside the event that it should be."""
    name = f"beside {line!r}"
    body = lines(usage(name)) + line.encode() + b"\n"

    said = api.events(tokens["dep_acme"], body, content_type=NDJSON).json()

    assert said["accepted"] == 1
    assert said["rejected"] == (1 if line.strip() else 0)
    (record,) = records_with(api.settings, EVENTS_TOPIC, [json.dumps(name)])
    assert worker_takes([record], catalog) == [name]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"ce_source": "dep_globex"}, None),
        ({"ce_data": "{}"}, None),
        ({"ce_datacontenttype": "application/json"}, None),
        ({"ce_Odd_name": "x"}, None),
        ({"ce_id": "%ff"}, None),
        ({}, b'{}, "source": "dep_globex"'),
        ({}, b'{}, "more": 1'),
        ({}, b""),
        ({}, b"null"),
        ({"ce_specversion": "0.3"}, None),
    ],
)
def test_binary_mode_is_as_strict(
    api: RunningApi, tokens: dict[str, str], headers: dict[str, str], body: bytes | None
) -> None:
    """Headers cannot say what they may not, and data cannot reach out into the attributes."""
    data, given = in_binary_mode(usage("strict"))

    answer = api.events(tokens["dep_acme"], data if body is None else body, **(given | headers))

    assert answer.status_code in (400, 403, 422), answer.text


@pytest.mark.parametrize("text", ["a b%c", "ü", 'say "hi"'])
@pytest.mark.parametrize("quoted", [False, True])
def test_header_values_are_decoded(api: RunningApi, tokens: dict[str, str], text: str, quoted: bool) -> None:
    """Attributes in headers are percent-encoded, and may be quoted (CloudEvents' HTTP binding, 3.1.3.2)."""
    data, headers = in_binary_mode(usage("encoded"))
    encoded = text.encode().hex("%", 1)
    value = f'"%{encoded}"' if quoted else f"%{encoded}"

    answer = api.events(tokens["dep_acme"], data, **(headers | {"ce_id": value}))

    assert answer.status_code == 202, answer.text
    assert answer.json()["results"][0]["id"] == text


def test_a_header_that_stands_twice_is_refused(api: RunningApi, tokens: dict[str, str]) -> None:
    """Of two sources nobody can say which one is meant."""
    data, headers = in_binary_mode(usage("twice"))

    answer = api.events(tokens["dep_acme"], data, **(headers | {"CE_ID": "2"}))

    assert answer.status_code == 400


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "",
        "application/cloudevents+xml",
    ],
)
def test_other_content_is_not_understood(api: RunningApi, tokens: dict[str, str], content_type: str) -> None:
    """Other content types are 415, and the answer lists those that are understood."""
    answer = api.events(tokens["dep_acme"], usage(), content_type=content_type)

    assert answer.status_code == 415


@pytest.mark.parametrize(("content_type", "content"), [(SINGLE, [usage()]), (BATCH, usage())])
def test_content_type_and_body_must_agree(
    api: RunningApi, tokens: dict[str, str], content_type: str, content: Any
) -> None:
    """A batch that calls itself an event, and the other way round, is refused (R2.1)."""
    assert api.events(tokens["dep_acme"], content, content_type=content_type).status_code == 400


def test_an_operator_sends_for_many_customers_at_once(
    api: RunningApi, tokens: dict[str, str], catalog: Catalog
) -> None:
    """Events of several customers go into a record each, in their order."""
    events = [usage(f"many {i}", *[("dep_acme", "acme"), ("dep_globex", "globex")][i % 2]) for i in range(6)]

    assert api.events(tokens["operator"], events).json()["accepted"] == 6

    records = records_with(api.settings, EVENTS_TOPIC, [f'"many {i}"' for i in range(6)])
    found = {record.key: worker_takes([record], catalog) for record in records}
    assert found == {b"acme": ["many 0", "many 2", "many 4"], b"globex": ["many 1", "many 3", "many 5"]}


def test_reservations_go_the_same_way(api: RunningApi, tokens: dict[str, str], catalog: Catalog) -> None:
    """Reserve, commit and release are events like any other (R9.1)."""
    reserve = usage("r1", ttl_s=60) | {"type": "ai.usage.reserve.v1"}
    release = usage("r2") | {"type": "ai.usage.release.v1", "data": {"reservation": "r1"}}

    answer = api.events(tokens["dep_acme"], [reserve, usage("r3", reservation="r1"), release])

    assert answer.json()["accepted"] == 3, answer.text
    (record,) = records_with(api.settings, EVENTS_TOPIC, ['"r3"'])
    assert worker_takes([record], catalog) == ["r1", "r3", "r2"]
