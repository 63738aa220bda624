"""The worker's only table: a ledger a partition, backed by the changelog topic `usage.states`."""

from collections.abc import Iterable
from typing import Any

from faust.stores import memory
from faust.tables.manager import TableManager
from faust.tables.table import Table

from pipeline.stream.holdings import Holdings
from pipeline.stream.recovery import LedgerRecovery
from pipeline.stream.topics import STATES_TOPIC


class LedgerStore(memory.Store[Any, Any]):
    """Keep a ledger for each partition that is ours; what a customer's state looks like only the ledger knows."""

    mundane_level = "debug"
    holdings: Holdings

    def apply_changelog_batch(self, batch: Iterable[Any], *_: Any, **__: Any) -> None:
        """Hand recovered changelog events to their partitions: Faust's own way in."""
        for event in batch:
            self.holdings[event.message.partition].restore([event.message])


class LedgerTable(Table[Any, Any]):
    """A Faust table whose store holds ledgers, and whose changelog topic `usage topics` creates."""

    mundane_level = "debug"
    holdings: Holdings

    def _new_store(self) -> LedgerStore:
        store = LedgerStore("memory://", self.app, self, table_name=self.name, loop=self.loop)
        store.holdings = self.holdings
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
