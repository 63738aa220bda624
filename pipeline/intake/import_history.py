"""What has been imported of each spool, so that gaps, repeats and swapped batches are seen; kept in `access.keys`.

A record holds 256 batches of a spool, and is written in the transaction that writes their events.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from pipeline.codec.offline_batches import BatchHeader

KEY_PREFIX = "imported/"
SPOOLS_MAX = 1_000
"""Of a deployment: every process has one of its own, and a new one after its folder was lost."""
_CHUNK = 256

SpoolName = tuple[str, str]
"""A deployment and its spool's id."""


class RefusedError(Exception):
    """A batch is not imported; the message says why."""


class HistoryError(Exception):
    """What was imported before cannot be read; the message says where."""


class _Chunk(msgspec.Struct, omit_defaults=True):
    """A record of `access.keys`: digests by batch number; `expected` are those of missing batches, as their successors say."""

    deployment: str
    spool: str
    imported: dict[int, str] = {}
    expected: dict[int, str] = {}


class SpoolHistory:
    """The batches of a spool that were imported."""

    def __init__(self, name: SpoolName) -> None:
        self.name = name
        self._imported: dict[int, str] = {}
        self._expected: dict[int, str] = {}

    def is_repeat(self, header: BatchHeader, digest: str) -> bool:
        """Return whether this very batch was imported. Raises RefusedError when it contradicts what was."""
        sequence = header.sequence
        known = self._imported.get(sequence)
        if known == digest:
            return True
        if known is not None:
            raise RefusedError(
                "another batch with this number was imported: the spool's folder was set back, or copied; "
                "begin a new folder, and append these events there"
            )
        if (header.previous is None) != (sequence == 1):
            raise RefusedError("its `previous` is wrong: the first batch has none, every other one has")
        if self._imported.get(sequence - 1, header.previous) != header.previous:
            raise RefusedError(f"it does not follow batch {sequence - 1} as that was imported")
        if self._expected.get(sequence, digest) != digest:
            raise RefusedError(f"it is not the batch that batch {sequence + 1}, which was imported, follows")
        return False

    def is_gap_before(self, sequence: int) -> bool:
        """Return whether the batch before this one was not imported."""
        return sequence > 1 and sequence - 1 not in self._imported

    def add(self, header: BatchHeader, digest: str) -> set[int]:
        """Note a batch, and return the numbers of the chunks that this changes."""
        sequence = header.sequence
        self._imported[sequence] = digest
        self._expected.pop(sequence, None)
        changed = {_chunk_of(sequence)}
        if header.previous is not None and self.is_gap_before(sequence):
            self._expected[sequence - 1] = header.previous
            changed.add(_chunk_of(sequence - 1))
        return changed

    def missing(self) -> list[tuple[int, int]]:
        """Return the gaps below the newest batch, each as its first and last number."""
        gaps = []
        expected = 1
        for sequence in sorted(self._imported):
            if sequence > expected:
                gaps.append((expected, sequence - 1))
            expected = sequence + 1
        return gaps

    def records(self, chunks: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
        """Return the records of chunks, as key and value."""
        deployment, spool = self.name
        for chunk in sorted(chunks):
            numbers = range(chunk * _CHUNK + 1, (chunk + 1) * _CHUNK + 1)
            value = _Chunk(
                deployment,
                spool,
                {number: self._imported[number] for number in numbers if number in self._imported},
                {number: self._expected[number] for number in numbers if number in self._expected},
            )
            yield f"{KEY_PREFIX}{deployment}/{spool}/{chunk}".encode(), msgspec.json.encode(value)

    def restore(self, imported: Mapping[int, str], expected: Mapping[int, str]) -> None:
        """Take over what a record holds."""
        self._imported |= imported
        self._expected |= expected


class History:
    """What was imported of all spools, as the records under `imported/` have it. Raises HistoryError for a damaged one."""

    def __init__(self, records: Mapping[bytes, bytes]) -> None:
        self._spools: dict[SpoolName, SpoolHistory] = {}
        self._counts: dict[str, int] = {}
        for key, value in records.items():
            if not key.startswith(KEY_PREFIX.encode()):
                continue
            try:
                chunk = msgspec.json.decode(value, type=_Chunk)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise HistoryError(f"the record {key.decode(errors='replace')!r} of access.keys: {error}") from None
            self._keep(self.of(chunk.deployment, chunk.spool)).restore(chunk.imported, chunk.expected)

    def of(self, deployment: str, spool: str) -> SpoolHistory:
        """Return the history of a spool; of one that is new, an empty one, which is not kept before `add`."""
        return self._spools.get((deployment, spool)) or SpoolHistory((deployment, spool))

    def add(self, header: BatchHeader, digest: str) -> tuple[SpoolHistory, set[int]]:
        """Note a batch; return its spool's history and the changed chunks. Raises RefusedError for one spool too many."""
        spool = self._keep(self.of(header.deployment, header.spool))
        return spool, spool.add(header, digest)

    def _keep(self, spool: SpoolHistory) -> SpoolHistory:
        if spool.name not in self._spools:
            deployment = spool.name[0]
            if self._counts.get(deployment, 0) >= SPOOLS_MAX:
                raise RefusedError(f"{deployment!r} has {SPOOLS_MAX} spools already; keep the folders of its processes")
            self._counts[deployment] = self._counts.get(deployment, 0) + 1
            self._spools[spool.name] = spool
        return spool


def _chunk_of(sequence: int) -> int:
    return (sequence - 1) // _CHUNK
