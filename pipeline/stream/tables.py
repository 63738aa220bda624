"""The worker's only table: Faust assigns its changelog topic `usage.states` with the sources, and has us recover it.

What is in it is held in the worker's holdings (holdings.py), not in Faust's store, which stays empty.
"""

from typing import Any

from faust.tables.manager import TableManager
from faust.tables.table import Table

from pipeline.domain.records import STATES_TOPIC
from pipeline.stream.recovery import LedgerRecovery


class LedgerTable(Table[Any, Any]):
    """A Faust table whose changelog topic `usage topics` creates."""

    mundane_level = "debug"

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
