import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.json_input import DEPTH_MAX, Faulty, keys_and_depth, parse_json
from pipeline.domain.rejects import Rejected

DEEP = 100_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


def refusal(value: bytes) -> Rejected:
    with pytest.raises(Rejected) as caught:
        parse_json(value)
    return caught.value


@pytest.mark.rule("R2.1")
@given(JSON, st.sampled_from([None, 1]), st.booleans())
def test_json_is_read_as_the_standard_says(value: Any, indent: int | None, ascii_only: bool) -> None:
    """Whatever is sound JSON comes back as it was, however it was written."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only, separators=(" , ", " : ") if indent else None)

    assert parse_json(text.encode()) == value


@pytest.mark.rule("R2.1", "R2.3")
@pytest.mark.parametrize(
    "value",
    [
        b"", b" \r\n\t", b"{", b"[", b"[1,]", b"[{},]", b'{"a": 1,}', b'{"a"}', b"{'a': 1}", b"[1] [2]", b"[1]]",
        b"nul", b"tru", b"NaN", b"-Infinity", b"01", b"+1", b".5", b"1.", b'"open', b'"tab\there"', b'"\\x41"',
        b"\xef\xbb\xbf{}", b"\xff", b'"\xff"', b'"\xed\xa0\x80"', b'{"\xc0\x80": 1}', b"// no\n{}", b"\x00", b"{}\x00",
        b'"\\ud800"', b'[NaN, "\xff"]', b"[NaN", b'{"a": NaN}}', "{}".encode("utf-16"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_malformed_as_a_whole(value: bytes) -> None:
    """Broken text, bytes that are no UTF-8, a byte order mark and a bare NaN reject the record, in one line."""
    rejected = refusal(value)

    assert rejected.code == "malformed"
    assert rejected.message.isprintable()


@pytest.mark.rule("R2.1")
@pytest.mark.parametrize(
    "value",
    [
        b'{"a": 1, "a": 1}', b'{"a": 1, "b": {"c": [[{"d": 1, "d": 2}]]}}', b'{"a" : 1, "a" : 1}', b'{"a":1,"\\u0061":1}',
        b'{"a": "\\":", "a": "\\":"}', b'{"":1,"":2}', b'{"a": NaN}', b'{"a": [[Infinity]]}', b'{"a": -Infinity}',
        b'{"a": "\\ud800"}', b'{"a": ["\\udc00\\ud800"]}', b'{"\\ud83d": 1}', b'{"a": {"b": "x\\udfff"}}',
    ],
)  # fmt: skip
def test_an_object_with_a_fault_anywhere_spoils_only_itself(value: bytes) -> None:
    """A doubled key, NaN, Infinity or half a surrogate pair at any depth makes the event faulty, not its neighbours."""
    alone = parse_json(value)
    batch = parse_json(b'[{"ok":1},' + value + b',{"ok":2}]')

    assert isinstance(alone, Faulty)
    assert isinstance(batch[1], Faulty)
    assert [batch[0], batch[2]] == [{"ok": 1}, {"ok": 2}]


@pytest.mark.rule("R2.1")
@pytest.mark.parametrize("value", [b"NaN", b'"\\ud800"', b"[[NaN]]", b'["\\ud800"]', b"-Infinity"])
def test_a_faulty_element_of_a_batch_spoils_only_itself(value: bytes) -> None:
    """The same holds for elements that are no objects."""
    batch = parse_json(b'[{"ok":1},' + value + b"]")

    assert batch[0] == {"ok": 1}
    assert isinstance(batch[1], Faulty)


@pytest.mark.rule("R2.1")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"a" : 1, "b"\n:2}', {"a": 1, "b": 2}),
        (b'{"a": "\\":", "b": "x\\":\\":"}', {"a": '":', "b": 'x":":'}),
        (b'{"a\\":": 1}', {'a":': 1}),
        (b'{"a": {"a": {"a": 1}}}', {"a": {"a": {"a": 1}}}),
        (b'[{"a": 1}, {"a": 1}]', [{"a": 1}, {"a": 1}]),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        (b'{"a": "NaN", "b": "Infinity"}', {"a": "NaN", "b": "Infinity"}),
        (b" \r\n\t{} \n", {}),
        (b"null", None),
    ],
)
def test_what_only_looks_faulty_is_not(value: bytes, expected: Any) -> None:
    """White space before colons, colons in strings, equal keys of different objects and whole surrogate pairs are fine."""
    assert parse_json(value) == expected


@pytest.mark.rule("R2.1")
@pytest.mark.parametrize(
    "value",
    [
        b"[" * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        b'{"a": ' + b"[" * DEEP + b"]" * DEEP + b"}", b"[NaN," + b"[" * 600 + b"]" * 600 + b"]",
    ],
)  # fmt: skip
def test_runaway_nesting_is_malformed(value: bytes) -> None:
    """Nesting that no parser follows rejects the record and never ends the process."""
    assert refusal(value).code == "malformed"


@pytest.mark.rule("R2.1", "R2.2")
@pytest.mark.parametrize("fault", [b"", b', "x": 1, "x": 2'])
def test_huge_numbers_are_no_integers_of_ours(fault: bytes) -> None:
    """A number of thousands of digits takes no time, and is nothing that a field would accept."""
    value = b'[{"a": ' + b"9" * 5000 + b', "b": 1e400, "c": 18446744073709551616}, {"z": 1' + fault + b"}]"

    first = parse_json(value)[0]

    assert [type(number) for number in first.values()] == [float] * 3


def test_keys_and_levels_are_counted_at_every_depth() -> None:
    """The count behind the fast check for doubled keys reaches objects in arrays and in objects."""
    assert keys_and_depth([{"a": {"b": 1, "c": [{"d": {}}]}}, [[{"e": None}]], "f", 7]) == (5, 6)
    assert keys_and_depth("a") == (0, 0)


@pytest.mark.rule("R2.1", "R3.3")
@pytest.mark.parametrize("text", ['{"a":%s}', '{"a" : %s}', '{"b":1,"b":2,"a":%s}', '{"b":NaN,"a":%s}'])
def test_how_deep_a_text_may_be_does_not_depend_on_how_it_is_written(text: str) -> None:
    """The limit of levels is the same whether the fast or the tolerant way reads it."""
    room = DEPTH_MAX - 1
    parse_json((text % ("[" * room + "]" * room)).encode())

    assert "nested" in refusal((text % ("[" * (room + 1) + "]" * (room + 1))).encode()).message


@pytest.mark.rule("R2.1")
def test_a_string_that_is_cut_off_takes_no_longer_than_others() -> None:
    """The end of a string is looked for once, not from each quote in it anew: this would not end today."""
    with pytest.raises(Rejected, match="not JSON"):
        parse_json(b'{"' + b'\\"' * 500_000)
