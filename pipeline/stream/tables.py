"""The worker's only table: a ledger a partition, backed by the changelog topic `usage.states`."""

from collections.abc import Callable, Iterable
from typing import Any

from faust.stores import memory
from faust.tables.manager import TableManager
from faust.tables.table import Table

from pipeline.domain.records import Record
from pipeline.rating.ledger import Ledger
from pipeline.stream.effects import VERSION_HEADER
from pipeline.stream.recovery import LedgerRecovery
from pipeline.stream.topics import STATES_TOPIC

LedgerFactory = Callable[[], Ledger]


class LedgerStore(memory.Store[Any, Any]):
    """Keep a ledger for each partition that is ours; what a customer's state looks like only the ledger knows."""

    mundane_level = "debug"
    ledgers: dict[int, Ledger]
    new_ledger: LedgerFactory

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ledgers = {}

    def reset(self, partitions: Iterable[int]) -> None:
        """Forget every ledger and begin an empty one for each of the partitions."""
        self.ledgers = {partition: self.new_ledger() for partition in partitions}

    def restore(self, partition: int, records: Iterable[Record]) -> None:
        """Hand recovered changelog records to the partition's ledger, in order."""
        ledger = self.ledgers[partition]
        for record in records:
            if record.key is None:
                raise ValueError(f"{STATES_TOPIC}/{partition}: record {record.offset} has no key")
            ledger.restore(record.key, record.value, _version_of(record.headers))

    def apply_changelog_batch(self, batch: Iterable[Any], *_: Any, **__: Any) -> None:
        """Hand recovered changelog events to their partitions' ledgers: Faust's own way in."""
        for event in batch:
            message = event.message
            headers = tuple(message.headers or ())
            self.ledgers[message.partition].restore(message.key, message.value, _version_of(headers))


def _version_of(headers: Iterable[tuple[str, bytes]]) -> int:
    """Return the version of the state that a changelog record belongs to. Raises ValueError for a record without."""
    for name, value in headers:
        if name == VERSION_HEADER:
            return int(value)
    raise ValueError(f"a record of {STATES_TOPIC} has no version")


class LedgerTable(Table[Any, Any]):
    """A Faust table whose store holds ledgers, and whose changelog topic `usage topics` creates."""

    mundane_level = "debug"
    new_ledger: LedgerFactory

    def _new_store(self) -> LedgerStore:
        store = LedgerStore("memory://", self.app, self, table_name=self.name, loop=self.loop)
        store.new_ledger = self.new_ledger
        return store

    def _changelog_topic_name(self) -> str:
        return STATES_TOPIC

    async def on_start(self) -> None:
        """Start the store; Faust would also create the topic, with settings of its own."""
        await self.add_runtime_dependency(self.data)


class LedgerTables(TableManager):
    """Faust's table manager with our recovery."""

    mundane_level = "debug"

    _recovery: LedgerRecovery | None = None

    @property
    def recovery(self) -> LedgerRecovery:
        """Return the recovery service."""
        if self._recovery is None:
            self._recovery = LedgerRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_start(self) -> None:
        """Start at once; Faust waits a second for tables that are defined late."""
        await self._update_channels()
        await self.recovery.start()
