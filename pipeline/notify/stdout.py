"""Alerts to standard output, one a line."""

import sys
from typing import TextIO

from pipeline.notify.notices import Notice
from pipeline.notify.sending import DaemonThread
from pipeline.notify.targets import StdoutTarget

WRITE_S_MAX = 10.0


class StdoutSender:
    """Prints notices; a reader that does not read holds up no other target."""

    def __init__(self, target: StdoutTarget, stream: TextIO | None = None) -> None:
        self._form = target.format
        self._stream = stream or sys.stdout
        self._thread = DaemonThread(WRITE_S_MAX)

    async def send(self, notice: Notice) -> None:
        """Return when a notice is written. Raises UndeliveredError, and BrokenPipeError when nobody reads any more."""
        text = shown(notice, self._form)
        await self._thread.run(lambda: print(text, file=self._stream, flush=True))

    async def close(self) -> None:
        """Do nothing: standard output is not ours to close."""


def shown(notice: Notice, form: str) -> str:
    """Return a notice as a line of `text` or `json`."""
    if form == "json":
        return notice.as_json()
    return f"{notice.as_dict()['reached_at'][:19]}Z  {notice.sentence}"
