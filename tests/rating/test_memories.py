"""What is held in memory to be fast is no state: forgetting it, or putting a customer to sleep, changes no result."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from pipeline.domain.catalog import Subscription
from pipeline.domain.rating import rate_event
from pipeline.domain.records import GRANTS_TOPIC
from pipeline.domain.state import CustomerState
from pipeline.rating.ledger import Ledger
from pipeline.rating.tracked import TrackedCustomer
from tests.domain.world import World, snapshot
from tests.model.compare import assert_same
from tests.rating.support import Log, case, event, play, rate_offline, rated, record, restored
from tests.rating.test_ledger import LONG_EVENTS, LONG_SEEDS, rounds_of, states_of

SEEDS = range(20)


def before_every_event(forget: Callable[[CustomerState], object], monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(index, state, *rest):
        forget(state)
        return rate_event(index, state, *rest)

    monkeypatch.setattr("pipeline.rating.rater.rate_event", forgetful)


def forget_tariffs(monkeypatch: pytest.MonkeyPatch) -> None:
    before_every_event(CustomerState.forget_tariffs, monkeypatch)


def forget_tariffs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before_every_event(lambda state: (state.tariffs.clear(), state.late_tariffs.clear()), monkeypatch)


def forget_slots_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before_every_event(lambda state: (state.pool_slots.clear(), state.budget_slots.clear()), monkeypatch)


def keep_one_tariff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.domain.tariffs._TARIFFS_MAX", 1)


def forget_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.domain.terms._SHAPES_MAX", 0)


def forget_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.domain.tariffs.alert_from", lambda *_: 0)


@pytest.mark.rule("R3.3", "R4.2", "R6.4", "R6.8", "R6.10")
@pytest.mark.parametrize(
    "forget",
    [forget_tariffs, forget_tariffs_alone, forget_slots_alone, keep_one_tariff, forget_terms, forget_thresholds],
)
@pytest.mark.parametrize("seed", SEEDS)
def test_forgetting_what_was_worked_out_changes_nothing(
    seed: int, forget: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines, alerts, rejects and statements are the same when tariffs, terms or thresholds are worked out every time."""
    wanted = rated(seed)

    forget(monkeypatch)

    assert_same(wanted, rate_offline(case(seed).catalog, case(seed).records))


def keep_awake(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.rating.rater.AWAKE_MAX", count)


def play_drowsily(seed: int, events: int) -> tuple[Ledger, Log]:
    ledger, log = Ledger(case(seed, events).catalog), Log()
    for round_ in rounds_of(case(seed, events).records, Random(seed), 10):
        play(ledger, [round_], log)
    return ledger, log


@pytest.mark.rule("R3.3", "R7.2")
@pytest.mark.parametrize("awake", [0, 1])
@pytest.mark.parametrize("seed", [*SEEDS, *LONG_SEEDS])
def test_sleeping_customers_change_nothing(seed: int, awake: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines, alerts, rejects, states and restored states are those of a worker all of whose customers stay awake."""
    events = LONG_EVENTS if seed in LONG_SEEDS else 200
    wide_awake, wanted = play_drowsily(seed, events)

    keep_awake(awake, monkeypatch)
    drowsy, found = play_drowsily(seed, events)

    assert found.outputs() == wanted.outputs()
    back = restored(case(seed, events).catalog, found.compacted().items())
    assert states_of(back) == states_of(wide_awake)
    assert states_of(drowsy) == states_of(wide_awake)


def test_those_who_are_more_than_should_be_awake_fall_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a round those that woke first sleep, as bytes; who is rated again wakes; nobody is lost."""
    keep_awake(1, monkeypatch)
    world = World()
    term = Subscription("other", world.plan, 0)
    ledger = Ledger(
        replace(world.catalog, subscriptions={**world.catalog.subscriptions, ("other", "docflow"): (term,)})
    )
    mine, other = record(0, event("a")), record(1, event("b", subject="other", source="dep-other"), key="other")

    for each in (mine, other):
        ledger.rate(each)
    ledger.take_effects()

    assert (list(ledger._rater._awake), list(ledger._rater._asleep)) == (["other"], [b"acme"])
    assert type(ledger._rater._asleep[b"acme"]) is bytes
    assert ledger.customers() == {"acme", "other"}
    play(ledger, [[record(2, event("c"))]])
    assert (ledger.state_of("acme").seq, ledger.state_of("other").seq) == (2, 1)


@pytest.mark.rule("R6.1", "R2.5")
def test_a_sleeping_customer_is_still_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Duplicates, conflicts and repeated grants of one who sleeps are told; what is rejected leaves the state as it was."""
    keep_awake(0, monkeypatch)
    ledger = Ledger(World(grace_hours=1000).catalog)
    top_up = {"type": "topup", "id": "t", "customer": "acme", "amount": "1"}
    play(ledger, [[record(0, event("a"))], [record(0, top_up, topic=GRANTS_TOPIC)]])

    log = play(
        ledger, [[record(1, event("a"))], [record(2, event("a", quantity=2))], [record(1, top_up, topic=GRANTS_TOPIC)]]
    )

    assert (log.lines, log.duplicates, [code for *_, code, _ in log.rejects]) == ([], 1, ["id_conflict"])
    state = ledger.state_of("acme")
    assert (state.seq, state.wallet_pico, state.events_applied, state.grants_applied) == (1, 10**12, 1, 0)


def test_only_small_customers_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose state has parts beside the pack is only set aside: waking would read all of it again."""
    keep_awake(0, monkeypatch)
    ledger = Ledger(World().catalog)

    play(ledger, [[record(0, [event(f"e{number}") for number in range(100)])]])

    assert (ledger._rater._asleep, list(ledger._rater._large)) == ({}, ["acme"])
    assert ledger.customers() == {"acme"}
    again = play(ledger, [[record(1, [event("e7"), event("new")])]])
    assert (len(again.lines), again.duplicates, ledger.state_of("acme").seq) == (1, 1, 101)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_customer_put_to_sleep_and_woken_is_the_same(seed: int) -> None:
    """What `take_changed` has written so far of a customer makes the same customer, in every round."""
    ledger = Ledger(case(seed).catalog)
    kept: dict[str, dict[bytes, bytes]] = {}
    for each in case(seed).records:
        ledger.rate(each)
        for name, records in ledger.take_effects().states:
            parts = kept.setdefault(name, {})
            parts |= {key: value for key, value in records if value is not None}
            for key, value in records:
                if value is None:
                    del parts[key]
            woken = TrackedCustomer(CustomerState(name))
            woken.restore(parts)
            assert snapshot(woken.state) == snapshot(ledger.state_of(name))
