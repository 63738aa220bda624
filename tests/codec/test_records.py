import json

import pytest

from pipeline.codec.records import GRANT_BYTES_MAX, decode_events, decode_grant, envelope_of, key_of, originals_of
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.domain.rejects import Rejected
from tests.domain.world import NOON, ms
from tests.rating.support import event

SINGLE = b"application/cloudevents+json"
BATCH = b"application/cloudevents-batch+json"
MEBIBYTE = 1 << 20
A, B = (json.dumps(event(name)).encode() for name in "ab")
"""Two sound events."""


def record(value: bytes | None, *headers: tuple[str, bytes], key: bytes | None = b"acme") -> Record:
    return Record(EVENTS_TOPIC, 0, 0, ms(NOON), key, value, headers)


def refusal(refused: Record) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decode_events(refused)
    return caught.value


def found_in(decoded: Record) -> list[str]:
    """Return the ids of a record's events, the code where one is rejected."""
    return [each.code if isinstance(each, Rejected) else each.id for each in decode_events(decoded)]


@pytest.mark.rule("R2.1")
@pytest.mark.parametrize(
    ("value", "content_type", "found"),
    [
        (A, None, ["a"]),
        (b"[%b,%b]" % (A, B), None, ["a", "b"]),
        (b" \r\n\t[%b]" % A, None, ["a"]),
        (A, SINGLE, ["a"]),
        (A, b"Application/CloudEvents+JSON ; charset=utf-8", ["a"]),
        (b"[%b]" % A, BATCH, ["a"]),
        (b'[%b,{"a":1},%b]' % (A, B), BATCH, ["a", "invalid_field", "b"]),
        (b'[%b,{"a":1,"a":1},%b]' % (A, B), BATCH, ["a", "malformed", "b"]),
        (b'{"a":1}', None, ["invalid_field"]),
        (b'{"a":1}', SINGLE, ["invalid_field"]),
        (b"[1, null]", BATCH, ["malformed", "malformed"]),
    ],
)
def test_a_record_is_an_event_or_a_batch(value: bytes, content_type: bytes | None, found: list[str]) -> None:
    """The content type says which, or the first byte that is no space; its parameters and case do not matter."""
    headers = [] if content_type is None else [("Content-Type", content_type)]

    assert found_in(record(value, *headers)) == found


@pytest.mark.rule("R2.1", "R2.3")
@pytest.mark.parametrize(
    ("value", "content_type"),
    [
        (None, None), (b"", None), (b"[]", None), (b" [ ] ", BATCH), (b"null", None), (b"17", None), (b'"text"', None),
        (b"true", None), (b'{"a":1}', BATCH), (b'[{"a":1}]', SINGLE), (b'{"a":1}', b"application/json"), (b'{"a":1}', b""),
        (b'{"a":1}', b"\xff"), (b'{"a":1,"a":1}', BATCH), (A, BATCH), (b"[%b]" % A, SINGLE), (A, b"application/json"),
        (A, b""), (A, b"\xff"),
    ],
)  # fmt: skip
def test_a_record_of_another_form_is_malformed(value: bytes | None, content_type: bytes | None) -> None:
    """No value, an empty batch, another type than the body's, or a body of no events reject the whole record."""
    headers = [] if content_type is None else [("content-type", content_type)]

    rejected = refusal(record(value, *headers))

    assert rejected.code == "malformed"
    assert rejected.message.isprintable()


@pytest.mark.rule("R2.1")
def test_a_batch_has_at_most_10000_events() -> None:
    """10,000 elements are let through to be judged one by one, one more is too_large."""
    assert len(decode_events(record(b"[" + b"0," * 9_999 + b"0]"))) == 10_000
    assert refusal(record(b"[" + b"0," * 10_000 + b"0]")).code == "too_large"


@pytest.mark.rule("R2.1")
@pytest.mark.parametrize("value", [b'{"a":1}', b'[{"a":1}]', b'{"a":"\xc3\xbc"}', A, b"[%b]" % A])
def test_a_record_has_at_most_a_mebibyte(value: bytes) -> None:
    """1,048,576 bytes are accepted, white space counted; one more is too_large."""
    padded = value.ljust(MEBIBYTE)

    assert len(decode_events(record(padded))) == 1
    assert refusal(record(padded + b" ")).code == "too_large"


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"[]", "malformed"), (b"[1,]", "malformed"), (b"17", "malformed"), (b"\xff", "malformed"),
        (b'{"specversion": "0.3"}', "too_large"), (b'{"a":1,"a":1}', "too_large"), (A, "too_large"),
        (b"[%b]" % A, "too_large"),
    ],
)  # fmt: skip
def test_malformed_records_are_told_from_large_ones_first(value: bytes, code: str) -> None:
    """A large record that is no batch is malformed; one whose events are broken is too_large before they are read."""
    assert refusal(record(value.ljust(MEBIBYTE + 1))).code == code


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize("timestamp_ms", [ms("2140-01-01T00:00:00Z"), 2**62])
def test_a_timestamp_that_cannot_be_one_is_malformed(timestamp_ms: int) -> None:
    """A record with a timestamp in microseconds is rejected whatever it holds."""
    assert refusal(record(A)._replace(timestamp_ms=timestamp_ms)).code == "malformed"
    assert refusal(record(b"{}")._replace(timestamp_ms=timestamp_ms)).code == "malformed"
    with pytest.raises(Rejected) as caught:
        decode_grant(record(b"{}")._replace(timestamp_ms=timestamp_ms))
    assert caught.value.code == "malformed"


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize("timestamp_ms", [0, ms("2139-12-31T23:59:59.999Z")])
def test_timestamps_at_the_limits_are_accepted(timestamp_ms: int) -> None:
    """1970 and 2139 are the first and the last year of record timestamps."""
    assert found_in(record(A)._replace(timestamp_ms=timestamp_ms)) == ["a"]


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize("value", [b'{"a":1,"a":1}', b"[NaN]", b'["\\ud800"]', b"[17]", b"[null]", b"[[]]"])
def test_a_faulty_event_is_malformed_by_itself(value: bytes) -> None:
    """What decodes as a batch but holds no sound object is malformed when its turn comes."""
    assert found_in(record(value)) == ["malformed"]


