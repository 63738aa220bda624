"""Importing files of signed batches: events and the memory of what was imported go to Kafka in one transaction (R4.4)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.access.signing_keys import KEY_PREFIX as SIGNING_PREFIX
from pipeline.access.signing_keys import read_key_records, signing_keys_in
from pipeline.codec.offline_batches import BatchReader, Damaged, SignedBatch
from pipeline.domain.catalog import Catalog
from pipeline.domain.records import KEYS_TOPIC
from pipeline.intake.import_checks import Accepted, Examiner
from pipeline.intake.import_history import KEY_PREFIX as HISTORY_PREFIX
from pipeline.intake.import_history import History, RefusedError, SpoolHistory
from pipeline.intake.import_report import ImportReport
from pipeline.settings import Settings
from pipeline.settings.clients import kafka_arguments

TRANSACTIONAL_ID = "usage-import"
"""One for all imports: a start ends what a killed one left open, and shuts out one that still runs."""
TRANSACTION_BYTES = 4 << 20
TRANSACTION_BATCHES_MAX = 64
TRANSACTION_S_MAX = 60
STOP_S_MAX = 5
_REQUEST_BYTES_MAX = 2 << 20
_READ_AHEAD_BYTES = 1 << 20


class ImportWriter:
    """Writes batches to Kafka, each together with the note that it was imported, or not at all."""

    def __init__(self, settings: Settings) -> None:
        self._producer = AIOKafkaProducer(
            **kafka_arguments(settings),
            transactional_id=TRANSACTIONAL_ID,
            transaction_timeout_ms=TRANSACTION_S_MAX * 1000,
            acks="all",
            max_request_size=_REQUEST_BYTES_MAX,
        )

    async def start(self) -> None:
        """Connect, and be the only import from now on. Raises KafkaError, TimeoutError."""
        async with asyncio.timeout(TRANSACTION_S_MAX):
            await self._producer.start()

    async def stop(self) -> None:
        """Disconnect."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S_MAX):  # one with something unsent waits for its broker
                await self._producer.stop()

    async def write(self, batches: Sequence[Accepted]) -> None:
        """Write batches in one transaction.

        Raises KafkaError or TimeoutError when it cannot be said whether it is written: the next import sees.
        """
        try:
            async with asyncio.timeout(TRANSACTION_S_MAX):
                await self._producer.begin_transaction()
                await self._send(batches)
                await self._producer.commit_transaction()
        except BaseException:
            # What is not aborted now, the next import aborts, or the broker. A client that is shut out fails an assertion.
            with suppress(KafkaError, TimeoutError, AssertionError):
                async with asyncio.timeout(STOP_S_MAX):
                    await self._producer.abort_transaction()
            raise

    async def _send(self, batches: Sequence[Accepted]) -> None:
        """Send batches and what is to be remembered of them, and await the acknowledgements."""
        changed: dict[SpoolHistory, set[int]] = {}
        sent = []
        for batch in batches:
            record, headers = batch.record, list(batch.record.headers)
            changed.setdefault(batch.history, set()).update(batch.chunks)
            sent.append(
                await self._producer.send(
                    record.topic, record.value, record.key, timestamp_ms=record.timestamp_ms, headers=headers
                )
            )
        for history, chunks in changed.items():
            sent += [await self._producer.send(KEYS_TOPIC, value, key) for key, value in history.records(chunks)]
        await asyncio.gather(*sent)


async def import_files(
    settings: Settings,
    catalog: Catalog,
    files: Sequence[Path],
    report: ImportReport,
    *,
    strict: bool = False,
    on_progress: Callable[[int], object] = lambda _: None,
) -> None:
    """Import the batches of files in their order, and tell the report; send nothing when that is of a dry run.

    `on_progress` is told how many bytes were read. Cancelled, it finishes the transaction at hand.

    Raises:
        KeysUnavailableError, KafkaError, TimeoutError: Kafka; what the report says is imported.
        HistoryError: what was imported before cannot be read.
        OSError: a file.

    """
    async with _started_writer(settings, dry_run=report.dry_run) as writer:
        records = await read_key_records(settings, (SIGNING_PREFIX, HISTORY_PREFIX))
        history = History(records)
        run = _Run(Examiner(catalog, signing_keys_in(records), history, strict=strict), writer, report)
        for file in files:
            await run.read(file, on_progress)
        await run.flush()
        for deployment, spool in report.spools:
            report.note_missing(history.of(deployment, spool))


@asynccontextmanager
async def _started_writer(settings: Settings, *, dry_run: bool) -> AsyncIterator[ImportWriter | None]:
    """Yield a writer that was started before anything is read: so no other import can change what we read."""
    if dry_run:
        yield None
        return
    writer = ImportWriter(settings)
    try:
        await writer.start()
        yield writer
    finally:
        await writer.stop()


class _Run:
    """Gathers batches to transactions."""

    def __init__(self, examiner: Examiner, writer: ImportWriter | None, report: ImportReport) -> None:
        self._examiner = examiner
        self._writer = writer
        self._report = report
        self._waiting: list[Accepted] = []
        self._waiting_bytes = 0

    async def read(self, path: Path, on_progress: Callable[[int], object]) -> None:
        """Examine all of a file, and send what is to be sent except the last few batches."""
        done = found = 0
        with path.open("rb", buffering=_READ_AHEAD_BYTES) as file:

            def readline(bytes_max: int) -> bytes:
                nonlocal done
                line = file.readline(bytes_max)
                done += len(line)
                return line

            for batch in BatchReader(readline):
                found += 1
                self._take(str(path), batch)
                on_progress(done)
                done = 0
                if self._waiting_bytes >= TRANSACTION_BYTES or len(self._waiting) >= TRANSACTION_BATCHES_MAX:
                    await self.flush()
                await asyncio.sleep(0)  # a signal is heard here
        on_progress(done)
        if not found:
            self._report.refuse(str(path), 1, None, "the file is empty")

    async def flush(self) -> None:
        """Send what waits, and report it once Kafka has it for good, even when the caller is cancelled meanwhile."""
        sending = asyncio.create_task(self._send())
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await sending
            raise

    async def _send(self) -> None:
        batches, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if batches and self._writer is not None:
            await self._writer.write(batches)
        for batch in batches:
            self._report.imported(batch.header, batch.rejected)

    def _take(self, file: str, batch: SignedBatch | Damaged) -> None:
        if isinstance(batch, Damaged):
            self._report.refuse(file, batch.line, batch.header, batch.reason)
            return
        try:
            accepted = self._examiner.examine(batch)
        except RefusedError as refused:
            self._report.refuse(file, batch.line, batch.header, str(refused))
            return
        if accepted is None:
            self._report.repeated(batch.header)
        else:
            self._waiting.append(accepted)
            self._waiting_bytes += len(accepted.record.value or b"")
