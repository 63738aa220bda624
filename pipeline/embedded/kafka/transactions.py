"""Coordinate transactions: who may write under a transactional id, what an open transaction holds, and how it ends.

A change is in the journal before it counts. A transaction ends within one turn of the event loop: first what is decided
(`PrepareCommit`), then a marker in every partition, then that it is done; what a crash leaves out of that is made up for
when the broker starts.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.embedded.kafka.batches import Batch
from pipeline.embedded.kafka.journal import Journal
from pipeline.embedded.kafka.messages import Code
from pipeline.embedded.kafka.offsets import Committed, Offsets, Place
from pipeline.embedded.kafka.topics import Topics
from pipeline.embedded.kafka.transaction import COMPLETE, PREPARED, State, Transaction

TIMEOUT_MS_MAX = 900_000
_EPOCH_LAST = (1 << 15) - 2
"""The last epoch a producer is given; the one after it is left to fence that producer."""

log = logging.getLogger("usage.broker")


class Owner(NamedTuple):
    """Who a request says it comes from."""

    transactional_id: str
    producer_id: int
    epoch: int


class RefusedError(ValueError):
    """A request that its producer may not make; `code` is Kafka's error code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"refused with code {code}")
        self.code = code


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Transactions:
    """All transactional ids."""

    def __init__(
        self, path: Path, topics: Topics, offsets: Offsets, now_ms: Callable[[], int] = _wall_clock_ms
    ) -> None:
        """Read the journal at `path`, and end what a crash left half ended."""
        self._topics = topics
        self._offsets = offsets
        self._now_ms = now_ms
        self._producer_id_last = 0
        self._of_id: dict[str, Transaction] = {}
        self._of_producer: dict[int, Transaction] = {}
        self._not_ended: dict[str, Transaction] = {}
        self._journal = Journal(path, self._snapshot)
        for line in self._journal.lines():
            self._take(Transaction.of_line(line))
        self._journal.rewrite()
        self._complete_prepared()
        self._abort_unknown()

    def new_producer_id(self) -> int:
        """Return a producer id that was never given out before, also not before a restart."""
        self._producer_id_last = max(time.time_ns(), self._producer_id_last + 1)
        return self._producer_id_last

    def begin_epoch(self, transactional_id: str, timeout_ms: int) -> Owner:
        """Give a transactional id to a new producer.

        From here on its former producer is fenced; the transaction that it left open is aborted, and one that it had
        decided to commit is complete.
        """
        one = self._of_id.get(transactional_id) or Transaction(transactional_id, self.new_producer_id(), -1, timeout_ms)
        if one.state is State.ONGOING:
            one = self._fence(one)
        elif one.state in COMPLETE:
            one = self._complete(one)
        fresh = replace(one.left(State.EMPTY), epoch=one.epoch + 1, timeout_ms=timeout_ms)
        if fresh.epoch > _EPOCH_LAST:
            fresh = replace(fresh, producer_id=self.new_producer_id(), epoch=0)
        self._save(fresh)
        return Owner(transactional_id, fresh.producer_id, fresh.epoch)

    def add(self, owner: Owner, places: Collection[Place] = (), groups: Collection[str] = ()) -> None:
        """Take partitions, or groups whose offsets it will commit, into the transaction; the first ones begin it.

        Raises:
            RefusedError: the producer is fenced or unknown, or its last transaction is being ended.

        """
        one = self._owned(owner)
        if one.state in COMPLETE:
            raise RefusedError(Code.CONCURRENT_TRANSACTIONS)
        if one.state is not State.ONGOING:
            one = one.left(State.ONGOING, self._now_ms())
        elif one.partitions.issuperset(places) and one.groups.issuperset(groups):
            return
        self._save(replace(one, partitions=one.partitions.union(places), groups=one.groups.union(groups)))

    def add_offsets(self, owner: Owner, group: str, places: Iterable[tuple[Place, Committed]]) -> None:
        """Keep a group's offsets until the transaction is committed.

        Raises:
            RefusedError: the producer is fenced or unknown, or its transaction does not have the group.

        """
        one = self._owned(owner)
        if one.state is not State.ONGOING or group not in one.groups:
            raise RefusedError(Code.INVALID_TXN_STATE)
        self._save(replace(one, offsets=(*one.offsets, *((group, *entry) for entry in places))))

    def end(self, owner: Owner, *, commit: bool) -> None:
        """Commit or abort: all of its records and offsets count from here on, or none ever; saying it again is fine.

        Raises:
            RefusedError: the producer is fenced or unknown, or there is no such transaction to end.

        """
        one = self._owned(owner)
        if one.state is State.ONGOING:
            self._end(one, commit=commit)
        elif one.state is PREPARED[commit]:
            self._complete(one)
        elif one.state is not COMPLETE[PREPARED[commit]]:
            raise RefusedError(Code.INVALID_TXN_STATE)

    def refusal(self, batch: Batch, place: Place) -> int:
        """Tell whether a batch of an idempotent producer may be appended at `place`; return an error code."""
        one = self._of_producer.get(batch.producer_id)
        if one is None:
            return Code.INVALID_PRODUCER_ID_MAPPING if batch.is_transactional else Code.NONE
        if batch.producer_epoch != one.epoch:
            return Code.INVALID_PRODUCER_EPOCH
        if not batch.is_transactional or one.state is not State.ONGOING or place not in one.partitions:
            return Code.INVALID_TXN_STATE
        return Code.NONE

    def expire(self) -> None:
        """Abort the transactions that have been open for longer than their timeout, and fence their producers."""
        now_ms = self._now_ms()
        for one in tuple(self._not_ended.values()):
            if one.state is State.ONGOING and one.began_ms + one.timeout_ms < now_ms:
                log.warning("the transaction of %s is aborted after %d ms", one.transactional_id, one.timeout_ms)
                self._fence(one)
        self._complete_prepared()

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _owned(self, owner: Owner) -> Transaction:
        one = self._of_id.get(owner.transactional_id)
        if one is None or one.producer_id != owner.producer_id:
            raise RefusedError(Code.INVALID_PRODUCER_ID_MAPPING)
        if one.epoch != owner.epoch:
            raise RefusedError(Code.PRODUCER_FENCED)
        return one

    def _fence(self, one: Transaction) -> Transaction:
        """Abort the open transaction, and refuse its producer from here on."""
        return self._end(replace(one, epoch=one.epoch + 1), commit=False)

    def _end(self, one: Transaction, *, commit: bool) -> Transaction:
        return self._complete(self._save(replace(one, state=PREPARED[commit])))

    def _complete(self, one: Transaction) -> Transaction:
        """Write the markers and the offsets; may be done again after a failure anywhere within."""
        commit = one.state is State.PREPARE_COMMIT
        for place in sorted(one.partitions):
            partition = self._topics.log(*place)
            if partition is not None:
                partition.end_transaction(one.producer_id, one.epoch, commit=commit)
        if commit:
            for group in one.groups:
                self._offsets.commit(group, {place: kept for owner, place, kept in one.offsets if owner == group})
        return self._save(one.left(COMPLETE[one.state]))

    def _complete_prepared(self) -> None:
        for one in tuple(self._not_ended.values()):
            if one.state in COMPLETE:
                self._complete(one)

    def _abort_unknown(self) -> None:
        """Abort what is open in a partition but in nobody's transaction: a power cut has taken the journal's last lines."""
        for name, topic in self._topics.topics.items():
            for number, partition in enumerate(topic.logs):
                for producer_id, epoch in partition.open_transactions():
                    one = self._of_producer.get(producer_id)
                    if one is None or one.state is not State.ONGOING or (name, number) not in one.partitions:
                        log.warning("%s-%d: a transaction that nobody has is aborted", name, number)
                        partition.end_transaction(producer_id, epoch, commit=False)

    def _save(self, one: Transaction) -> Transaction:
        self._journal.append([one.line()])
        self._take(one)
        self._journal.trim()
        return one

    def _take(self, one: Transaction) -> None:
        former = self._of_id.get(one.transactional_id)
        if former is not None and former.producer_id != one.producer_id:
            del self._of_producer[former.producer_id]
        self._of_id[one.transactional_id] = self._of_producer[one.producer_id] = one
        if one.state is State.ONGOING or one.state in COMPLETE:
            self._not_ended[one.transactional_id] = one
        else:
            self._not_ended.pop(one.transactional_id, None)

    def _snapshot(self) -> Iterator[Any]:
        for one in self._of_id.values():
            yield one.line()
