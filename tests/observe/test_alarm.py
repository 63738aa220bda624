"""What a partition's alarm counts, logs, and when it stops the worker."""

import json
import logging

import pytest

from pipeline.domain.records import EVENTS_TOPIC, GRANTS_TOPIC, Record
from pipeline.observe.counters import Counters
from pipeline.observe.poison import EVENTS_MIN
from pipeline.rating.ledger import Effects, Ledger
from pipeline.stream.alarm import PoisonAlarm, PoisonError
from tests.domain.world import NOON, World, ms
from tests.rating.support import event


def effects_of(*values: bytes, topic: str = EVENTS_TOPIC) -> Effects:
    ledger = Ledger(World().catalog)
    for offset, value in enumerate(values):
        ledger.rate(Record(topic, 0, offset, ms(NOON), b"acme", value))
    return ledger.take_effects()


BAD_BATCH = b"[" + b",".join([b"17"] * EVENTS_MIN) + b"]"


def good_batch(count: int) -> bytes:
    return json.dumps([event(f"e{at}") for at in range(count)]).encode()


@pytest.mark.rule("R2.3")
def test_shouts_counts_and_says_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """Poison is a critical line with numbers and codes and a counter that grows; its end is a warning."""
    counters = Counters()
    alarm = PoisonAlarm(3, counters)

    alarm.note(effects_of(good_batch(5)), 0.0)
    alarm.note(effects_of(BAD_BATCH, b"{"), 1.0)
    alarm.note(effects_of(b"{"), 2.0)
    alarm.note(effects_of(good_batch(2 * EVENTS_MIN)), 3.0)

    shouted, ended = caplog.records
    assert (shouted.levelno, ended.levelno) == (logging.CRITICAL, logging.WARNING)
    assert shouted.getMessage().startswith(
        "partition 3: 1001 of the last 1006 events were rejected, mostly as malformed 1001"
    )
    assert ended.getMessage().startswith("partition 3: 1002 of the last 3007 events were rejected: it is no longer")
    assert counters.shown() == {"poisoned": 1002}


def test_grants_do_not_count() -> None:
    """Rejected grants are no share of anything: accepted ones cannot be told from their effects."""
    counters = Counters()

    PoisonAlarm(0, counters, stop=True).note(effects_of(*[b"{"] * EVENTS_MIN, topic=GRANTS_TOPIC), 0.0)

    assert counters.shown() == {}


def test_stops_when_it_is_told_to() -> None:
    """With the setting, the round in which poison begins is an error before it is written."""
    with pytest.raises(PoisonError, match="partition 0: nearly everything is rejected"):
        PoisonAlarm(0, Counters(), stop=True).note(effects_of(BAD_BATCH), 0.0)
