"""One round, with a writer that only remembers."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from pipeline.observe.counters import Counters
from pipeline.rating.ledger import Effects
from pipeline.settings import load_settings
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
        return Effects([], [], [], [], events, 0)


class Journal:
    """The writer and the consumer: what was asked of them, in order."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, int]] = []

    async def write_outputs(self, _: int, effects: Effects) -> None:
        self.entries.append(("outputs", effects.events))

    async def write_states(self, _: int, effects: Effects) -> None:
        self.entries.append(("states", effects.events))

    def settle(self, tp: TP, offset: int) -> None:
        if tp.topic == EVENTS_TOPIC:
            self.entries.append(("settled", offset))

    def on_buffer_drop(self, tp: TP) -> None:
        pass


async def test_a_round_of_many_events_is_written_in_pieces_and_settled_once() -> None:
    """What is pending stays bounded however many events a record holds; outputs come before states, settling last."""
    journal = Journal()
    app: Any = SimpleNamespace(settings=load_settings(), counters=Counters(), consumer=journal)
    rounds = Rounds(app)
    rounds._writer = journal  # type: ignore[assignment]
    merge = Merge(0, 0, 0, 0.0, 0.0)
    desk = Desk(0, merge, BusyLedger(), {})  # type: ignore[arg-type]
    records = [Record(EVENTS_TOPIC, 0, offset, 1, b"acme", b"[]") for offset in range(5)]
    merge.events.add(0, records, 5, time.monotonic())

    await rounds._round(desk, records)

    piece = [("outputs", ROUND_EVENTS_MAX), ("states", ROUND_EVENTS_MAX)]
    assert journal.entries[:-1] == [*piece, *piece, ("outputs", 10_000), ("states", 10_000)]
    assert journal.entries[-1][0] == "settled"
    assert {tp.topic for tp, _ in desk.sides()} == {EVENTS_TOPIC, GRANTS_TOPIC}
