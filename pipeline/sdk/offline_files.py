"""The files of an offline spool: each is there whole or not at all, whatever crash comes."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import orjson

from pipeline.codec.offline_batches import decode_header, digest_of

_ABOUT = "spool.json"
_LOCK = "lock"
_PRIVATE = 0o600


class SpoolError(Exception):
    """A folder cannot be used as a spool; the message says why and what to do."""


class Exported(NamedTuple):
    """What an export holds; the numbers are 0 when it holds nothing."""

    batches: int
    first: int
    last: int


class About(msgspec.Struct, frozen=True, tag_field="type", tag="usage.offline.spool.v1"):
    """Whose spool a folder is: its spool.json."""

    deployment: str
    spool: str


class OpenBatch:
    """The file of the batch that is being filled: an event a line; what a crash left half written is cut off."""

    def __init__(self, folder: Path, sequence: int) -> None:
        self.path = folder / f"open-{sequence:010d}.ndjson"
        is_new = not self.path.exists()
        self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE), "r+b", buffering=0)
        if is_new:
            _sync_folder(folder)
        kept = _whole_events(self._file.read())
        self.events = len(kept)
        self.event_bytes = sum(map(len, kept))
        self._file.truncate(self.event_bytes + self.events)
        self._file.seek(0, os.SEEK_END)

    def write(self, events: Sequence[bytes]) -> None:
        """Append events and wait until they are on disk."""
        rest = memoryview(b"".join(event + b"\n" for event in events))
        while rest:
            rest = rest[self._file.write(rest) or 0 :]
        os.fsync(self._file.fileno())
        self.events += len(events)
        self.event_bytes += sum(map(len, events))

    def read(self) -> list[bytes]:
        """Return the events as they are on disk."""
        self._file.seek(0)
        return self._file.read().split(b"\n")[:-1]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def lock_folder(folder: Path) -> int:
    """Return the descriptor of the lock that makes a folder ours until it is closed. Raises SpoolError when it is another's."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise SpoolError(f"{folder} is another process's spool: give each process a folder of its own") from None
    return descriptor


def spool_id(folder: Path, deployment: str) -> str:
    """Return the id of the spool in a folder, made when the folder is new. Raises SpoolError when it is not this deployment's."""
    path = folder / _ABOUT
    if not path.exists():
        if closed_batches(folder):
            raise SpoolError(f"{folder} has batches but no {_ABOUT}: begin a new folder")
        write_whole(path, msgspec.json.encode(About(deployment, secrets.token_hex(8))))
    try:
        about = msgspec.json.decode(path.read_bytes(), type=About)
    except msgspec.DecodeError as error:
        raise SpoolError(f"{path} is damaged ({error}): begin a new folder") from None
    if about.deployment != deployment:
        raise SpoolError(f"{folder} is the spool of {about.deployment!r}, not of {deployment!r}")
    return about.spool


def closed_batches(folder: Path) -> dict[int, Path]:
    """Return the files of closed batches by number, in order."""
    return dict(sorted((_number(path), path) for path in folder.glob("batch-*.ndjson")))


def closed_batch_path(folder: Path, sequence: int) -> Path:
    """Return where a closed batch is."""
    return folder / f"batch-{sequence:010d}.ndjson"


def newest_batch(folder: Path) -> tuple[int, str | None]:
    """Return the number and the digest of the newest closed batch; 0 and None when there is none. Raises SpoolError."""
    closed = closed_batches(folder)
    if not closed:
        return 0, None
    sequence, path = closed.popitem()
    with path.open("rb") as file:
        head = file.readline().removesuffix(b"\n")
    try:
        decode_header(head)
    except ValueError as error:
        raise SpoolError(f"{path} is damaged ({error}): export what is there, and begin a new folder") from None
    return sequence, digest_of(head)


def remove_leftovers(folder: Path, sequence: int) -> None:
    """Delete what a crash kept from being deleted, up to a closed batch."""
    for path in folder.glob("*.tmp"):
        path.unlink()
    for path in folder.glob("open-*.ndjson"):
        if _number(path) <= sequence:
            path.unlink()


def export_batches(folder: Path | str, file: Path | str, after: int = 0) -> Exported:
    """Copy the closed batches whose number is above `after` to one new file, also while a process uses the spool.

    Raises FileExistsError, SpoolError for a folder that is no spool, OSError.
    """
    folder = Path(folder)
    if not (folder / _ABOUT).exists():
        raise SpoolError(f"{folder} is no spool: it has no {_ABOUT}")
    chosen = [(number, path) for number, path in closed_batches(folder).items() if number > after]
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE), "wb") as target:
        for _, path in chosen:
            with path.open("rb") as batch:
                shutil.copyfileobj(batch, target)
        target.flush()
        os.fsync(target.fileno())
    return Exported(len(chosen), chosen[0][0], chosen[-1][0]) if chosen else Exported(0, 0, 0)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there either whole or not at all."""
    temporary = path.with_suffix(".tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, _PRIVATE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    _sync_folder(path.parent)


def _number(path: Path) -> int:
    return int(path.stem.partition("-")[2])


def _whole_events(content: bytes) -> list[bytes]:
    """Return the events up to the first one that was not written whole."""
    events = []
    for line in content.split(b"\n")[:-1]:
        try:
            orjson.loads(line)
        except orjson.JSONDecodeError:
            break
        events.append(line)
    return events


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
