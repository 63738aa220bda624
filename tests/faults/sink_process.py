"""A sink that takes orders to die at a step: `python -m tests.faults.sink_process`, settings by environment."""

import asyncio
import os
import sys
from typing import Any

from pipeline.observe.log import log_to_stderr
from pipeline.settings import load_settings
from pipeline.sink import run as sink_run
from pipeline.sink.blocks import Document
from pipeline.sink.store import LineStore
from tests.faults.steps import orders_of_this_process
from tests.faults.unprotected_sink import leave_out

orders = orders_of_this_process()
_commit = sink_run._commit


class SteppingStore(LineStore):
    """Inserts as the sink does, and looks for orders around it."""

    async def insert_lines(self, document: Document) -> None:
        orders.reach("before the insert")
        await orders.reach_during("during the insert", super().insert_lines(document))
        orders.reach("after the insert")


async def _stepping_commit(consumer: Any, next_offsets: Any) -> None:
    orders.reach("before the commit")
    await _commit(consumer, next_offsets)
    orders.reach("after the commit")


def main() -> None:
    settings = load_settings()
    log_to_stderr(settings.log_level)
    sink_run._commit = _stepping_commit
    leave_out(os.environ.get("FAULTS_WITHOUT", ""), SteppingStore)
    sys.exit(asyncio.run(sink_run.run_sink(settings)))


if __name__ == "__main__":
    main()
