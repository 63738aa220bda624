"""Remember the last batches of each idempotent producer in a partition: a repeated one is found, a gap refused."""

from collections import deque
from typing import NamedTuple

from pipeline.embedded.kafka.batches import Batch

_BATCHES_REMEMBERED = 5
_SEQUENCES = 1 << 31
_NO_PRODUCER = -1


class SequenceError(ValueError):
    """A batch of an idempotent producer that does not follow its last one."""


class FencedError(ValueError):
    """A batch of an idempotent producer that a newer epoch has replaced."""


class _Sent(NamedTuple):
    first_sequence: int
    last_sequence: int
    base_offset: int


class _Producer:
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.sent: deque[_Sent] = deque(maxlen=_BATCHES_REMEMBERED)


class Producers:
    """The idempotent producers of one partition."""

    def __init__(self) -> None:
        """Begin without producers."""
        self._known: dict[int, _Producer] = {}

    def earlier(self, batch: Batch) -> int | None:
        """Return the first offset of a batch that is there already; None when it is new.

        Raises:
            SequenceError: its producer left a gap or sends something old.
            FencedError: its producer's epoch is over.

        """
        if batch.producer_id == _NO_PRODUCER:
            return None
        producer = self._known.get(batch.producer_id)
        if producer is None:
            return None
        if batch.producer_epoch < producer.epoch:
            raise FencedError(f"epoch {batch.producer_epoch} of producer {batch.producer_id} is over")
        expected = 0
        if batch.producer_epoch == producer.epoch and producer.sent:
            last = batch.last_sequence
            for sent in producer.sent:
                if (sent.first_sequence, sent.last_sequence) == (batch.first_sequence, last):
                    return sent.base_offset
            expected = (producer.sent[-1].last_sequence + 1) % _SEQUENCES
        if batch.first_sequence != expected:
            raise SequenceError(f"producer {batch.producer_id} sent {batch.first_sequence}, not {expected}")
        return None

    def epoch(self, producer_id: int) -> int:
        """Return the newest epoch of a producer that has something here."""
        return self._known[producer_id].epoch

    def note(self, batch: Batch) -> None:
        """Take a batch that is in the log; a marker has no sequence, but its epoch may be a new one."""
        if batch.producer_id == _NO_PRODUCER:
            return
        producer = self._known.get(batch.producer_id)
        if producer is None or producer.epoch != batch.producer_epoch:
            producer = self._known[batch.producer_id] = _Producer(batch.producer_epoch)
        if not batch.is_control:
            producer.sent.append(_Sent(batch.first_sequence, batch.last_sequence, batch.base_offset))
