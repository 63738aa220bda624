"""One flush: a block of lines into ClickHouse, whatever it takes; then its positions may be committed."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.observe.counters import Counters
from pipeline.sink.blocks import Block, Piece, Span, by_form, document_of, fault_of, halves, spans_of
from pipeline.sink.dead_letters import DeadLetters
from pipeline.sink.store import Away, LineStore, Refused

log = logging.getLogger(__name__)

RETRY_PAUSE_S_MIN = 0.1
RETRY_PAUSE_S_MAX = 5.0
REMIND_S = 60.0
"""How often a lasting absence is logged again."""
REMIND_CHANGED_S = 5.0
"""How often it is when the reason changes."""
REFUSED_IN_A_ROW_MAX = 1000
"""So many pieces refused with none accepted in between are no stray messages: worker and schema do not fit together."""


class TooManyRefused(Exception):  # noqa: N818 - the word for it
    """The sink stops, so that bad code does not empty the topic into the dead letters."""


class Flusher:
    """Takes blocks to ClickHouse. A flush waits for as long as ClickHouse is away; cancel it to give up."""

    def __init__(self, store: LineStore, dead_letters: DeadLetters, counters: Counters) -> None:
        self._store = store
        self._dead_letters = dead_letters
        self._counters = counters
        self._refused_in_a_row = 0

    async def flush(self, block: Block, repeats: Mapping[TopicPartition, Span]) -> None:
        """Return once every line of the block is in ClickHouse or in the dead letters. Raises TooManyRefused.

        `repeats` are records that an earlier sink may have inserted.
        """
        if repeats:
            await persist("ClickHouse", lambda: self._store.save_repeats(repeats))
        sound = []
        for piece in block.pieces:
            if fault := fault_of(piece):
                await self._refuse(piece, fault)
            else:
                sound.append(piece)
        for pieces in by_form(sound):
            await self._insert(pieces)
        await persist("ClickHouse", lambda: self._store.save_positions(block.next_offsets))

    async def _insert(self, pieces: Sequence[Piece]) -> None:
        """Insert pieces of one form; when they are refused, look for the ones at fault by halves, then by lines."""
        try:
            await persist("ClickHouse", self._attempts(pieces))
        except Refused as refusal:
            if len(pieces) > 1:
                for half in halves(pieces):
                    await self._insert(half)
            elif lines := pieces[0].lines():
                await self._insert(lines)
            else:
                await self._refuse(pieces[0], str(refusal))
        else:
            self._refused_in_a_row = 0

    def _attempts(self, pieces: Sequence[Piece]) -> Callable[[], Awaitable[None]]:
        """Return what inserts pieces; from its second call on it says before that they may be there already."""
        repeated = False

        async def attempt() -> None:
            nonlocal repeated
            if repeated:
                await self._store.save_repeats(spans_of(pieces))
            repeated = True
            await self._store.insert_lines(document_of(pieces))

        return attempt

    async def _refuse(self, piece: Piece, reason: str) -> None:
        self._refused_in_a_row += 1
        if self._refused_in_a_row > REFUSED_IN_A_ROW_MAX:
            raise TooManyRefused(
                f"{self._refused_in_a_row} messages in a row were refused, the last one {piece.where()}: {reason}. "
                "Worker and schema do not seem to fit together: run `usage migrate`, then start the sink again"
            )
        await persist("Kafka", lambda: self._dead_letters.send(piece, reason))
        self._counters.add("sink_refused")


async def persist(whom: str, attempt: Callable[[], Awaitable[None]]) -> None:
    """Repeat an attempt until it succeeds, with growing pauses; say who is away, and why, once and when it is back."""
    absence: _Absence | None = None
    pause = RETRY_PAUSE_S_MIN
    while True:
        try:
            await attempt()
        except (Away, KafkaError) as failure:
            absence = absence or _Absence(whom)
            absence.report(str(failure))
        else:
            if absence is not None:
                absence.end()
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, RETRY_PAUSE_S_MAX)


class _Absence:
    """A time in which somebody is away: said at its begin, when the reason changes, then rarely, and at its end."""

    def __init__(self, whom: str) -> None:
        self._whom = whom
        self._since = self._said_at = time.monotonic()
        self._reason: str | None = None

    def report(self, reason: str) -> None:
        """Log why, unless that was said a short time ago."""
        now = time.monotonic()
        if self._reason is None:
            log.warning("%s is away, waiting for it: %s", self._whom, reason)
        elif now - self._said_at >= (REMIND_S if reason == self._reason else REMIND_CHANGED_S):
            log.warning("%s is still away, for %.0f s now: %s", self._whom, now - self._since, reason)
        else:
            return
        self._reason, self._said_at = reason, now

    def end(self) -> None:
        """Log that the wait is over."""
        log.info("%s is back after %.1f s", self._whom, time.monotonic() - self._since)
