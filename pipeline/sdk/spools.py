"""The spools of a destination: our own, and those of dead processes that we go on with; and what was rejected.

`FOLDER/DEPLOYMENT-HASH/PID-RANDOM/` is a spool, `FOLDER/DEPLOYMENT-HASH/rejected.jsonl` is for the operator. The hash is
that of endpoint, customer and deployment: what was meant for one destination is never sent to another.
"""

import hashlib
import logging
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pipeline.sdk.events import Sender
from pipeline.sdk.segments import SUFFIX
from pipeline.sdk.spool import Position, Spool

log = logging.getLogger(__name__)

REJECTED = "rejected.jsonl"
REJECTED_BYTES_MAX = 64 << 20
_ODD = re.compile(r"[^A-Za-z0-9_-]")


class SpoolFull(Exception):  # noqa: N818 - a state, which the caller counts
    """The destination's spools have reached their size."""


def default_folder() -> Path | None:
    """Return where spools are when nobody says: USAGE_SPOOL, else beneath the user's state folder; None without one."""
    if given := os.environ.get("USAGE_SPOOL"):
        return Path(given)
    if state := os.environ.get("XDG_STATE_HOME"):
        return Path(state) / "usage-spool"
    home = os.environ.get("HOME")
    return Path(home) / ".local" / "state" / "usage-spool" if home and home != "/" else None


class Spools:
    """The spools of one destination beneath a folder. Used by one thread."""

    def __init__(self, folder: Path, endpoint: str, sender: Sender, *, bytes_max: int) -> None:
        named = f"{endpoint}\0{sender.customer}\0{sender.deployment}"
        digest = hashlib.sha256(named.encode(errors="surrogatepass")).hexdigest()[:12]
        self.folder = folder / f"{_ODD.sub('_', sender.deployment)[:64]}-{digest}"
        self._bytes_max = bytes_max
        self._own: Spool | None = None
        self.adopted: list[Spool] = []
        self._left = 0

    @property
    def own(self) -> Spool | None:
        """Return our own spool if events wait in it."""
        return self._own if self._own is not None and not self._own.is_empty else None

    @property
    def events(self) -> int:
        """Return how many events wait; when it is closed, how many of ours it has left for the next process."""
        return self._left + sum(spool.events for spool in self._all())

    @property
    def damaged(self) -> int:
        """Return how many lines were found damaged."""
        return sum(spool.damaged for spool in self._all())

    def append(self, events: Sequence[bytes]) -> Position:
        """Write events to our own spool, and return the place behind them. Raises OSError, SpoolFull."""
        if self._size() + sum(map(len, events)) > self._bytes_max:
            raise SpoolFull
        if self._own is None:
            self._prepare()
            self._own = Spool.create(self.folder)
        return self._own.append(events)

    def adopt(self) -> int:
        """Take over the spools of dead processes, oldest first, and return how many events they hold."""
        gained = 0
        for folder in sorted(self.others(), key=_age):
            try:
                spool = Spool.adopt(folder)
            except OSError as error:
                log.debug("spool %s is not taken over: %s", folder, error)
                continue
            if spool is not None:
                if spool.events:
                    log.info("goes on with %d events that an earlier process has left in %s", spool.events, folder)
                gained += spool.events
                self.adopted.append(spool)
        self.drop_empty()
        return gained

    def others(self) -> list[Path]:
        """Return the folders of spools that are not ours."""
        ours = {spool.folder for spool in self._all()}
        try:
            with os.scandir(self.folder) as entries:
                found = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []
        return [folder for folder in found if folder not in ours and not folder.name.startswith(".")]

    def drop_empty(self) -> None:
        """Let go of adopted spools that have been sent."""
        for spool in [spool for spool in self.adopted if spool.is_empty]:
            self.adopted.remove(spool)
            spool.close()

    def keep_rejected(self, lines: Sequence[dict[str, object]]) -> None:
        """Append what will never be accepted, for the operator. Raises OSError, SpoolFull."""
        self._prepare()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.folder / REJECTED, flags, 0o600)
        try:
            if os.fstat(descriptor).st_size > REJECTED_BYTES_MAX:
                raise SpoolFull
            os.write(descriptor, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of all spools; those in which events wait are there for the next process."""
        self._left = self._own.events if self._own is not None else 0
        for spool in self._all():
            spool.close()
        self._own, self.adopted = None, []

    def forget(self) -> None:
        """Let go of the copies that a fork has made."""
        for spool in self._all():
            spool.forget()
        self._own, self.adopted = None, []

    def _all(self) -> list[Spool]:
        return [*self.adopted, *([self._own] if self._own is not None else [])]

    def _prepare(self) -> None:
        """Make the folder if need be, and refuse one that others may write to. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(self.folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PermissionError(f"{self.folder} must be a folder of our own that nobody else may write to")

    def _size(self) -> int:
        """Return the bytes in the segments of all spools of the destination, those of other processes too."""
        total = 0
        for folder in [*self.others(), *(spool.folder for spool in self._all())]:
            try:
                with os.scandir(folder) as entries:
                    total += sum(entry.stat().st_size for entry in entries if entry.name.endswith(SUFFIX))
            except OSError:
                continue
        return total


def _age(folder: Path) -> float:
    try:
        return folder.stat().st_ctime
    except OSError:
        return 0.0
