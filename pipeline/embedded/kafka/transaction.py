"""One transactional id: its producer and its last transaction, as the journal keeps them."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from pipeline.embedded.kafka.offsets import Committed, Place


class State(Enum):
    """Where a transaction stands; the values are Kafka's names."""

    EMPTY = "Empty"
    ONGOING = "Ongoing"
    PREPARE_COMMIT = "PrepareCommit"
    PREPARE_ABORT = "PrepareAbort"
    COMPLETE_COMMIT = "CompleteCommit"
    COMPLETE_ABORT = "CompleteAbort"


PREPARED = {True: State.PREPARE_COMMIT, False: State.PREPARE_ABORT}
"""The state once it is decided whether to commit."""
COMPLETE = {State.PREPARE_COMMIT: State.COMPLETE_COMMIT, State.PREPARE_ABORT: State.COMPLETE_ABORT}
"""The state once that is carried out."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """The producer that has a transactional id, and its last transaction."""

    transactional_id: str
    producer_id: int
    epoch: int
    timeout_ms: int
    state: State = State.EMPTY
    began_ms: int = 0
    partitions: frozenset[Place] = frozenset()
    groups: frozenset[str] = frozenset()
    offsets: tuple[tuple[str, Place, Committed], ...] = ()
    """Offsets of groups that are committed if the transaction is."""

    @classmethod
    def of_line(cls, line: list[Any]) -> "Transaction":
        """Return what `line` had made an entry of."""
        transactional_id, producer_id, epoch, timeout_ms, state, began_ms, partitions, groups, offsets = line
        return cls(
            transactional_id,
            producer_id,
            epoch,
            timeout_ms,
            State(state),
            began_ms,
            frozenset((name, index) for name, index in partitions),
            frozenset(groups),
            tuple((group, (name, index), Committed(offset, note)) for group, name, index, offset, note in offsets),
        )

    def line(self) -> list[Any]:
        """Return it as an entry of the journal."""
        head = [self.transactional_id, self.producer_id, self.epoch, self.timeout_ms, self.state.value, self.began_ms]
        offsets = [[group, *place, *committed] for group, place, committed in self.offsets]
        return [*head, list(self.partitions), list(self.groups), offsets]

    def left(self, state: State, began_ms: int = 0) -> "Transaction":
        """Return it without what its last transaction held, in `state`."""
        return replace(self, state=state, began_ms=began_ms, partitions=frozenset(), groups=frozenset(), offsets=())
