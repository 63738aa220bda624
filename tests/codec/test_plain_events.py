"""The fast decoder finds what its reference finds, or leaves it to the reference: whatever the bytes."""

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codec.plain_events import plain_events
from pipeline.domain.events import UsageEvent
from pipeline.domain.records import EVENTS_TOPIC, Record
from tests.codec.reference import found_by_reference, found_in
from tests.domain.world import NOON, ms
from tests.rating.support import event

STRINGS = [
    b'"a"', b'"a"', b'"legal"', b'""', b'" "', b'"%b"' % (b"x" * 128), b'"%b"' % (b"x" * 129), '"zürich"'.encode(), b'"\\u00fc"',
    '"{}"'.format("\U0001f600" * 128).encode(), '"{}"'.format("\U0001f600" * 129).encode(), '"{}"'.format("ü" * 129).encode(),
    b'"a\x01b"', b'"a\nb"', b'"a\x00b"', b'"a\x7fb"', b'"a\\nb"', b'"\\u0000"', b'"\\u001f"', b'"\\u007f"', b'"\\u0085"',
    b'"a\xc2\x80b"', b'"a\xc2\x9fb"', b'"a\xc2\xa0b"', b'"a\xc2\xadb"', b'"\xe2\x80\xa8"', b'"\xef\xbb\xbf"', b'"\\ud800"',
    b'"\\ud83d\\ude00"', b'"\\ude00\\ud83d"', b'"\xed\xa0\x80"', b'"\xed\xb0\x80\xed\xa0\x80"', b'"\xff"', b'"\xc3"', b'"\xc0\x80"',
    b'"\xf4\x90\x80\x80"', b'"\\":"', b'"\\" :"', b'":"', b'" : "', b'"\\x"', b'"\\/"', b'"', b"'a'", b"a", b"null", b"5", b"true",
    b'["a"]', b"{}",
]  # fmt: skip
NUMBERS = [
    b"0", b"1", b"3", b"7", b"1.0", b"1e3", b"1E0", b"-0", b"-0.0", b"0.5", b"-1", b"1000000000000", b"1000000000001", b"1e12",
    b"9223372036854775807", b"9223372036854775808", b"18446744073709551615", b"18446744073709551616", b"9" * 19, b"9" * 20,
    b"9" * 400, b"-" + b"9" * 30, b"1e400", b"1e-400", b"01", b"+1", b".5", b"1.", b"0x1", b"1_0", b"NaN", b"Infinity", b"-Infinity",
    b"true", b"false", b'"3"', b"null", b"[]", b"{}",
]  # fmt: skip
COSTS = [
    b'"0.0123"', b'"0"', b'"0.000000000000"', b'"00.10"', b'"25"', b'"999999999999999999"', b'"1000000000000000000"',
    b'"0.0000000000001"', b'"1."', b'".5"', b'"-1"', b'"+1"', b'"1e3"', b'"1_0"', b'" 1"', b'"NaN"', b'""', '"٣"'.encode(),
    '"²"'.encode(), b"0.5", b"3", b"null", b"[]", b'"%b"' % (b"0" * 129),
]  # fmt: skip
TIMES = [
    b'"2026-11-10T12:00:00Z"', b'"2026-11-10T12:00:00.123Z"', b'"2026-11-10T12:00:00.123456Z"', b'"2026-11-10T12:00:00.1234569Z"',
    b'"2026-11-10T12:00:00.12Z"', b'"2026-11-10T12:00:00.1234Z"', b'"2026-11-10t12:00:00z"', b'"2026-11-10T12:00:00.123+00:00"',
    b'"2026-11-10T12:00:00-11:30"', b'"2026-11-10T12:00:00"', b'"2026-02-30T12:00:00.000Z"', b'"2026-11-10T24:00:00.000Z"',
    b'"2026-11-10T12:00:60.000Z"', b'"0001-01-01T00:00:00+01:00"', b'"2026-11-10 12:00:00Z"', b'"yesterday"', b'""', b"null", b"5",
]  # fmt: skip
OTHERS = [
    b'"1.0"',
    b'"ai.usage.v1"',
    b'"byok"',
    b'"routed"',
    b'"failed"',
    b'"succeeded"',
    b'"BYOK"',
    b'""',
    b"1.0",
    b"null",
    b"[]",
]
SOUND = {
    "specversion": b'"1.0"',
    "type": b'"ai.usage.v1"',
    "id": b'"e1"',
    "source": b'"dep"',
    "subject": b'"acme"',
    "time": b'"2026-11-10T12:00:00Z"',
}
SOUND_DATA = dict.fromkeys(["environment", "workspace", "feature", "model", "unit"], b'"a"')
OPTIONAL = {
    "quantity": b"3",
    "input_tokens": b"18220",
    "cached_input_tokens": b"7",
    "output_tokens": b"911",
    "cost": b'"0.0123"',
    "route": b'"byok"',
    "status": b'"failed"',
    "operation": b'"job"',
    "request_type": b'"chat"',
}
ODD = dict.fromkeys(["quantity", "input_tokens", "cached_input_tokens", "output_tokens"], NUMBERS)
ODD |= {"cost": COSTS, "time": TIMES, "specversion": OTHERS, "type": OTHERS, "route": OTHERS, "status": OTHERS}
EXTRAS = [
    b'"datacontenttype":"application/json"', b'"x":{"y":[1,{"z":null}]}', b'"x":[{"id":1},{"id":2}]', b'"x":{"a":1,"a":2}', b'"x":NaN',
    b'"x":"\\ud800"', b'"x":"\xff"', b'"\xff":1', b'"x":"\xed\xa0\x80"', b'"x":"\x01"', b'"x":"a\\":b"', b'"x" :1', b'"x"\n:\t1', b'"":""',
    b'"id":"e1"', b'"quantity":3', b'"\\u0069d":"e2"', b'"quantit\\u0079":5', b'"x":1e400', b'"x":' + b"[" * 130 + b"]" * 130,
    b'"x":' + b'{"x":' * 126 + b"1" + b"}" * 126, b'"pad":"' + b"p" * 4096 + b'"', b'"pad":"' + b"p" * 4097 + b'"', b'"ID":"e2"', b"",
]  # fmt: skip
ENDS = [(b"", b"")] * 8 + [
    (b" \r\n\t", b"\n "), (b"\xef\xbb\xbf", b""), (b"", b","), (b"", b"{}"), (b"", b"\x00"), (b"", b" x"), (b"\x0b", b""), (b"", b"]"), (b"[", b""),
]  # fmt: skip


