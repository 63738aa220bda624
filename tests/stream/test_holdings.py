"""What a worker keeps of its partitions over a rebalance."""

import pytest

from pipeline.codec.states import POSITIONS_KEY, Positions, encode_positions
from pipeline.domain.records import STATES_TOPIC, Record
from pipeline.stream.holdings import Holdings
from tests.stream.stub import StubLedger

pytestmark = pytest.mark.asyncio


class FakeWriter:
    """Says whether it is the writer of its partition."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.started = self.stopped = 0

    async def start(self) -> None:
        self.started += 1

    async def stop(self) -> None:
        self.stopped += 1


async def taken(*partitions: int) -> Holdings:
    holdings = Holdings(StubLedger, FakeWriter)
    await holdings.take(set(partitions))
    for partition in partitions:
        holdings[partition].recovered = True
    return holdings


async def test_what_is_taken_is_fenced_before_it_is_read():
    """A partition that is taken has a started writer, and may be worked on only when its ledger is rebuilt."""
    holdings = Holdings(StubLedger, FakeWriter)

    await holdings.take({1, 2})

    assert [holdings[partition].writer.started for partition in (1, 2)] == [1, 1]
    assert holdings.recovered() == set()


async def test_what_stays_is_left_as_it_is():
    """Of the partitions held, those that are not ours any more are let go of, the others keep ledger and writer."""
    holdings = await taken(1, 2)
    first, second = holdings[1], holdings[2]

    await holdings.keep({2, 3})

    assert holdings.recovered() == {2}
    assert holdings[2] is second
    assert (first.writer.stopped, second.writer.stopped) == (1, 0)
    with pytest.raises(KeyError):
        holdings[3]


async def test_what_may_have_been_anothers_is_taken_anew():
    """A partition of an assignment that we missed is not trusted even when it comes back."""
    holdings = await taken(1, 2)
    lost = holdings[1]

    holdings.stay({2})
    await holdings.keep({1, 2})

    assert holdings.recovered() == {2}
    assert lost.writer.stopped == 1


async def test_positions_are_told_from_states():
    """The positions record is not handed to the ledger; the last one counts."""
    holdings = await taken(0)
    holding = holdings[0]

    holding.restore(
        [
            changelog(0, POSITIONS_KEY, encode_positions(Positions(3, 1))),
            changelog(1, b"acme", b'{"seq": 4}'),
            changelog(2, POSITIONS_KEY, encode_positions(Positions(7, 2))),
        ]
    )

    assert holding.positions == Positions(7, 2)
    assert holding.ledger.customers == {"acme": {"seq": 4}}


async def test_a_state_of_nobody_is_refused():
    """A changelog record without a key cannot be ours."""
    holdings = await taken(0)

    with pytest.raises(ValueError, match=r"usage\.states/0: record 5 has no key"):
        holdings[0].restore([changelog(5, None, b"{}")])


def changelog(offset: int, key: bytes | None, value: bytes) -> Record:
    return Record(STATES_TOPIC, 0, offset, 1, key, value)