@pytest.mark.rule("R2.5")
@pytest.mark.parametrize(
    "value", [None, b"", b"[]", b'[{"type":"topup"}]', b'{"id":"a","id":"a"}', b'{"x":NaN}', b"\xff"]
)
def test_a_grant_record_holds_one_sound_object(value: bytes | None) -> None:
    """Anything but one sound JSON object in billing.grants is malformed; its content type does not matter."""
    with pytest.raises(Rejected) as caught:
        decode_grant(record(value, ("content-type", b"text/plain")))

    assert caught.value.code == "malformed"


@pytest.mark.rule("R4.4")
@pytest.mark.parametrize(
    ("headers", "offline"),
    [
        ([], False),
        ([("x-usage-import", b"offline")], True),
        ([("x-usage-import", b"online")], False),
        ([("x-usage-import", b"Offline")], False),
        ([("other", b"offline")], False),
        ([("x-usage-import", b""), ("x-usage-import", b"offline")], True),
    ],
)
def test_the_import_header_marks_an_import(headers: list[tuple[str, bytes]], *, offline: bool) -> None:
    """Only the header x-usage-import with the value offline makes a record an import."""
    assert envelope_of(record(b"{}", *headers), "acme").offline_import is offline


@pytest.mark.rule("R2.1")
def test_a_key_is_text_or_none() -> None:
    """The key is read as UTF-8; what is none belongs to no customer."""
    assert key_of(record(b"", key="bürger & co".encode())) == "bürger & co"
    assert key_of(record(b"", key=b"\xff")) is None
    assert key_of(record(b"", key=None)) is None


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize(
    "events",
    [
        [b'{"a" : 1,  "b":[1, {"c":"],}"}]}', b"17", b'"x\\"],[{"', b"null", b"[ ]", b"{}", b'{"u":"\xc3\xbc\\u00fc"}'],
        [
            b'{"a" : 1,  "b":[1, {"c":"],}"}]}',
            b"NaN",
            b'"x\\"],[{"',
            b"-Infinity",
            b"[ NaN ]",
            b'{"x":NaN}',
            b"[[],[]]",
        ],
        [b"[" * 600 + b"]" * 600, b'{"a":1}', b"1.50e+3"],
        [b'{"a":1,"a":1}'],
        [b'{"a":"\\ud800"}', b'"\\ud800"'],
    ],
)
@pytest.mark.parametrize("comma", [b",", b" ,\n\t", b", "])
def test_the_original_of_an_event_is_its_bytes_as_sent(events: list[bytes], comma: bytes) -> None:
    """Each event of a batch comes out to the byte, without the white space around it, whatever is wrong in it."""
    assert originals_of(record(b" [ " + comma.join(events) + b" ]\n")) == events


@pytest.mark.rule("R2.3")
def test_the_original_of_a_single_event_is_the_record() -> None:
    """What is no batch is kept whole, white space and all."""
    assert originals_of(record(b' {"a": 1}\n')) == [b' {"a": 1}\n']


def test_originals_stand_at_the_places_of_the_decoded_events() -> None:
    """A batch has as many originals as decoded events, each reading as its event."""
    batch = [event(f"e{number}", deep=[[{}]], text=',"[]{}') for number in range(50)]
    value = json.dumps(batch).encode()

    decoded, originals = decode_events(record(value)), originals_of(record(value))

    assert [decode_events(record(each)) for each in originals] == [[each] for each in decoded]
    assert [json.loads(each) for each in originals] == batch


@pytest.mark.rule("R2.5")
def test_a_grant_that_would_burden_the_state_for_ever_is_too_large() -> None:
    """A grant of 64 KiB is read; one byte more and it is refused, whatever it holds."""
    grant = json.dumps({"type": "topup", "id": "t", "customer": "acme", "amount": "1"}).encode()

    assert decode_grant(record(grant.ljust(GRANT_BYTES_MAX))).id == "t"
    with pytest.raises(Rejected) as caught:
        decode_grant(record(grant.ljust(GRANT_BYTES_MAX + 1)))
    assert caught.value.code == "too_large"
