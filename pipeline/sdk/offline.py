"""The spool of a deployment without connectivity: events become signed, numbered batches in a folder (docs/offline.md)."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import orjson

from pipeline.codec.offline_batches import (
    RESERVED_START,
    BatchHeader,
    encode_batch,
    encode_header,
    events_digest,
    record_bytes,
)
from pipeline.codec.records import BATCH_EVENTS_MAX, RECORD_BYTES_MAX
from pipeline.domain.instants import format_instant
from pipeline.domain.rejects import INVALID_FIELD
from pipeline.sdk.offline_files import (
    Exported,
    OpenBatch,
    SpoolError,
    closed_batch_path,
    closed_batches,
    export_batches,
    lock_folder,
    newest_batch,
    remove_leftovers,
    spool_id,
    write_whole,
)
from pipeline.sdk.signing import Signer
from pipeline.sdk.transport import Answered, Away, Outcome, Refusal

__all__ = ["Exported", "OfflineSpool", "SpoolError", "SpoolFullError", "export_batches"]

BATCH_AGE_S = 3600.0
SPOOL_BYTES_MAX = 1 << 30
_FULL_RETRY_S = 60.0

log = logging.getLogger(__name__)


class SpoolFullError(SpoolError):
    """Events do not fit: batches must be exported, imported and discarded first. Nothing was written."""


class OfflineSpool:
    """Keeps a deployment's events in a folder until they are exported; for one process at a time, and all its threads.

    A transport of `UsageClient`, and usable by itself. What `append` has returned for is on disk. A batch is closed, that
    is signed and given the next number, when it is full, when it is `batch_age_s` old, on `close_batch` and on `close`; what
    a crash left open is closed at the next start. The newest batch never leaves the folder, so no number comes twice.

    Raises SpoolError, SigningKeyError, OSError.
    """

    def __init__(
        self,
        folder: Path | str,
        deployment: str,
        private_key_file: Path | str,
        *,
        batch_events_max: int = BATCH_EVENTS_MAX,
        batch_bytes_max: int = RECORD_BYTES_MAX,
        batch_age_s: float = BATCH_AGE_S,
        spool_bytes_max: int = SPOOL_BYTES_MAX,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._folder = Path(folder)
        self._deployment = deployment
        self._signer = Signer(Path(private_key_file))
        self._batch_events_max = min(batch_events_max, BATCH_EVENTS_MAX)
        self._batch_bytes_max = min(batch_bytes_max, RECORD_BYTES_MAX)
        self._batch_age_s = batch_age_s
        self._spool_bytes_max = spool_bytes_max
        self._now_us = now_us
        self._guard = threading.RLock()
        self._timer: threading.Timer | None = None
        self._open: OpenBatch | None = None
        self._sequence = 0
        self._previous: str | None = None
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock: int | None = lock_folder(self._folder)
        try:
            self._spool = spool_id(self._folder, deployment)
            self._closed_bytes = sum(path.stat().st_size for path in closed_batches(self._folder).values())
            remove_leftovers(self._folder, newest_batch(self._folder)[0])
            self.close_batch()
        except BaseException:
            self.forget()
            raise

    def append(self, events: Sequence[bytes]) -> None:
        """Write events, each one JSON object in one line, and return when they are on disk.

        Raises:
            ValueError: one is no event of this deployment, or larger than a batch; none was written.
            SpoolFullError: they do not fit; none was written.
            OSError: the disk refused; some may have been written, and appending them again does no harm (R6.1).

        """
        for event in events:
            if fault := self._fault_of(event):
                raise ValueError(fault)
        with self._guard:
            size = sum(map(len, events)) + self._opened().event_bytes
            if self._closed_bytes + size > self._spool_bytes_max:
                raise SpoolFullError(
                    f"{self._folder} has reached its {self._spool_bytes_max} bytes: export, import, then `discard`"
                )
            try:
                self._write(events)
            except OSError:
                self._let_go()  # what is on disk is looked at anew before anything else is written
                raise

    def close_batch(self) -> None:
        """Close the open batch, if it has events: sign it and give it its number."""
        with self._guard:
            try:
                self._seal()
            except OSError:
                self._let_go()
                raise

    def export(self, file: Path | str, after: int = 0) -> Exported:
        """Close the open batch and copy all batches whose number is above `after` to one new file."""
        self.close_batch()
        return export_batches(self._folder, file, after)

    def discard(self, through: int) -> None:
        """Delete the batches up to a number that the import has confirmed, except the newest: it is the numbers' memory."""
        with self._guard:
            newest = newest_batch(self._folder)[0]
            for number, path in closed_batches(self._folder).items():
                if number <= through and number != newest:
                    self._closed_bytes -= path.stat().st_size
                    path.unlink()

    def close(self) -> None:
        """Close the open batch, and leave the folder to others."""
        with self._guard:
            if self._lock is not None:
                try:
                    self.close_batch()
                finally:
                    self.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        """Return where a client's events go."""
        return f"offline:{self._folder.absolute()}"

    def send(self, events: Sequence[bytes]) -> Outcome:
        """Append events as a client's transport: what can never be a deployment's event is refused, a fault of the disk waited for."""
        faults = [(index, fault) for index, event in enumerate(events) if (fault := self._fault_of(event))]
        refused = {index for index, _ in faults}
        try:
            self.append([event for index, event in enumerate(events) if index not in refused])
        except (SpoolError, OSError) as error:
            return Away(str(error), _FULL_RETRY_S)
        return Answered([Refusal(index, INVALID_FIELD, fault) for index, fault in faults])

    def forget(self) -> None:
        """Let go of the folder without closing the batch; in a fork, of the copies of what is the parent's."""
        self._let_go()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _fault_of(self, event: bytes) -> str | None:
        if b"\n" in event or event.startswith(RESERVED_START):
            return "an event is one JSON object without line breaks"
        if record_bytes(1, len(event)) > self._batch_bytes_max:
            return f"an event has {len(event)} bytes, more than fit into a batch of {self._batch_bytes_max}"
        try:
            decoded = orjson.loads(event)
        except orjson.JSONDecodeError as error:
            return f"an event is not JSON: {error}"
        if not isinstance(decoded, dict) or decoded.get("source") != self._deployment:
            return f"source: an event is not of {self._deployment!r}, whose spool this is"
        return None

    def _write(self, events: Sequence[bytes]) -> None:
        portion: list[bytes] = []
        size = 0
        for event in events:
            if not self._fits(len(portion) + 1, size + len(event)):
                self._flush(portion)
                self._seal()
                portion, size = [], 0
            portion.append(event)
            size += len(event)
        self._flush(portion)
        if not self._fits(1, 0):
            self._seal()

    def _fits(self, events: int, event_bytes: int) -> bool:
        batch = self._opened()
        events += batch.events
        size = record_bytes(events, batch.event_bytes + event_bytes)
        return events <= self._batch_events_max and size <= self._batch_bytes_max

    def _flush(self, events: Sequence[bytes]) -> None:
        if not events:
            return
        self._opened().write(events)
        if self._timer is None:
            self._timer = threading.Timer(self._batch_age_s, self._close_aged)
            self._timer.daemon = True
            self._timer.start()

    def _opened(self) -> OpenBatch:
        if self._lock is None:
            raise SpoolError(f"the spool {self._folder} was closed")
        if self._open is None:
            self._sequence, self._previous = newest_batch(self._folder)
            self._open = OpenBatch(self._folder, self._sequence + 1)
        return self._open

    def _seal(self) -> None:
        """Make a closed batch of the open one."""
        batch = self._opened()
        events = batch.read()
        if not events:
            return
        header = BatchHeader(
            deployment=self._deployment,
            spool=self._spool,
            sequence=self._sequence + 1,
            made_at=format_instant(self._now_us()),
            events=len(events),
            events_sha256=events_digest(events),
            previous=self._previous,
            key=self._signer.key_id,
        )
        head = encode_header(header)
        content = encode_batch(head, events, self._signer.sign(head))
        write_whole(closed_batch_path(self._folder, header.sequence), content)
        self._closed_bytes += len(content)
        self._let_go()
        batch.path.unlink()

    def _close_aged(self) -> None:
        """Close the open batch because of its age; a fault is met again by the next `append`, which can tell its caller."""
        with self._guard:
            self._timer = None
            if self._lock is None:
                return
            try:
                self.close_batch()
            except (OSError, SpoolError):
                log.exception("the open batch of %s could not be closed", self._folder)

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._open is not None:
            self._open.close()
            self._open = None
