"""A spool: a first-in, first-out queue of events in a folder, which one process at a time owns.

The owner holds a lock on a file in it for as long as it lives. So whoever gets the lock knows that the owner is dead,
whatever became of it, and goes on where it was. Not for several threads at once.
"""

import fcntl
import logging
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from pipeline.sdk.segments import cut_torn_tail, lines_of, read_segment, segment_path, segments_in

log = logging.getLogger(__name__)

SEGMENT_BYTES = 4 << 20
_LOCK = "lock"
_POSITION = "position"
_NEW = ".new-"


class Position(NamedTuple):
    """A place between two events: a segment's number and an offset in it."""

    segment: int
    offset: int


class Spool:
    """Events on disk, in order, from `position` on. Made by `create` or `adopt`."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self.events = 0
        """How many wait, as far as is known."""
        self.damaged = 0
        self._lock = lock
        self._tail: int | None = None
        self._segments = segments_in(folder)
        self._position = _read_position(folder)
        self._number = max(self._segments, default=self._position.segment)
        for number in self._segments:
            path = segment_path(folder, number)
            self._segments[number] = cut_torn_tail(path)
            self.events += path.read_bytes().count(
                b"\n", self._position.offset if number == self._position.segment else 0
            )
        self._drop_done()

    @classmethod
    def create(cls, parent: Path) -> Self:
        """Make a spool of our own. Raises OSError."""
        name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        making, folder = parent / f"{_NEW}{name}", parent / name
        making.mkdir(mode=0o700)
        lock = os.open(making / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        making.rename(folder)  # seen by others only now that it is locked
        _sync(parent)
        return cls(folder, lock)

    @classmethod
    def adopt(cls, folder: Path) -> Self | None:
        """Take over the spool of a process that is dead; None when its owner lives. Raises OSError."""
        path = folder / _LOCK
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(lock).st_ino:  # else it was deleted while we waited at its door
                return cls(folder, lock)
        except BlockingIOError:
            pass
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
        return None

    def append(self, events: Sequence[bytes]) -> Position:
        """Write events to the disk, and return the place behind them. Raises OSError: then none of them is there."""
        if self._tail is None or self._segments.get(self._number, 0) >= SEGMENT_BYTES:
            self._open_tail()
        assert self._tail is not None
        lines, size = lines_of(events), self._segments.get(self._number, 0)
        try:
            _write_all(self._tail, lines)
            os.fsync(self._tail)
        except OSError:
            self._close_tail()
            with suppress(OSError):  # what stays is a torn tail
                os.truncate(segment_path(self.folder, self._number), size)
            raise
        self._segments[self._number] = size + len(lines)
        self.events += len(events)
        return Position(self._number, size + len(lines))

    def peek(self, *, events_max: int, bytes_max: int) -> tuple[list[bytes], Position]:
        """Return the first events, none when it is empty, and the place behind them. Raises OSError."""
        for number, size in self._segments.items():
            offset = self._position.offset if number == self._position.segment else 0
            while offset < size:
                path = segment_path(self.folder, number)
                read = read_segment(path, offset, size, events_max=events_max, bytes_max=bytes_max)
                self.damaged += read.damaged
                self.events -= read.damaged
                offset = read.end
                if read.events:
                    return read.events, Position(number, offset)
        if self._segments:  # nothing but damaged lines
            self.acknowledge(Position(self._number, max(self._segments.values())), self.events)
        return [], self._position

    def acknowledge(self, position: Position, events: int) -> None:
        """Forget the events before a place, so many of them. Raises OSError: then they come again in the next life."""
        self._position = position
        self.events -= events
        self._drop_done()
        _write_position(self.folder, position)

    @property
    def is_empty(self) -> bool:
        """Return whether no event waits."""
        return not self._segments

    def close(self) -> None:
        """Let go of it; its folder stays if events wait in it."""
        self._close_tail()
        if self.is_empty:
            with suppress(OSError):
                for name in (_POSITION, _LOCK):
                    (self.folder / name).unlink(missing_ok=True)
                self.folder.rmdir()
        os.close(self._lock)

    def forget(self) -> None:
        """Close the copies of its files that a fork has made; the parent goes on with it."""
        self._close_tail()
        os.close(self._lock)

    def _open_tail(self) -> None:
        self._close_tail()
        self._number += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._tail = os.open(segment_path(self.folder, self._number), flags, 0o600)
        _sync(self.folder)

    def _close_tail(self) -> None:
        if self._tail is not None:
            os.close(self._tail)
            self._tail = None

    def _drop_done(self) -> None:
        """Delete the segments of which no event waits."""
        for number, size in list(self._segments.items()):
            if Position(number, size) > self._position and size:
                return
            if number == self._number:
                self._close_tail()
            with suppress(FileNotFoundError):
                segment_path(self.folder, number).unlink()
            del self._segments[number]


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_position(folder: Path) -> Position:
    """Return up to where a spool was acknowledged; its beginning when that is not known: then events come again."""
    try:
        segment, offset = (folder / _POSITION).read_text().split()
        return Position(int(segment), int(offset))
    except (OSError, ValueError):
        return Position(0, 0)


def _write_position(folder: Path, position: Position) -> None:
    new = folder / f"{_POSITION}.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_all(descriptor, b"%d %d\n" % position)
    finally:
        os.close(descriptor)
    new.replace(folder / _POSITION)
