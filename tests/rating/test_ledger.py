"""What the states promise: a worker that restores them goes on as if nothing had happened."""

import json
from collections import defaultdict
from random import Random
from typing import Any

import pytest

from pipeline.codec.states import (
    ACCOUNT,
    IDENTITIES,
    OPERATIONS,
    PACK,
    WINDOW,
    OpenSegment,
    Part,
    parse_part,
    restore_pack,
)
from pipeline.domain.catalog import Allowance, Budget, PriceRow, Tier
from pipeline.domain.digests import SEGMENT_ENTRIES
from pipeline.domain.records import GRANTS_TOPIC, Record
from pipeline.domain.state import IDENTITY_SIZE, CustomerState
from pipeline.rating.ledger import Ledger
from tests.domain.world import World, snapshot
from tests.rating.support import Log, case, event, parts_in, play, record, restored

SEEDS = range(12)
LONG_SEEDS = range(100, 104)
LONG_EVENTS = 1500


def rounds_of(records: list[Record], rng: Random, most: int) -> list[list[Record]]:
    rounds, at = [], 0
    while at < len(records):
        size = rng.randint(1, most)
        rounds.append(records[at : at + size])
        at += size
    return rounds


def states_of(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """Return all customers' states, comparable."""
    return {name: snapshot(ledger.state_of(name)) for name in ledger.customers()}


def pack_of(log: Log) -> tuple[CustomerState, list[OpenSegment]]:
    """Return the last pack that was written of the one customer."""
    state = CustomerState("acme")
    return state, restore_pack(state, log.compacted()[Part("acme", PACK).key()])


def play_with_restarts(seed: int, records: list[Record], most: int, share: float) -> Log:
    """Rate in random rounds, and after a share of them begin again from the changelog, compacted and shuffled or not."""
    rng = Random(seed)
    catalog = case(seed, LONG_EVENTS if seed in LONG_SEEDS else 200).catalog
    ledger, log = Ledger(catalog), Log()
    for records_of_round in rounds_of(records, rng, most):
        play(ledger, [records_of_round], log)
        if rng.random() < share:
            changelog: list = log.changelog
            if rng.random() < 0.5:
                changelog = list(log.compacted().items())
                rng.shuffle(changelog)
            ledger = restored(catalog, changelog)
    return log


@pytest.mark.rule("R3.3", "R7.2")
@pytest.mark.parametrize("seed", SEEDS)
def test_restarting_after_every_round_changes_nothing(seed: int) -> None:
    """Lines, alerts, rejects and duplicates are the same to the byte when each round is rated by a new worker."""
    records = case(seed).records

    whole = play(Ledger(case(seed).catalog), [records])
    restarted = play_with_restarts(seed, records, most=8, share=1)

    assert restarted.outputs() == whole.outputs()
    assert len(whole.lines) > 50


@pytest.mark.rule("R3.3", "R6.1", "R6.2")
@pytest.mark.parametrize("seed", LONG_SEEDS)
def test_restarting_over_months_changes_nothing(seed: int) -> None:
    """The same holds for cases so long that segments fill up and identities, windows and operations are dropped."""
    records = case(seed, LONG_EVENTS).records
    ledger = Ledger(case(seed, LONG_EVENTS).catalog)

    whole = play(ledger, [records])
    restarted = play_with_restarts(seed, records, most=40, share=0.3)

    assert restarted.outputs() == whole.outputs()
    last = restored(case(seed, LONG_EVENTS).catalog, restarted.compacted().items())
    assert states_of(last) == states_of(ledger)


def test_long_cases_exercise_what_they_are_for() -> None:
    """Between them the long cases close segments, several of a customer, and drop closed segments and windows."""
    dropped, closed, most = set(), set(), 0

    for seed in LONG_SEEDS:
        log = play(Ledger(case(seed, LONG_EVENTS).catalog), [[each] for each in case(seed, LONG_EVENTS).records])
        for part, value in parts_in(log.changelog):
            if value is None:
                dropped.add(part.kind)
                closed.discard((seed, part))
            elif part.kind == IDENTITIES:
                closed.add((seed, part))
                most = max(most, sum((at, each.customer) == (seed, part.customer) for at, each in closed))

    assert {WINDOW, IDENTITIES} <= dropped
    assert most > 2


@pytest.mark.parametrize("seed", LONG_SEEDS)
def test_a_restored_state_is_the_state(seed: int) -> None:
    """What the changelog holds in the end is every customer's whole state, and nothing more."""
    catalog = case(seed, LONG_EVENTS).catalog
    ledger = Ledger(catalog)

    log = play(ledger, rounds_of(case(seed, LONG_EVENTS).records, Random(seed), 10))

    assert states_of(restored(catalog, log.compacted().items())) == states_of(ledger)


@pytest.mark.rule("R2.3", "R6.1", "R7.2")
@pytest.mark.parametrize("seed", SEEDS)
def test_replaying_applied_records_does_nothing(seed: int) -> None:
    """A worker that is given records again which its states cover makes no line, no duplicate and no state of them."""
    rng = Random(seed)
    records = case(seed).records
    end = rng.randint(len(records) // 2, len(records))
    log = play(Ledger(case(seed).catalog), rounds_of(records[:end], rng, 10))

    again = play(restored(case(seed).catalog, log.changelog), rounds_of(records[:end], rng, 10))

    assert (again.lines, again.alerts, again.duplicates, again.changelog) == ([], [], 0, [])
    assert set(again.rejects) <= set(log.rejects)


@pytest.mark.rule("R7.2")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_replay_from_an_earlier_position_goes_on_exactly(seed: int) -> None:
    """After a crash before the commit, applied records are passed over and the others rated as if for the first time."""
    rng = Random(seed)
    records = case(seed).records
    written = rng.randint(len(records) // 2, len(records))
    committed = rng.randint(0, written)
    log = play(Ledger(case(seed).catalog), rounds_of(records[:written], rng, 10))

    play(restored(case(seed).catalog, log.changelog), [records[committed:]], log)

    assert log.lines == play(Ledger(case(seed).catalog), [records]).lines


@pytest.mark.parametrize("seed", SEEDS)
def test_the_version_of_a_customers_lines_rises_with_its_records(seed: int) -> None:
    """Lines of one record have one version, which is larger than that of every earlier record of the customer."""
    ledger = Ledger(case(seed).catalog)
    newest: dict[str, int] = defaultdict(int)

    for each in case(seed).records:
        lines = [json.loads(line) for line in play(ledger, [[each]]).lines]
        versions = {line["version"] for line in lines}
        assert len(versions) <= 1
        for line in lines:
            assert line["version"] > newest[line["customer"]]
        newest.update({line["customer"]: line["version"] for line in lines})


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_of_a_customer_sits_in_one_entry(seed: int) -> None:
    """A round gives one entry a customer, with a pack and only that customer's keys, each part once to write."""
    ledger = Ledger(case(seed).catalog)

    for records in rounds_of(case(seed).records, Random(seed), 30):
        for each in records:
            ledger.rate(each)
        states = ledger.take_effects().states
        assert len({changed.customer for changed in states}) == len(states)
        for name, entry in states:
            parts = [part for part, value in parts_in(entry) if value is not None]
            assert {part.customer for part in parts} == {name}
            assert len(set(parts)) == len(parts)
            assert PACK in {part.kind for part in parts}


@pytest.mark.rule("R2.3")
def test_a_record_of_rejects_writes_no_state() -> None:
    """A record none of whose events is accepted leaves dead letters and nothing else, not even in memory."""
    ledger = Ledger(World().catalog)

    ledger.rate(record(0, [event("a", source="nowhere"), {}]))
    ledger.rate(record(1, b"nonsense"))
    ledger.rate(record(2, {"type": "topup", "id": "t", "customer": "acme"}, topic=GRANTS_TOPIC))
    effects = ledger.take_effects()

    assert (effects.states, effects.lines, effects.alerts, effects.duplicates) == ([], 0, [], 0)
    assert [letter.code for letter in effects.dead_letters] == [
        "unknown_deployment",
        "invalid_field",
        "malformed",
        "invalid_field",
    ]
    assert ledger.customers() == set()


@pytest.mark.rule("R2.5")
def test_a_repeated_grant_writes_no_state() -> None:
    """A top-up that is sent again leaves nothing to write."""
    ledger = Ledger(World().catalog)
    top_up = {"type": "topup", "id": "t", "customer": "acme", "amount": "1"}

    first = play(ledger, [[record(0, top_up, topic=GRANTS_TOPIC)]])
    again = play(ledger, [[record(1, top_up, topic=GRANTS_TOPIC)]])

    assert (len(first.changelog), again.changelog) == (1, [])


def test_effects_are_taken_once() -> None:
    """What has been taken is not handed out again."""
    ledger = Ledger(World().catalog)
    ledger.rate(record(0, [event("a"), event("a"), 17]))
    ledger.rate(record(1, [event("a"), event("b")]))

    first, second = ledger.take_effects(), ledger.take_effects()

    assert (first.lines, len(first.dead_letters), first.events, first.duplicates) == (2, 1, 5, 2)
    assert (second.blocks, second.dead_letters, second.states, second.events, second.duplicates) == ([], [], [], 0, 0)


def test_a_record_of_another_topic_is_refused() -> None:
    """Rating knows the two topics of R2 and nothing else."""
    with pytest.raises(ValueError, match=r"usage\.lines"):
        Ledger(World().catalog).rate(record(0, event("a"), topic="usage.lines"))


def test_a_foreign_changelog_record_is_refused() -> None:
    """A changelog record that is not ours stops recovery instead of being passed over."""
    ledger = Ledger(World().catalog)

    with pytest.raises(ValueError, match=r".+"):
        ledger.restore(b"acme", b"{}")


@pytest.mark.rule("R6.1")
@pytest.mark.parametrize(("ids", "closed"), [(["a"], 1), (["a", "c"], 2)], ids=["open", "closed"])
def test_an_identity_that_was_accepted_again_is_known_by_its_latest_acceptance(
    ids: list[str], closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When an older segment still holds an identity's first acceptance, restoring in any order keeps the later one."""
    monkeypatch.setattr("pipeline.domain.digests.SEGMENT_ENTRIES", 2)
    catalog = World(grace_hours=2000).catalog
    early, later, again = (
        record(0, event("a"), "2026-11-10T12:00:00Z"),
        record(1, event("b"), "2026-11-30T12:00:00Z"),
        record(2, list(map(event, ids)), "2026-12-16T12:00:00Z"),
    )
    log = play(Ledger(catalog), [[early], [later]])
    play(restored(catalog, log.changelog), [[again]], log)
    segments = [part for part, _ in parts_in(log.compacted().items()) if part.kind == IDENTITIES]

    for order in (1, -1):
        ledger = restored(catalog, list(log.compacted().items())[::order])
        resent = play(ledger, [[record(3, event("a"), "2026-12-20T12:00:00Z")]])
        assert (resent.lines, resent.duplicates) == ([], 1)
    assert (len(segments), len(log.lines)) == (closed, 2 + len(ids))


@pytest.mark.rule("R6.1")
def test_a_restored_worker_knows_duplicates_for_exactly_35_days() -> None:
    """A segment whose newest entry is exactly 35 days old is kept, also when a day begins with that instant."""
    catalog = World(grace_hours=2000).catalog
    sent, later = "2026-11-10T00:00:00Z", "2026-12-15T00:00:00Z"
    log = play(Ledger(catalog), [[record(0, event("a", time=sent), sent)], [record(1, event("b", time=later), later)]])

    resent = play(restored(catalog, log.changelog), [[record(2, event("a", time=sent), later)]])

    assert (resent.lines, resent.duplicates) == ([], 1)


def test_a_part_is_written_only_when_it_changed() -> None:
    """A second event of the same period writes the pack: head, account and the open segments, and no closed one."""
    ledger = Ledger(World().catalog)
    many = [event(f"e{number}") for number in range(150)]

    play(ledger, [[record(0, many)]])
    log = play(ledger, [[record(1, event("one more"))]])

    assert [parse_part(key).kind for key, _ in log.changelog] == [PACK]
    state, segments = pack_of(log)
    assert (state.seq, list(state.accounts)) == (151, [("team", 1, "2026-11-01")])
    assert [(each.account, each.number) for each in segments] == [(None, 1)]
    assert len(segments[0].content) == (150 % SEGMENT_ENTRIES + 1) * IDENTITY_SIZE


def days_played(*times: str) -> tuple[Ledger, list[Log]]:
    """Rate an operation at each time, a round each, under a day's pool and a grace of 12 hours."""
    ledger = Ledger(World(allowances=(Allowance("d", 1, per="day"),), grace_hours=12).catalog)
    logs = [
        play(ledger, [[record(number, event(f"e{number}", time=time, operation=f"o{number}"), time)]])
        for number, time in enumerate(times)
    ]
    return ledger, logs


def test_counters_that_have_become_many_are_written_on_their_own(monkeypatch) -> None:
    """Beyond a number of accounts and windows, a round writes only those that it touched."""
    monkeypatch.setattr("pipeline.rating.tracked.PACKED_COUNTERS_MAX", 3)

    _, logs = days_played(
        "2026-10-30T00:00:00Z", "2026-10-31T00:00:00Z", "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"
    )

    alone = [[parse_part(key) for key, _ in log.changelog if parse_part(key).kind != PACK] for log in logs]
    assert [sorted(part.kind for part in parts) for parts in alone[:2]] == [[], []]
    assert sorted(part.kind for part in alone[2]) == [ACCOUNT, ACCOUNT, WINDOW, WINDOW, WINDOW]
    assert [(part.kind, part.account) for part in alone[3]] == [(WINDOW, ("team", 1, "2026-11-01"))]
    state, segments = pack_of(logs[3])
    accounts = [("team", 1, "2026-10-01"), ("team", 1, "2026-11-01")]
    assert (state.seq, state.accounts) == (4, {})
    assert [each.account for each in segments] == [None, *accounts]


def test_what_is_forgotten_is_deleted_once_and_on_the_same_day(monkeypatch) -> None:
    """Closed segments and windows of their own go when the day after their end begins: not before, and not again."""
    monkeypatch.setattr("pipeline.rating.tracked.PACKED_COUNTERS_MAX", 1)
    monkeypatch.setattr("pipeline.domain.digests.SEGMENT_ENTRIES", 1)
    ends = ["2026-12-06T11:59:59Z", "2026-12-06T12:00:00Z", "2026-12-06T23:59:59Z", "2026-12-07T00:00:00Z"]
    times = ["2026-10-31T00:00:00Z", *ends, "2026-12-07T00:00:01Z", "2026-12-08T00:00:00Z"]

    _, logs = days_played(*times)

    deleted = [{part.kind for part, value in parts_in(log.changelog) if value is None} for log in logs]
    assert deleted == [set(), {IDENTITIES}, set(), set(), {WINDOW, OPERATIONS}, set(), set()]
    assert sum(value is None for log in logs for _, value in log.changelog) == 3


@pytest.mark.parametrize("counters", [1, 16])
@pytest.mark.parametrize("rounds", range(1, 6))
def test_states_equal_the_changelog_on_every_day_of_retirement(rounds: int, counters: int, monkeypatch) -> None:
    """In the hours around the end of an account, a restored state holds what the live one does."""
    monkeypatch.setattr("pipeline.rating.tracked.PACKED_COUNTERS_MAX", counters)
    times = [
        "2026-10-31T00:00:00Z",
        "2026-12-06T11:59:59Z",
        "2026-12-06T12:00:00Z",
        "2026-12-07T00:00:00Z",
        "2026-12-07T01:00:00Z",
    ]

    ledger, logs = days_played(*times[:rounds])

    back = restored(ledger.catalog, [entry for log in logs for entry in log.changelog])
    assert states_of(back) == states_of(ledger)


def test_states_stay_small() -> None:
    """After 1000 events under three allowances, head and account together take less than 1 KB, all in one record."""
    world = World(
        allowances=(
            Allowance("a", 10),
            Allowance("b", 100, scope="workspace"),
            Allowance("c", 500, scope="deployment"),
        ),
        budgets=(Budget("cap", blocks=False, quantity=1000),),
        prices=(PriceRow(tiers=(Tier(100, 10), Tier(None, 5))),),
    )
    ledger, log = Ledger(world.catalog), Log()

    for number in range(100):
        batch = [event(f"e{number}-{index}", operation=f"o{number}-{index}") for index in range(10)]
        play(ledger, [[record(number, batch)]], log)

    pack = log.compacted()[Part("acme", PACK).key()]
    assert len(log.lines) == 1000
    assert len(pack.partition(b"\n")[0]) < 1000
    assert {part.kind for part, _ in parts_in(log.compacted().items())} == {PACK, IDENTITIES, OPERATIONS}
    assert max(len(value) for value in log.compacted().values()) < 6000
