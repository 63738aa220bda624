"""What all ways of sending have in common."""

import asyncio
import threading
from collections.abc import Callable
from typing import Protocol

from pipeline.notify.notices import Notice


class UndeliveredError(Exception):
    """An alert was not delivered; the message says why, and holds no secret."""

    def __init__(self, reason: str, *, permanent: bool = False, retry_after_s: float = 0) -> None:
        super().__init__(reason)
        self.permanent = permanent
        """The receiver will not take it however often it is sent."""
        self.retry_after_s = retry_after_s
        """How long the receiver asks to be left alone."""


class Sender(Protocol):
    """Delivers notices to one target."""

    async def send(self, notice: Notice) -> None:
        """Return when the target has taken a notice. Raises UndeliveredError. It ends within its time limit."""

    async def close(self) -> None:
        """Close connections."""


class DaemonThread:
    """Calls functions that block, one at a time, in threads that never keep the process alive.

    One that does not return in time is left behind; until it has returned, every further call fails at once.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._busy = False

    async def run(self, call: Callable[[], None]) -> None:
        """Await a call. Raises what it raises, and UndeliveredError when it takes too long."""
        if self._busy:
            raise UndeliveredError("the last attempt still hangs")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def work() -> None:
            failure: BaseException | None = None
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - it is raised where the call is awaited
                failure = error
            self._busy = False
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, future, failure)

        self._busy = True
        threading.Thread(target=work, daemon=True).start()
        try:
            async with asyncio.timeout(self._timeout_s):
                await future
        except TimeoutError:
            raise UndeliveredError(f"no answer within {self._timeout_s:g} s") from None


def _settle(future: "asyncio.Future[None]", failure: BaseException | None) -> None:
    if future.cancelled():
        return
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)
