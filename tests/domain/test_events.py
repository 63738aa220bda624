import pytest

from pipeline.domain.events import UsageEvent, parse_event
from pipeline.domain.rejects import Rejected
from tests.domain.world import at

ABSENT = object()
STRINGS = ("id", "source", "subject", "data.environment", "data.workspace", "data.feature", "data.model", "data.unit")
OPTIONAL_STRINGS = ("data.operation", "data.request_type")
COUNTS = ("data.quantity", "data.input_tokens", "data.cached_input_tokens", "data.output_tokens")
OPTIONAL = {
    "quantity": 1,
    "input_tokens": 0,
    "cached_input_tokens": 0,
    "output_tokens": 0,
    "cost": None,
    "route": "routed",
    "status": "succeeded",
    "operation": None,
    "request_type": None,
}


def sound(**changes: object) -> dict:
    """Return the smallest sound event; a change's name is a field's path with `__` for the dot."""
    data = {"environment": "production", "workspace": "legal", "feature": "f", "model": "small", "unit": "document"}
    event = {
        "specversion": "1.0",
        "type": "ai.usage.v1",
        "id": "e1",
        "source": "dep",
        "subject": "acme",
        "time": "2026-11-10T12:00:00Z",
        "data": data,
    }
    for path, value in changes.items():
        inside, _, name = path.rpartition("__")
        fields = event["data"] if inside else event
        if value is ABSENT:
            del fields[name]
        else:
            fields[name] = value
    return event


def changed(path: str, value: object) -> dict:
    return sound(**{path.replace(".", "__"): value})


