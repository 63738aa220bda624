"""What a worker holds of each of its partitions: the ledger, the fenced writer, and how far the sources are done.

A holding lives from the assignment until the partition is assigned to somebody else. A rebalance that leaves a partition
here leaves its holding as it is: nobody can have written in between without fencing our writer, and then our next
write fails.
"""

import asyncio
from collections.abc import Callable, Iterable

from pipeline.codec.states import CATALOG_KEY, POSITIONS_KEY, Positions, restore_positions
from pipeline.domain.records import Record
from pipeline.rating.ledger import Ledger
from pipeline.stream.effects import PartitionWriter

LedgerFactory = Callable[[], Ledger]
WriterFactory = Callable[[int], PartitionWriter]


class Holding:
    """One partition that is ours."""

    def __init__(self, partition: int, ledger: Ledger, writer: PartitionWriter) -> None:
        self.partition = partition
        self.ledger = ledger
        self.writer = writer
        self.positions: Positions | None = None
        """Up to where the sources are done; None for a partition that nobody has worked on yet."""
        self.catalog: str | None = None
        """Digest of the catalog version in force that the states name; None before the first switch (R10.4)."""
        self.recovered = False
        """The ledger holds all that was written: it may be worked on."""

    def restore(self, records: Iterable[Record]) -> None:
        """Take changelog records back, in order. Raises ValueError for one that is not ours."""
        restore = self.ledger.restore
        for record in records:
            if record.key == POSITIONS_KEY:
                self.positions = restore_positions(record.value or b"")
            elif record.key == CATALOG_KEY:
                self.catalog = (record.value or b"").decode()
            elif record.key is None:
                raise ValueError(f"{record.topic}/{record.partition}: record {record.offset} has no key")
            else:
                restore(record.key, record.value)


class Holdings:
    """The holdings of a worker, by partition."""

    def __init__(self, new_ledger: LedgerFactory, new_writer: WriterFactory) -> None:
        self._new_ledger = new_ledger
        self._new_writer = new_writer
        self._held: dict[int, Holding] = {}

    def __getitem__(self, partition: int) -> Holding:
        return self._held[partition]

    def recovered(self) -> set[int]:
        """Return the partitions that may be worked on."""
        return {partition for partition, holding in self._held.items() if holding.recovered}

    def stay(self, partitions: set[int]) -> None:
        """Note that all partitions but these may have been another worker's: they have to be taken anew."""
        for partition in self._held.keys() - partitions:
            self._held[partition].recovered = False

    async def keep(self, partitions: set[int]) -> None:
        """Let go of all partitions but these, and of those whose recovery was broken off."""
        gone = [self._held.pop(partition) for partition in set(self._held) - (partitions & self.recovered())]
        await asyncio.gather(*(holding.writer.stop() for holding in gone))

    async def take(self, partitions: set[int]) -> None:
        """Become the only writer of partitions; what is in their changelogs after this is all there will be."""
        for partition in partitions:
            self._held[partition] = Holding(partition, self._new_ledger(), self._new_writer(partition))
        await asyncio.gather(*(self._held[partition].writer.start() for partition in partitions))
