"""A thread that sends one batch at a time, and may hang in that without anybody else's waiting for it."""

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from pipeline.sdk.transport import Away, Outcome, Transport


class Courier:
    """Sends what it is given; `on_return` is called, in its thread, when the outcome is there."""

    def __init__(self, transport: Transport, on_return: Callable[[], None]) -> None:
        self._transport = transport
        self._on_return = on_return
        self._orders: SimpleQueue[Sequence[bytes] | None] = SimpleQueue()
        self._outcome: Outcome | None = None
        self.busy = False

    def start(self) -> None:
        """Start the thread. Raises RuntimeError: at the interpreter's end."""
        threading.Thread(target=self._run, name="usage-courier", daemon=True).start()

    def send(self, events: Sequence[bytes]) -> None:
        """Begin to send."""
        assert not self.busy
        self.busy = True
        self._orders.put(events)

    def take_outcome(self) -> Outcome | None:
        """Return what came of the last batch, once; None when nothing new is known."""
        outcome, self._outcome = self._outcome, None
        if outcome is not None:
            self.busy = False
        return outcome

    def stop(self) -> None:
        """End when the batch at hand is done."""
        self._orders.put(None)

    def _run(self) -> None:
        while (events := self._orders.get()) is not None:
            try:
                self._outcome = self._transport.send(events)
            except Exception as error:  # noqa: BLE001 - whatever a transport does, events are not lost by it
                self._outcome = Away(f"{type(error).__name__}: {error}")
            self._on_return()
        self._transport.close()