@st.composite
def objects(draw: st.DrawFn, sound: dict[str, bytes]) -> list[tuple[bytes, bytes]]:
    """Return the fields of an object: those of a sound one, a few of them odd, missing, or in another place."""
    fields = dict(sound)
    for name in draw(st.lists(st.sampled_from(list(fields)), max_size=1)):
        fields[name] = draw(st.sampled_from(ODD.get(name, STRINGS)))
    for name in draw(st.lists(st.sampled_from([*fields, *[None] * 60]), max_size=1)):
        fields.pop(name or "", None)
    return draw(st.permutations([(b'"%b"' % name.encode(), value) for name, value in fields.items()]))


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Return the JSON text of a record, or what is nearly one."""
    chosen = st.lists(st.sampled_from(list(OPTIONAL)), unique=True)
    colon = draw(st.sampled_from([b":", b":", b":", b": ", b" : ", b"\n:\n", b"\t:"]))
    comma = draw(st.sampled_from([b",", b",", b", ", b",\n  ", b" , "]))

    def text_of(fields: list[tuple[bytes, bytes]]) -> bytes:
        extras = draw(st.lists(st.sampled_from(EXTRAS), max_size=2) if draw(st.integers(0, 4)) == 0 else st.just([]))
        return b"{" + comma.join([*[name + colon + value for name, value in fields], *extras]) + b"}"

    def event_text() -> bytes:
        optional = {name: draw(st.sampled_from([b"null", OPTIONAL[name], OPTIONAL[name]])) for name in draw(chosen)}
        data = text_of(draw(objects(SOUND_DATA | optional)))
        return text_of([*draw(objects(SOUND)), (b'"data"', data)])

    before, after = draw(st.sampled_from(ENDS))
    if draw(st.booleans()):
        return before + event_text() + after
    elements = [event_text() for _ in range(draw(st.integers(0, 3)))]
    elements += draw(st.lists(st.sampled_from([b"17", b"null", b"NaN", b"{}", b'{"a":1,"a":2}', b"[]"]), max_size=1))
    return before + b"[" + comma.join(elements) + b"]" + after


def record_of(value: bytes) -> Record:
    return Record(EVENTS_TOPIC, 0, 0, ms(NOON), b"acme", value)


def assert_as_reference(value: bytes) -> None:
    assert found_in(record_of(value)) == found_by_reference(record_of(value))


@pytest.mark.rule("R2.1", "R2.2", "R2.3")
@settings(max_examples=3000, deadline=None)
@given(texts())
def test_events_are_those_of_the_reference(value: bytes) -> None:
    """Events, codes and messages are the same whether the fast decoder is asked first or not."""
    assert_as_reference(value)


@pytest.mark.rule("R2.1", "R2.2", "R2.3")
@settings(max_examples=1500, deadline=None)
@given(texts(), st.integers(0, 2**32))
def test_events_of_damaged_bytes_are_those_of_the_reference(value: bytes, seed: int) -> None:
    """The same holds when bytes are taken out, put in, doubled or replaced."""
    rng = Random(seed)
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(len(value) + 1)
        end = min(len(value), start + rng.choice([0, 1, 1, 2, 10]))
        put_in = rng.choice(
            [b"", value[start:end] * 2, bytes([rng.randrange(256)]), b'"', b":", b"\\", b'":', b"\xc2\x85"]
        )
        value = value[:start] + put_in + value[end:]

    assert_as_reference(value)


def field_cases() -> list[tuple[str, bytes]]:
    """Return each field with each of the values that are odd for it."""
    names = [*SOUND, *SOUND_DATA, *OPTIONAL]
    return [(name, value) for name in names for value in ODD.get(name, STRINGS)]


@pytest.mark.rule("R2.2")
def test_each_odd_value_of_each_field_is_told_as_the_reference_does() -> None:
    """One odd value among sound ones, in any field, alone and as the second event of a batch."""
    for name, value in field_cases():
        text = sound_text(**{name: value})
        assert_as_reference(text)
        assert_as_reference(b"[%b,%b]" % (sound_text(), text))


@pytest.mark.rule("R2.2")
@pytest.mark.parametrize("extra", EXTRAS)
def test_extra_and_doubled_keys_are_told_as_the_reference_does(extra: bytes) -> None:
    """An extra key, which may be one that is there already, on the outside, inside, and inside of a long batch."""
    for pad in (b"", b"p", b"p" * 5000, b"p" * 5001):
        for text in (sound_text()[:-1] + b"," + extra + b"}", sound_text()[:-2] + b"," + extra + b"}}"):
            assert_as_reference(b'[{"pad":"%b",%b,%b]' % (pad, sound_text()[1:], text))
            assert_as_reference(text)


def sound_text(**changes: bytes) -> bytes:
    """Return a compact sound event with all optional fields."""
    outside = SOUND | {name: value for name, value in changes.items() if name in SOUND}
    inside = SOUND_DATA | OPTIONAL | {name: value for name, value in changes.items() if name not in SOUND}
    data = b",".join(b'"%b":%b' % (name.encode(), value) for name, value in inside.items())
    return (
        b"{"
        + b",".join(b'"%b":%b' % (name.encode(), value) for name, value in outside.items())
        + b',"data":{%b}}' % data
    )


@pytest.mark.rule("R2.1")
@pytest.mark.parametrize("levels", [120, 124, 125, 126, 127, 128, 129, 1_000, 100_000])
@pytest.mark.parametrize("form", [b"[ ]", b'{"x": }', b"[ "])
def test_nesting_of_any_depth_is_told_as_the_reference_does(levels: int, form: bytes) -> None:
    """Deep values of unknown fields, and deep elements beside sound events, end in the same events or the same reject."""
    opening, _, closing = form.partition(b" ")
    deep = opening * levels + (b"1" if closing else b"") + closing * levels
    outside, inside = sound_text()[:-1] + b',"x":%b}' % deep, sound_text()[:-2] + b',"x":%b}}' % deep

    for value in (outside, inside, deep):
        for text in (value, b"[%b]" % value, b"[%b,%b]" % (sound_text(), value), b"[%b,{}]" % value):
            assert_as_reference(text)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("count", [1, 3, 60])
def test_what_senders_send_goes_the_fast_way(count: int, indent: int | None) -> None:
    """Sound events without escapes are decoded fast: bare or with all fields, batches, pretty-printed, with unknown fields."""
    for changes in ({}, {"quantity": 2, "cost": None, "operation": "job"}, {"extra": {"deep": [1, {"x": None}]}}):
        batch = [event(f"e{number}", feature="prüfung", **changes) for number in range(count)]
        events = plain_events(json.dumps(batch, indent=indent, ensure_ascii=False).encode())
        assert isinstance(events, list)
        assert [each.id for each in events] == [each["id"] for each in batch]
    assert isinstance(plain_events(json.dumps(event("e"), indent=indent).encode()), UsageEvent)


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("name", [b'"id"', b'"unit"', b'"quantity"', b'"data"'])
def test_a_key_that_stands_twice_never_goes_the_fast_way(name: bytes, count: int) -> None:
    """Also in a long batch, and at an even or odd place, a doubled key of one event is found."""
    for shift in (b"", b"x"):
        sound, doubled = sound_text(id=b'"e%b"' % shift), sound_text()
        at = doubled.index(name)
        doubled = doubled[:at] + name + b":1," + doubled[at:]
        assert plain_events(b"[" + b",".join([sound] * count) + b"]") is not None
        assert plain_events(b"[" + b",".join([sound] * count + [doubled]) + b"]") is None