def refusal(event: object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        parse_event(event)
    return caught.value


@pytest.mark.rule("R2.2")
def test_every_field_of_an_event_is_read() -> None:
    """Each field of the JSON form arrives in its place, in integers of microseconds and picodollars."""
    event = sound(
        data__quantity=3,
        data__input_tokens=18220,
        data__cached_input_tokens=7,
        data__output_tokens=911,
        data__cost="0.0123",
        data__route="byok",
        data__status="failed",
        data__operation="job-88",
        data__request_type="chat",
    )

    assert parse_event(event) == UsageEvent(
        "e1", "dep", "acme", at("2026-11-10T12:00:00Z"), "production", "legal", "f", "small", "document",
        3, 18220, 7, 911, 12_300_000_000, byok=True, failed=True, operation="job-88", request_type="chat",
    )  # fmt: skip


@pytest.mark.rule("R2.2")
def test_optional_fields_have_defaults() -> None:
    """Quantity is 1, tokens are 0, the route is routed and the status succeeded unless the event says otherwise."""
    event = parse_event(sound())

    assert (event.quantity, event.input_tokens, event.cached_input_tokens, event.output_tokens) == (1, 0, 0, 0)
    assert (event.cost_pico, event.byok, event.failed, event.operation, event.request_type) == (
        None, False, False, None, None,
    )  # fmt: skip


@pytest.mark.rule("R2.2")
@pytest.mark.parametrize("name", OPTIONAL)
def test_null_counts_as_absent_for_optional_fields(name: str) -> None:
    """An optional field that is null, or that says its default, gives the same event as one that is absent."""
    assert parse_event(changed(f"data.{name}", None)) == parse_event(sound())
    if OPTIONAL[name] is not None:
        assert parse_event(changed(f"data.{name}", OPTIONAL[name])) == parse_event(sound())


@pytest.mark.rule("R2.2")
def test_unknown_extra_fields_are_ignored() -> None:
    """Fields that the form does not know change nothing, whatever they hold."""
    event = sound(datacontenttype="application/json", data__extra={"quantity": -5})

    assert parse_event(event) == parse_event(sound())


@pytest.mark.rule("R2.2", "R2.3")
@pytest.mark.parametrize("path", [*STRINGS, "time", "specversion", "type", "data"])
@pytest.mark.parametrize("value", [ABSENT, None], ids=["absent", "null"])
def test_required_fields_must_be_there(path: str, value: object) -> None:
    """A required field that is absent or null is an invalid_field, and the message names it."""
    rejected = refusal(changed(path, value))

    assert rejected.code == "invalid_field"
    assert rejected.message.startswith(f"{path}:")


@pytest.mark.rule("R2.2")
@pytest.mark.parametrize("path", [*STRINGS, *OPTIONAL_STRINGS])
@pytest.mark.parametrize("value", ["", "x" * 129, "a\nb", "nul\x00", "del\x7f", "nel\x85", 5, True, ["a"], {}])
def test_strings_have_limits(path: str, value: object) -> None:
    """A string is 1 to 128 characters without a control character; nothing else is one."""
    rejected = refusal(changed(path, value))

    assert rejected.code == "invalid_field"
    assert rejected.message.startswith(f"{path}:")


@pytest.mark.rule("R2.2")
@pytest.mark.parametrize("path", [*STRINGS, *OPTIONAL_STRINGS])
def test_strings_at_their_limits_are_accepted(path: str) -> None:
    """One character, 128 of them beyond the ASCII range, a soft hyphen and a line separator are all fine."""
    for text in ("a", "ß" * 128, "😀" * 128, "a\u00adb", "a\u2028b", " "):
        parse_event(changed(path, text))


@pytest.mark.rule("R2.2")
@pytest.mark.parametrize("path", COUNTS)
def test_counts_have_limits(path: str) -> None:
    """A count is an integer of 0 to 10^12: no boolean, no text, no number with a point."""
    for count in (0, 10**12):
        parse_event(changed(path, count))
    for value in (-1, 10**12 + 1, 1.0, 1e300, float("inf"), True, False, "3", [], {}):
        rejected = refusal(changed(path, value))
        assert (rejected.code, rejected.message.split(":")[0]) == ("invalid_field", path)


@pytest.mark.rule("R2.2")
def test_cost_is_a_decimal_string() -> None:
    """A cost has at most 12 decimals and 18 digits before them, and is never a number."""
    assert parse_event(sound(data__cost="007.500000000001")).cost_pico == 7_500_000_000_001
    assert parse_event(sound(data__cost="999999999999999999")).cost_pico == 999999999999999999 * 10**12
    for value in ("0.1234567890123", "1000000000000000000", "-1", "1e3", ".5", "1.", " 1", "", "NaN", 0.5, 3, True, []):
        rejected = refusal(sound(data__cost=value))
        assert (rejected.code, rejected.message.split(":")[0]) == ("invalid_field", "data.cost")


@pytest.mark.rule("R2.2")
@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("specversion", ["0.3", "1", 1.0]),
        ("type", ["ai.usage.v2", "AI.usage.v1", ""]),
        ("time", ["yesterday", "2026-11-10T12:00:00", 1793152033]),
        ("data", ["data", [], 1]),
        ("data.route", ["BYOK", "direct", "", 1, True, [], {}]),
        ("data.status", ["ok", "Failed", "", 0, False, []]),
    ],
)
def test_fields_with_fixed_values_take_no_other(path: str, values: list[object]) -> None:
    """Fields with a fixed set of values refuse every other, and the message names the field."""
    for value in values:
        rejected = refusal(changed(path, value))
        assert (rejected.code, rejected.message.split(":")[0]) == ("invalid_field", path)


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize("value", [None, True, 7, 1.5, "text", [], [{}]])
def test_what_is_no_object_is_malformed(value: object) -> None:
    """An element of a batch that is no JSON object is malformed."""
    assert refusal(value).code == "malformed"


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize("path", [*STRINGS, *OPTIONAL_STRINGS, *COUNTS, "time", "data.cost", "data.route"])
def test_messages_stay_on_one_line(path: str) -> None:
    """Whatever a sender writes into a field, the message is one printable line."""
    for value in ("line\nbreak\u2028\x00", "\r" * 200, {"a\n": 1}, 10**30):
        assert refusal(changed(path, value)).message.isprintable()
