"""What an import did: by spool, and every batch or event that was not taken."""

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from pipeline.codec.offline_batches import BatchHeader
from pipeline.intake.import_history import SpoolHistory, SpoolName

LISTED_MAX = 1_000
"""Refused batches, and rejected events, that a report lists; all are counted."""
REFUSED = 1
GAPS = 3


class Refused(NamedTuple):
    """A batch, or lines that are none, of which nothing was sent; deployment, spool and number are what they claim."""

    file: str
    line: int
    deployment: str | None
    spool: str | None
    sequence: int | None
    reason: str


class RejectedEvent(NamedTuple):
    """An event that was sent, and that the worker puts into the dead letters; `event` counts from 1 in its batch."""

    deployment: str
    spool: str
    sequence: int
    event: int
    code: str
    message: str


@dataclass
class SpoolReport:
    """What became of a spool's batches; numbers of batches are ranges from the first to the last one."""

    deployment: str
    spool: str
    imported: list[tuple[int, int]] = field(default_factory=list)
    batches: int = 0
    events: int = 0
    repeats: int = 0
    missing: list[tuple[int, int]] = field(default_factory=list)


class ImportReport:
    """Grows while an import runs, and says only what is in Kafka for good."""

    def __init__(self, *, dry_run: bool = False) -> None:
        self.dry_run = dry_run
        self.spools: dict[SpoolName, SpoolReport] = {}
        self.refused: list[Refused] = []
        self.refused_count = 0
        self.rejected: list[RejectedEvent] = []
        self.rejected_count = 0

    @property
    def exit_code(self) -> int:
        """Return 0 when all is imported, now or before; REFUSED when something was not taken; GAPS when batches are missing."""
        if self.refused_count or self.rejected_count:
            return REFUSED
        return GAPS if any(spool.missing for spool in self.spools.values()) else 0

    def imported(self, header: BatchHeader, rejected: list[RejectedEvent]) -> None:
        """Note a batch that is in Kafka."""
        spool = self._of(header)
        spool.batches += 1
        spool.events += header.events
        last = spool.imported[-1] if spool.imported else None
        if last is not None and last[1] == header.sequence - 1:
            spool.imported[-1] = (last[0], header.sequence)
        else:
            spool.imported.append((header.sequence, header.sequence))
        self.rejected_count += len(rejected)
        self.rejected += rejected[: max(0, LISTED_MAX - len(self.rejected))]

    def repeated(self, header: BatchHeader) -> None:
        """Note a batch that was imported before."""
        self._of(header).repeats += 1

    def refuse(self, file: str, line: int, header: BatchHeader | None, reason: str) -> None:
        """Note a batch that is not imported, and why."""
        self.refused_count += 1
        if len(self.refused) < LISTED_MAX:
            refused = Refused(file, line, None, None, None, reason)
            if header is not None:
                refused = Refused(file, line, header.deployment, header.spool, header.sequence, reason)
            self.refused.append(refused)

    def note_missing(self, history: SpoolHistory) -> None:
        """Note which batches of a spool that was in the files have never come."""
        self.spools[history.name].missing = history.missing()

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "dry_run": self.dry_run,
            "exit_code": self.exit_code,
            "spools": [asdict(spool) for _, spool in sorted(self.spools.items())],
            "refused_count": self.refused_count,
            "refused": [refused._asdict() for refused in self.refused],
            "rejected_count": self.rejected_count,
            "rejected": [event._asdict() for event in self.rejected],
        }

    def _of(self, header: BatchHeader) -> SpoolReport:
        name = (header.deployment, header.spool)
        return self.spools.setdefault(name, SpoolReport(*name))
