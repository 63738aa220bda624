import pytest

from pipeline.domain.admission import Envelope
from pipeline.domain.grants import Grant, TopUp, parse_grant
from pipeline.domain.rating import apply_grant
from pipeline.domain.rejects import Rejected
from tests.domain.world import DOLLAR, NOON, World, at, match, ms

GRANT = {"type": "grant", "id": "g", "customer": "acme", "quantity": 5}
TOP_UP = {"type": "topup", "id": "t", "customer": "acme", "amount": "25.00"}


def refusal(value: object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        parse_grant(value)
    return caught.value


@pytest.mark.rule("R2.5")
def test_every_field_of_a_grant_is_read() -> None:
    """A top-up's amount becomes picodollars; a grant's optional fields arrive in their places."""
    grant = parse_grant(
        GRANT
        | {"match": {"unit": ["page"], "model": []}, "credits": {"page": 2}, "priority": -5}
        | {"effective_at": "2026-11-01T01:00:00+01:00", "expires_at": "2026-12-01T00:00:00Z", "note": 1}
    )

    assert parse_grant(TOP_UP) == TopUp("t", "acme", 25 * DOLLAR)
    assert grant == Grant(
        "g", "acme", 5, match(unit="page"), {"page": 2}, -5, at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z")
    )


@pytest.mark.rule("R2.5")
def test_optional_fields_of_a_grant_have_defaults() -> None:
    """Absent or null: matches everything, one unit a unit, priority 100, in effect when sent, without end."""
    absent = dict.fromkeys(("match", "credits", "priority", "effective_at", "expires_at"))

    assert parse_grant(GRANT) == parse_grant(GRANT | absent) == Grant("g", "acme", 5)
    assert parse_grant(GRANT).priority == 100
    assert [parse_grant(GRANT | {"priority": each}).priority for each in (10**12, -(10**12))] == [10**12, -(10**12)]


@pytest.mark.rule("R2.5", "R2.3")
@pytest.mark.parametrize(
    ("value", "field"),
    [
        *[(GRANT | {"type": value}, "type") for value in ("gift", "", None, 1)],
        *[(GRANT | {"id": value}, "id") for value in ("", "x" * 129, None, 7, "a\n")],
        *[(GRANT | {"customer": value}, "customer") for value in ("", None, 7)],
        *[(GRANT | {"quantity": value}, "quantity") for value in (-1, 10**12 + 1, 1.0, True, "3", None)],
        *[(GRANT | {"priority": value}, "priority") for value in (1.5, "5", True, 10**12 + 1, -(10**12) - 1)],
        *[(GRANT | {"effective_at": value}, "effective_at") for value in ("soon", "2026-11-01", 5, "")],
        *[(GRANT | {"expires_at": value}, "expires_at") for value in ("soon", "2026-11-01", 5, "")],
        *[(GRANT | {"credits": value}, "credits") for value in ([], "1", {"": 1})],
        *[(GRANT | {"credits": {"page": value}}, "credits.page") for value in (0, -1, 1.0, None, True)],
        (GRANT | {"credits": {"a\u2028b": 0}}, r"credits.'a\u2028b'"),
        *[(GRANT | {"match": value}, "match") for value in ([], "unit", {"colour": ["red"]}, {"a\nb": []})],
        *[(GRANT | {"match": {"unit": value}}, "match.unit") for value in ("page", [1], None, [""])],
        *[(TOP_UP | {"amount": value}, "amount") for value in (25, "-1", "1e3", "", None, "0.0000000000001", "1" * 19)],
    ],
)
def test_a_broken_field_of_a_grant_is_named(value: object, field: str) -> None:
    """A field that breaks the form is an invalid_field, named in a message of one line."""
    rejected = refusal(value)

    assert rejected.code == "invalid_field"
    assert rejected.message.split(":")[0] == field
    assert rejected.message.isprintable()


@pytest.mark.rule("R2.3")
@pytest.mark.parametrize("value", [None, [], [GRANT], "grant", 7])
def test_what_is_no_object_is_malformed(value: object) -> None:
    """A record of grants is one JSON object."""
    assert refusal(value).code == "malformed"


@pytest.mark.rule("R2.5")
def test_a_repeated_id_is_ignored() -> None:
    """Top-ups and grants share one id space for ever; a repeated id changes nothing, not even the watermark."""
    world = World()
    world.top_up("x", 5 * DOLLAR)
    before = repr(world.state)

    assert not world.top_up("x", 7 * DOLLAR, sent="2027-11-10T12:00:00Z")
    assert not world.grant("x", 7, sent="2027-11-10T12:00:00Z")

    assert repr(world.state) == before
    assert world.state.wallet_pico == 5 * DOLLAR


@pytest.mark.rule("R2.5")
def test_the_id_of_a_used_up_grant_stays_taken() -> None:
    """A grant of nothing and a used-up grant leave no pool, but their ids are never free again."""
    world = World()
    world.grant("nothing", 0)
    world.grant("one", 1)
    world.line()

    assert world.state.grants == []
    assert not world.grant("nothing", 5)
    assert not world.grant("one", 5)


@pytest.mark.rule("R2.3", "R2.5")
@pytest.mark.parametrize(
    ("customer", "key", "code"),
    [("acme", "other", "wrong_key"), ("acme", None, "wrong_key"), ("nobody", "nobody", "unknown_customer")],
)
def test_a_grants_customer_must_be_the_key_and_known(customer: str, key: str | None, code: str) -> None:
    """A grant under another key or for nobody is rejected without a trace; its id stays free."""
    world = World()
    before = repr(world.state)

    with pytest.raises(Rejected) as caught:
        apply_grant(world.catalog, world.state, TopUp("t", customer, 1), Envelope(key, ms(NOON)))

    assert caught.value.code == code
    assert repr(world.state) == before


@pytest.mark.rule("R2.5")
def test_a_grant_is_in_effect_from_its_record_on() -> None:
    """Without effective_at a grant covers what is posted at its record's timestamp or later, and nothing earlier."""
    world = World()
    world.grant("g", 100, sent=NOON)

    earlier = world.line(time="2026-11-10T11:59:59.999999Z", sent=NOON)
    then = world.line(time=NOON)

    assert (earlier.granted, earlier.overage) == (0, 1)
    assert (then.granted, then.overage) == (1, 0)


@pytest.mark.rule("R2.5", "R6.4")
def test_a_grant_may_begin_in_the_past_and_ends_before_its_expiry() -> None:
    """effective_at is inclusive and may lie before the record; expires_at is exclusive."""
    world = World()
    world.grant("g", 100, effective_us=at("2026-11-05T00:00:00Z"), expires_us=at("2026-11-06T00:00:00Z"))

    times = [
        "2026-11-04T23:59:59.999999Z",
        "2026-11-05T00:00:00Z",
        "2026-11-05T23:59:59.999999Z",
        "2026-11-06T00:00:00Z",
    ]

    assert [world.line(time=time, sent=NOON).granted for time in times] == [0, 1, 1, 0]


@pytest.mark.rule("R6.4")
def test_grants_are_used_by_priority_then_expiry_then_id() -> None:
    """The lowest priority goes first, then what expires first with no expiry last, then the smallest id."""
    world = World()
    december, january = at("2026-12-01T00:00:00Z"), at("2027-01-01T00:00:00Z")
    world.grant("f", 1, priority=101)
    world.grant("e", 1)
    world.grant("d", 1, expires_us=january)
    world.grant("b", 1, expires_us=december)
    world.grant("c", 1, expires_us=december)
    world.grant("a", 1, priority=99)

    line = world.line(quantity=7)

    assert [use.id for use in line.pools] == ["a", "b", "c", "d", "e", "f"]
    assert (line.granted, line.overage) == (6, 1)


@pytest.mark.rule("R6.4")
def test_grants_match_and_weigh_as_allowances_do() -> None:
    """A grant's match must hold; with credits a unit that is absent does not match, and a unit costs its weight."""
    world = World()
    world.grant("legal", 1, match=match(workspace="legal"))
    world.grant("premium", 1, match=match(**{"class": "premium"}))
    world.grant("tickets", 9, credits={"ticket": 1})
    world.grant("heavy", 8, credits={"document": 3}, priority=200)

    line = world.line(quantity=5)

    assert [(use.id, use.scope_value, use.units) for use in line.pools] == [("legal", "", 1), ("heavy", "", 2)]
    assert {pool.grant.id: pool.balance for pool in world.state.grants} == {"premium": 1, "tickets": 9, "heavy": 2}


@pytest.mark.rule("R6.4", "R4.5")
def test_a_grant_has_one_balance_for_its_life() -> None:
    """What one period takes from a grant, the next one finds gone."""
    world = World()
    world.grant("g", 3, sent="2026-11-01T00:00:00Z")

    november = world.line(time="2026-11-30T00:00:00Z", quantity=2)
    december = world.line(time="2026-12-01T00:00:00Z", quantity=2)

    assert (november.granted, december.granted, december.overage) == (2, 1, 1)
