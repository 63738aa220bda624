"""One round, with a writer that only remembers."""

import time
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from pipeline.codec.states import Positions
from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from pipeline.observe.counters import Counters
from pipeline.rating.ledger import Effects
from pipeline.settings import load_settings
from pipeline.stream.alarm import PoisonAlarm
from pipeline.stream.holdings import Holding
from pipeline.stream.merge import Merge
from pipeline.stream.rounds import ROUND_EVENTS_MAX, Desk, Rounds

pytestmark = pytest.mark.asyncio


class BusyLedger:
    """Says that every record held as many events as a record may."""

    def __init__(self) -> None:
        self.pending_events = 0

    def rate(self, _: Record) -> None:
        self.pending_events += 10_000

    def take_effects(self) -> Effects:
        events, self.pending_events = self.pending_events, 0
        return Effects([], [], [], [], [], [], events, 0, None)


class Journal:
    """The writer and the consumer: what was asked of them, in order."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, int]] = []

    async def write(self, effects: Effects, positions: Positions) -> None:
        self.entries.append((f"written up to {positions.events}", effects.events))

    def settle(self, tp: TP, offset: int) -> None:
        if tp.topic == EVENTS_TOPIC:
            self.entries.append(("settled", offset))

    def on_buffer_drop(self, tp: TP) -> None:
        pass


async def test_a_round_of_many_events_is_written_in_pieces_and_settled_once() -> None:
    """What is pending stays bounded however many events a record holds; each piece says how far it goes."""
    journal = Journal()
    app: Any = SimpleNamespace(settings=load_settings(), counters=Counters(), consumer=journal)
    holding = Holding(0, BusyLedger(), journal)  # type: ignore[arg-type]
    holding.positions = Positions(0, 0)
    merge = Merge(0, 0, 0, 0.0, 0.0)
    desk = Desk(holding, merge, PoisonAlarm(0, Counters()), {})
    merge.events.add(
        0, [Record(EVENTS_TOPIC, 0, offset, 1, b"acme", b"[]") for offset in range(5)], 6, time.monotonic()
    )

    await Rounds(app)._round(desk, [merge.events.pop_run(5, 1 << 20, inf)])

    assert journal.entries == [
        ("written up to 2", ROUND_EVENTS_MAX),
        ("written up to 4", ROUND_EVENTS_MAX),
        ("written up to 6", 10_000),
        ("settled", 6),
    ]
    assert holding.positions == Positions(6, 0)
    assert {tp.topic for tp, _ in desk.sides()} == {EVENTS_TOPIC, GRANTS_TOPIC}


class LateJournal(Journal):
    """While it writes, the source goes on without a record and then with one: an aborted transaction, an event."""

    merge: Merge

    async def write(self, effects: Effects, positions: Positions) -> None:
        await super().write(effects, positions)
        self.merge.events.add(1, [], 3, time.monotonic())
        self.merge.events.add(3, [Record(EVENTS_TOPIC, 0, 3, 1, b"acme", b"[]")], 4, time.monotonic())


async def test_the_group_is_never_ahead_of_the_states() -> None:
    """What the sources brought while a round was written is not committed with it, not even a gap in the offsets."""
    journal = LateJournal()
    app: Any = SimpleNamespace(settings=load_settings(), counters=Counters(), consumer=journal)
    holding = Holding(0, BusyLedger(), journal)  # type: ignore[arg-type]
    holding.positions = Positions(0, 0)
    journal.merge = merge = Merge(0, 0, 0, 0.0, 0.0)
    desk = Desk(holding, merge, PoisonAlarm(0, Counters()), {})
    merge.events.add(0, [Record(EVENTS_TOPIC, 0, 0, 1, b"acme", b"[]")], 1, time.monotonic())

    await Rounds(app)._round(desk, [merge.events.pop_run(1, 1, inf)])

    assert journal.entries == [("written up to 1", 10_000), ("settled", 1)]


async def test_a_gap_at_the_end_of_a_source_is_written_too() -> None:
    """When a source went on without a record and nothing is left, that is ahead of what is written; else it is not."""
    holding = Holding(0, BusyLedger(), Journal())  # type: ignore[arg-type]
    holding.positions = Positions(5, 0)
    merge = Merge(0, 5, 0, 0.0, 0.0)
    desk = Desk(holding, merge, PoisonAlarm(0, Counters()), {})
    assert not desk.is_ahead()

    merge.events.add(5, [], 7, time.monotonic())
    assert desk.is_ahead()

    merge.events.add(7, [Record(EVENTS_TOPIC, 0, 7, 1, b"acme", b"[]")], 8, time.monotonic())
    assert not desk.is_ahead()


class SwitchingLedger(BusyLedger):
    """Has put another catalog version in force since its effects were last taken."""

    def take_effects(self) -> Effects:
        return super().take_effects()._replace(switched_to="b" * 32)


@pytest.mark.rule("R10.4")
async def test_the_version_in_force_is_known_as_soon_as_it_is_written() -> None:
    """A rebalance that leaves the partition here goes on under it, not under that of the last recovery."""
    holding = Holding(0, SwitchingLedger(), Journal())  # type: ignore[arg-type]
    holding.catalog = "a" * 32
    desk = Desk(holding, Merge(0, 0, 0, 0.0, 0.0), PoisonAlarm(0, Counters()), {})

    await desk.write(Positions(1, 1))

    assert holding.catalog == "b" * 32
