"""Orders to a process: kill or freeze yourself at a named step of your work. Runs inside workers and sinks."""

import asyncio
import json
import os
import random
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

WORKER_STEPS = (
    "before begin",
    "after begin",
    "half of the outputs",
    "after the outputs",
    "half of the states",
    "before the commit",
    "during the commit",
    "after the commit",
)
SINK_STEPS = ("before the insert", "during the insert", "after the insert", "before the commit", "after the commit")
DURING_S_MAX = 0.02
"""A kill during something comes at a random moment within this time of its start."""


class Orders:
    """A file that the harness writes: the step, how often to pass it first, and the signal."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def give(self, step: str, passes: int, number: signal.Signals) -> None:
        """Give an order; an older one that was not carried out is void."""
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps({"step": step, "passes": passes, "signal": int(number)}))
        partial.replace(self.path)

    @property
    def given(self) -> bool:
        """Tell whether there is an order."""
        return self.path.exists()

    @property
    def carried_out(self) -> bool:
        """Tell whether the process has taken the order: it is about to carry it out."""
        return not self.given

    def withdraw(self) -> None:
        """Take an order back."""
        self.path.unlink(missing_ok=True)

    def reach(self, step: str) -> None:
        """Carry out the order for this step, if it is due."""
        number = self._due(step)
        if number is not None:
            os.kill(os.getpid(), number)

    async def reach_during(self, step: str, work: Coroutine[Any, Any, Any]) -> Any:
        """Do work, and carry out the order for this step, if it is due, some milliseconds after its begin."""
        number = self._due(step)
        if number is None:
            return await work
        task = asyncio.ensure_future(work)
        await asyncio.sleep(random.uniform(0, DURING_S_MAX))
        os.kill(os.getpid(), number)
        return await task

    def _due(self, step: str) -> int | None:
        try:
            order = json.loads(self.path.read_text())
        except FileNotFoundError:
            return None
        if order["step"] != step:
            return None
        if order["passes"] > 0:
            self.give(step, order["passes"] - 1, signal.Signals(order["signal"]))
            return None
        self.withdraw()
        return int(order["signal"])


def orders_of_this_process() -> Orders:
    """Return the orders that the harness may give this process."""
    return Orders(Path(os.environ["FAULTS_ORDERS"]))
