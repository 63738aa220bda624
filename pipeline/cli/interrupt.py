"""Ctrl-C, SIGTERM and a closed terminal: stop once, in order."""

import asyncio
import signal
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def cancel_on_signals(say: Callable[[str], None]) -> None:
    """Cancel the current task at the first signal; at further ones say that it is stopping already."""
    task = asyncio.current_task()
    assert task is not None
    stopping = False

    def stop() -> None:
        nonlocal stopping
        say("still stopping ..." if stopping else "stopping ...")
        if not stopping:
            stopping = True
            task.cancel()

    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop)
