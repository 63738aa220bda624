"""One flush: a block of lines into ClickHouse, whatever it takes; then its positions may be committed."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from aiokafka.errors import KafkaError

from pipeline.sink.blocks import Block, Piece, halves, joined, looks_like_lines
from pipeline.sink.dead_letters import DeadLetters
from pipeline.sink.store import Away, LineStore, Refused

log = logging.getLogger(__name__)

RETRY_PAUSE_S_MIN = 0.1
RETRY_PAUSE_S_MAX = 5.0
REMIND_S = 60.0
"""How often a lasting absence is logged again."""
REFUSED_IN_A_ROW_MAX = 1000
"""So many pieces refused with none accepted in between are no stray messages: worker and schema do not fit together."""


class TooManyRefused(Exception):  # noqa: N818 - the word for it
    """The sink stops, so that bad code does not empty the topic into the dead letters."""


class Flusher:
    """Takes blocks to ClickHouse. A flush waits for as long as ClickHouse is away; cancel it to give up."""

    def __init__(self, store: LineStore, dead_letters: DeadLetters) -> None:
        self._store = store
        self._dead_letters = dead_letters
        self._refused_in_a_row = 0

    async def flush(self, block: Block) -> None:
        """Return once every line of the block is in ClickHouse or in the dead letters. Raises TooManyRefused."""
        sound = [piece for piece in block.pieces if looks_like_lines(piece.payload)]
        for piece in block.pieces:
            if not looks_like_lines(piece.payload):
                await self._refuse(piece, "the value is no JSON objects, one a line")
        await self._insert(sound)
        await persist("ClickHouse", lambda: self._store.save_positions(block.next_offsets))

    async def _insert(self, pieces: Sequence[Piece]) -> None:
        """Insert pieces; when they are refused, look for the ones at fault by halves, then by lines."""
        if not pieces:
            return
        try:
            await persist("ClickHouse", lambda: self._store.insert_lines(joined(pieces)))
        except Refused as refusal:
            if len(pieces) > 1:
                for half in halves(pieces):
                    await self._insert(half)
            elif pieces[0].rows > 1:
                await self._insert(pieces[0].lines())
            else:
                await self._refuse(pieces[0], str(refusal))
        else:
            self._refused_in_a_row = 0

    async def _refuse(self, piece: Piece, reason: str) -> None:
        self._refused_in_a_row += 1
        if self._refused_in_a_row > REFUSED_IN_A_ROW_MAX:
            raise TooManyRefused(
                f"{self._refused_in_a_row} messages in a row were refused, the last one {piece.where()}: {reason}. "
                "Worker and schema do not seem to fit together: run `usage migrate`, then start the sink again"
            )
        await persist("Kafka", lambda: self._dead_letters.send(piece, reason))


async def persist(whom: str, attempt: Callable[[], Awaitable[None]]) -> None:
    """Repeat an attempt until it succeeds, with growing pauses; say once who is away, then rarely, and when it is back."""
    away_since: float | None = None
    reminded = 0.0
    pause = RETRY_PAUSE_S_MIN
    while True:
        try:
            await attempt()
        except (Away, KafkaError) as failure:
            now = time.monotonic()
            if away_since is None:
                away_since, reminded = now, now
                log.warning("%s is away, waiting for it: %s", whom, failure)
            elif now - reminded >= REMIND_S:
                reminded = now
                log.warning("%s is still away, for %.0f s now: %s", whom, now - away_since, failure)
        else:
            if away_since is not None:
                log.info("%s is back after %.1f s", whom, time.monotonic() - away_since)
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, RETRY_PAUSE_S_MAX)
