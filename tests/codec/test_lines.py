import json

import pytest
from msgspec.structs import replace

from pipeline.codec import lines as codec
from pipeline.codec.lines import (
    COLUMNS,
    encode_alert,
    encode_blocks,
    encode_lines,
    encode_rows,
    line_fields,
    objects_of,
)
from pipeline.domain.alerts import Alert
from pipeline.domain.catalog import Allowance
from pipeline.domain.lines import Line
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


def beside(line: Line) -> dict[str, object]:
    """Return what the topic's form adds to the fields of R7.1."""
    return {"version": line.version, "catalog": line.catalog, "provider": line.provider}


@pytest.mark.rule("R7.1")
def test_a_line_has_the_fields_of_the_spec_and_no_other() -> None:
    """The names are those of R7.1; the topic's form adds three."""
    line = replace(World().line(), version=7)

    assert set(line_fields(line)) == set(FIELDS)
    assert json.loads(encode_lines([line])) == {**line_fields(line), **beside(line)}


@pytest.mark.rule("R7.1")
def test_lines_are_one_json_object_a_row() -> None:
    """Lines stand in their order, each in a row of its own, with no empty row after the last."""
    world = World(allowances=(Allowance("a", 1, scope="workspace"),))
    lines = [world.line(id="row\nbreak \u2028", quantity=2), world.line(), world.line()]

    rows = encode_lines(lines).split(b"\n")

    assert [json.loads(row) for row in rows] == [{**line_fields(line), **beside(line)} for line in lines]


@pytest.mark.rule("R7.1", "R5.3")
def test_rows_and_their_header_hold_what_objects_hold() -> None:
    """A line is an array in the order of the header; with the header it is the same object again, to the byte."""
    world = World(allowances=(Allowance("a", 1, scope="workspace"),))
    lines = [world.line(id='quote " break \n', quantity=2), world.line(request_type="chat"), world.line()]
    lines.append(replace(lines[0], charge_pico=-(10**38) + 1, seq=2**40, late=True))

    rows = encode_rows(lines)

    assert all(isinstance(json.loads(row), list) for row in rows.split(b"\n"))
    assert json.loads(COLUMNS) == [*json.loads(encode_lines(lines[:1]))]
    assert set(json.loads(COLUMNS)) == {*FIELDS, "version", "catalog", "provider"}
    assert b"\n".join(objects_of(rows, COLUMNS)) == encode_lines(lines)


def test_without_a_header_lines_are_objects() -> None:
    """Records from before there was a header are read as they are."""
    text = encode_lines([World().line(), World().line()])

    assert objects_of(text, None) == text.split(b"\n")


@pytest.mark.parametrize(
    ("value", "columns"),
    [
        (b'["a",1]', b'["x"]'),
        (b'["a"]', b'["x","y"]'),
        (b'{"x":1}', b'["x"]'),
        (b"[1]\n\n[2]", b'["x"]'),
        (b"[1", b'["x"]'),
        (b"[1]", b"x"),
        (b"[1]", b"[1]"),
        (b"[1]", b""),
        (b"", b'["x"]'),
    ],
)
def test_rows_that_do_not_fit_their_header_are_refused(value: bytes, columns: bytes) -> None:
    """What cannot be told which column it belongs to is a ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        objects_of(value, columns)


@pytest.mark.parametrize("bytes_max", [1, 1200, 5000, 1 << 20])
@pytest.mark.parametrize("lines_max", [1, 3, 800])
def test_blocks_hold_all_lines_in_order(bytes_max: int, lines_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large blocks may be, together they are the rows; one that is too large has a single line."""
    monkeypatch.setattr(codec, "BLOCK_BYTES_MAX", bytes_max)
    monkeypatch.setattr(codec, "BLOCK_LINES_MAX", lines_max)
    world = World()
    lines = [world.line(workspace="w" * (number * 5 % 128 + 1)) for number in range(50)]

    blocks = list(encode_blocks(lines))

    assert b"\n".join(block.rows for block in blocks) == encode_rows(lines)
    assert sum(block.lines for block in blocks) == len(lines)
    for block in blocks:
        assert block.lines == block.rows.count(b"\n") + 1 <= lines_max
        assert len(block.rows) <= bytes_max or block.lines == 1


def test_no_lines_make_no_block() -> None:
    """A round of rejects writes nothing to usage.lines."""
    assert list(encode_blocks([])) == []


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
    assert line_fields(rated[0]) == {
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
    line = replace(World().line(), cost_pico=amount, margin_pico=-amount + 1, charge_pico=amount)

    text = encode_lines([line])

    sent = json.loads(text, parse_float=lambda digits: pytest.fail(f"{digits} is no integer"))
    assert (sent["cost_pico"], sent["margin_pico"], sent["charge_pico"]) == (amount, 1 - amount, amount)
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
