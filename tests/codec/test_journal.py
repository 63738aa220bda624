import json
from typing import Any

import pytest

from pipeline.codec.journal import parse_journal_line
from pipeline.domain.records import Record

ENTRY = {"topic": "usage.events", "partition": 3, "offset": 7, "ts": 1762770000000, "key": "acme", "payload": "{}"}


def parse(**changes: Any) -> Record:
    return parse_journal_line(json.dumps(ENTRY | changes).encode())


@pytest.mark.rule("R2.6")
def test_a_line_is_a_record() -> None:
    """Each field of kcat's form arrives in its place; what it prints beside them is passed over."""
    wanted = Record("usage.events", 3, 7, 1762770000000, b"acme", b"{}", ())

    assert parse() == parse(tstype="create", broker=0) == wanted


@pytest.mark.rule("R2.6")
@pytest.mark.parametrize("name", ["key", "payload"])
def test_a_null_key_or_payload_is_none(name: str) -> None:
    """Null and absent are no key or value; the empty text is one."""
    absent = json.dumps({key: value for key, value in ENTRY.items() if key != name}).encode()
    field = {"key": "key", "payload": "value"}[name]

    assert getattr(parse(**{name: None}), field) is None
    assert getattr(parse_journal_line(absent), field) is None
    assert getattr(parse(**{name: ""}), field) == b""


@pytest.mark.rule("R2.6")
@pytest.mark.parametrize(
    "headers",
    [
        ["content-type", "application/cloudevents+json", "x-usage-import", "offline"],
        {"content-type": "application/cloudevents+json", "x-usage-import": "offline"},
    ],
)
def test_headers_come_as_kcats_flat_array_or_as_an_object(headers: Any) -> None:
    """Both forms give the same pairs, in order."""
    assert parse(headers=headers).headers == (
        ("content-type", b"application/cloudevents+json"),
        ("x-usage-import", b"offline"),
    )


@pytest.mark.rule("R2.6")
def test_headers_may_repeat_be_empty_or_be_absent() -> None:
    """A name may stand twice; a value of null is empty; no headers are none."""
    assert parse(headers=["a", "1", "a", None]).headers == (("a", b"1"), ("a", b""))
    assert parse(headers=None).headers == parse(headers=[]).headers == ()


@pytest.mark.rule("R2.6")
@pytest.mark.parametrize("payload", [b"\xff\xfe", b'{"a": "\xc3"}', b"\xed\xa0\x80", b"ok \xc3\xbc"])
def test_bytes_that_are_no_text_survive(payload: bytes) -> None:
    """Kcat prints a payload's bytes as they are; those that are no UTF-8 come back as they were."""
    line = json.dumps(ENTRY).encode().replace(b'"{}"', b'"' + payload.replace(b'"', b'\\"') + b'"')

    assert parse_journal_line(line).value == payload


@pytest.mark.rule("R2.6")
def test_half_a_surrogate_pair_becomes_bytes_that_are_no_utf8() -> None:
    """A payload with an escaped lone surrogate is kept, as bytes that no parser takes for text."""
    value = parse(payload="a\ud800b").value

    assert value == b"a\xed\xa0\x80b"


@pytest.mark.rule("R2.6")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"topic": None}, "topic"),
        ({"topic": 5}, "topic"),
        ({"partition": "0"}, "partition"),
        ({"offset": None}, "offset"),
        ({"offset": 1.0}, "offset"),
        ({"ts": True}, "ts"),
        ({"ts": 10**30}, "ts"),
        ({"key": 5}, "key"),
        ({"payload": {}}, "payload"),
        ({"headers": "a"}, "headers"),
        ({"headers": ["a"]}, "headers"),
    ],
)
def test_a_bad_line_names_the_field(changes: dict, message: str) -> None:
    """A field of another type is named by the error."""
    with pytest.raises(ValueError, match=f"^{message}: must be"):
        parse(**changes)


@pytest.mark.rule("R2.6")
@pytest.mark.parametrize(
    "line", [b"", b"{", b"nonsense", b"[]", b"17", b"null", b"\xff", b'{"topic": "a"', b"{}", b"[" * 100_000]
)
def test_a_line_that_is_no_object_is_a_value_error(line: bytes) -> None:
    """Anything else is a ValueError with a message, never another error."""
    with pytest.raises(ValueError, match=r".+"):
        parse_journal_line(line)


@pytest.mark.rule("R2.6")
@pytest.mark.parametrize("key", ["acme", "\udcff"])
@pytest.mark.parametrize("number", [1 << 63, 1 << 64, 10**40])
def test_numbers_have_64_bits_whatever_else_is_in_the_line(key: str, number: int) -> None:
    """A line that holds bytes which are no UTF-8 is read by another parser, which takes no other numbers."""
    line = json.dumps(ENTRY | {"key": key, "offset": number}, ensure_ascii=False).encode(errors="surrogateescape")

    with pytest.raises(ValueError, match="offset: must be an integer"):
        parse_journal_line(line)
