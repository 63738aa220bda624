"""A worker that takes orders to die at a step: `python -m tests.faults.worker_process`, settings by environment.

FAULTS_WITHOUT names a protection that it works without (tests/faults/unprotected_worker.py); such a worker must be caught.
"""

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

from pipeline.catalog.load import load_catalog
from pipeline.observe.log import log_to_stderr
from pipeline.settings import load_settings
from pipeline.stream import app
from pipeline.stream.effects import PartitionWriter
from pipeline.stream.worker import run_worker
from tests.faults.steps import orders_of_this_process
from tests.faults.unprotected_worker import leave_out

orders = orders_of_this_process()


class SteppingWriter(PartitionWriter):
    """Writes as a worker does; while there are orders, in small steps, one after the other, and obeys between them."""

    _stepping = False
    _outputs_sent: asyncio.Event

    async def write(self, effects: Any, positions: Any) -> None:
        self._stepping, self._outputs_sent = orders.given and self._is_worth_it(effects), asyncio.Event()
        await super().write(effects, positions)

    def _is_worth_it(self, effects: Any) -> bool:
        """Tell whether a write has lines: else a step would be between nothing and nothing."""
        return bool(effects.blocks)

    def _reach(self, step: str) -> None:
        if self._stepping:
            orders.reach(step)

    async def _begin(self) -> None:
        self._reach("before begin")
        await super()._begin()
        self._reach("after begin")

    async def _send_outputs(self, effects: Any) -> None:
        if not self._stepping:
            await super()._send_outputs(effects)
            return
        half = (len(effects.blocks) + 1) // 2
        await super()._send_outputs(effects._replace(blocks=effects.blocks[:half], dead_letters=[], alerts=[]))
        self._reach("half of the outputs")
        await super()._send_outputs(effects._replace(blocks=effects.blocks[half:]))
        self._reach("after the outputs")
        self._outputs_sent.set()

    async def _send_states(self, effects: Any, positions: Any) -> None:
        if not self._stepping:
            await super()._send_states(effects, positions)
            return
        await self._outputs_sent.wait()
        half = len(effects.states) // 2
        await super()._send_states(effects._replace(states=effects.states[:half]), positions)
        self._reach("half of the states")
        await super()._send_states(effects._replace(states=effects.states[half:]), positions)

    async def _commit(self) -> None:
        self._reach("before the commit")
        if self._stepping:
            await orders.reach_during("during the commit", super()._commit())
        else:
            await super()._commit()
        self._reach("after the commit")


def main() -> None:
    app.PartitionWriter = leave_out(os.environ.get("FAULTS_WITHOUT", ""), SteppingWriter)
    settings = load_settings()
    log_to_stderr(settings.log_level)
    assert settings.catalog is not None
    code = run_worker(settings, load_catalog(Path(settings.catalog)))
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)  # as `usage worker` does


if __name__ == "__main__":
    main()
