"""Whether a batch may be imported: who signed it, where it stands in its spool, and what is in it (R4.4, R2.3)."""

import time
from collections.abc import Callable
from typing import NamedTuple

from pipeline.access.signing_keys import SigningKeys
from pipeline.codec.offline_batches import BatchHeader, SignedBatch
from pipeline.codec.records import decode_events, envelope_of
from pipeline.domain.admission import admit
from pipeline.domain.catalog import Catalog
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.domain.rejects import Rejected
from pipeline.intake.import_history import History, RefusedError, SpoolHistory
from pipeline.intake.import_report import RejectedEvent
from pipeline.sdk.signing import SigningKeyError, is_signed

IMPORT_HEADERS = (
    ("content-type", b"application/cloudevents-batch+json"),
    ("x-usage-import", b"offline"),
)
BATCH_HEADER = "x-usage-import-batch"
"""Says which batch a record came from: SPOOL/NUMBER/DIGEST."""


class Accepted(NamedTuple):
    """A batch that is to be sent: as its record, whose partition and offset are not known yet."""

    header: BatchHeader
    record: Record
    rejected: list[RejectedEvent]
    history: SpoolHistory
    chunks: set[int]
    """Of the history: what is written with the record."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Examiner:
    """Examines batches in the order of the files, against what was imported before."""

    def __init__(
        self,
        catalog: Catalog,
        keys: SigningKeys,
        history: History,
        *,
        strict: bool = False,
        now_ms: Callable[[], int] = _now_ms,
    ) -> None:
        self._catalog = catalog
        self._keys = keys
        self._history = history
        self._strict = strict
        self._now_ms = now_ms

    def examine(self, batch: SignedBatch) -> Accepted | None:
        """Return what to send, None for a batch that was imported before. Raises RefusedError."""
        header, digest = batch.header, batch.digest
        self._check_signature(batch)
        spool = self._history.of(header.deployment, header.spool)
        if spool.is_repeat(header, digest):
            return None
        if self._strict and spool.is_gap_before(header.sequence):
            raise RefusedError(f"batch {header.sequence - 1} was not imported, and --strict wants them in order")
        record = self._record_of(batch, digest)
        rejected = self._foreseen(header, record)
        return Accepted(header, record, rejected, *self._history.add(header, digest))

    def _check_signature(self, batch: SignedBatch) -> None:
        deployment, identity = batch.header.deployment, batch.header.key
        key = self._keys.get((deployment, identity))
        if key is None:
            raise RefusedError(
                f"it names key {identity}, which is no signing key of {deployment!r}: see `usage signing-keys list`"
            )
        if key.revoked_us is not None:
            raise RefusedError(f"it is signed with key {identity}, which is revoked")
        try:
            if is_signed(key.public_key, batch.head, batch.signature):
                return
        except SigningKeyError as error:
            raise RefusedError(f"key {identity} of {deployment!r} cannot be used: {error}") from None
        raise RefusedError(f"its signature is not one of key {identity}: the header was changed, or forged")

    def _record_of(self, batch: SignedBatch, digest: str) -> Record:
        header = batch.header
        deployment = self._catalog.deployments.get(header.deployment)
        if deployment is None:
            raise RefusedError(f"{header.deployment!r} is not in the catalog: add the deployment, and import again")
        origin = f"{header.spool}/{header.sequence}/{digest}".encode()
        return Record(
            EVENTS_TOPIC,
            -1,
            -1,
            self._now_ms(),
            deployment.customer.encode(),
            batch.record_value(),
            (*IMPORT_HEADERS, (BATCH_HEADER, origin)),
        )

    def _foreseen(self, header: BatchHeader, record: Record) -> list[RejectedEvent]:
        """Return the events that the worker is going to reject. Raises RefusedError when the batch is none of this deployment."""
        try:
            events = decode_events(record)
        except Rejected as rejected:
            raise RefusedError(f"its events cannot be read: {rejected.message}") from None
        if len(events) != header.events:
            raise RefusedError("its lines are not one event each")
        assert record.key is not None
        envelope = envelope_of(record, record.key.decode())
        found = []
        for number, event in enumerate(events, start=1):
            try:
                if isinstance(event, Rejected):
                    raise event
                if event.source != header.deployment:
                    raise RefusedError(
                        f"event {number} has source {event.source!r}: a deployment signs for itself only"
                    )
                admit(self._catalog, event, envelope)
            except Rejected as rejected:
                place = (header.deployment, header.spool, header.sequence, number)
                found.append(RejectedEvent(*place, rejected.code, rejected.message))
        return found
