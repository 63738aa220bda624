"""Segment files of a spool: a line an event, `CRC32 JSON`, appended and never changed.

What a crash left half written at the end of a segment is cut off; a line that is damaged is stepped over.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

SUFFIX = ".events"
LINE_BYTES_MAX = 1 << 20
_CRC_DIGITS = 8
_NAME_DIGITS = 12


class Read(NamedTuple):
    """Events of a segment, and the offset behind the last of them."""

    events: list[bytes]
    damaged: int
    """Lines that were stepped over."""
    end: int


def lines_of(events: Iterable[bytes]) -> bytes:
    """Return events as a segment's lines. JSON that a JSON encoder has written holds no line end."""
    return b"".join(b"%08x %b\n" % (crc32(event), event) for event in events)


def segment_path(folder: Path, number: int) -> Path:
    """Return where the segment with a number is: the order of names is that of events."""
    return folder / f"{number:0{_NAME_DIGITS}d}{SUFFIX}"


def segments_in(folder: Path) -> dict[int, int]:
    """Return the segments of a folder, number to size in bytes, oldest first."""
    with os.scandir(folder) as entries:
        found = {
            int(entry.name.removesuffix(SUFFIX)): entry.stat().st_size
            for entry in entries
            if entry.name.endswith(SUFFIX) and entry.name.removesuffix(SUFFIX).isdecimal()
        }
    return dict(sorted(found.items()))


def read_segment(path: Path, offset: int, end: int, *, events_max: int, bytes_max: int) -> Read:
    """Return the events between two offsets, as many as fit; at least one when there is one. Raises OSError."""
    with path.open("rb") as file:
        file.seek(offset)
        window = file.read(min(end - offset, max(bytes_max, LINE_BYTES_MAX + _CRC_DIGITS + 2)))
    events: list[bytes] = []
    damaged = size = start = 0
    while start < len(window) and len(events) < events_max:
        line_end = window.find(b"\n", start)
        if line_end < 0:
            if offset + len(window) < end and start:
                break  # the window ends within a line, the next one shows it whole
            return Read(events, damaged + 1, offset + len(window))  # a torn tail
        event = window[start + _CRC_DIGITS + 1 : line_end]
        if events and size + len(event) > bytes_max:
            break
        if window[start : line_end + 1] == lines_of([event]):
            events.append(event)
            size += len(event)
        else:
            damaged += 1
        start = line_end + 1
    return Read(events, damaged, offset + start)


def cut_torn_tail(path: Path) -> int:
    """Cut off what stands behind the last line end of a segment, and return what is left, in bytes. Raises OSError."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - LINE_BYTES_MAX)
        file.seek(start)
        whole = start + file.read().rfind(b"\n") + 1
        if whole < size:
            file.truncate(whole)
    return whole
