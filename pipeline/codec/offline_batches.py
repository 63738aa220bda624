"""Files of signed batches, in which a deployment without connectivity hands over its events (docs/offline.md).

A file is NDJSON. A batch is a header line, its events as they were emitted, one a line, and a signature line. The signature
is over the header line as it stands, which holds the SHA-256 of the event lines and that of the batch before it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Annotated, NamedTuple

import msgspec

from pipeline.codec.records import BATCH_EVENTS_MAX, RECORD_BYTES_MAX
from pipeline.domain.events import STRING_MAX

SEQUENCE_MAX = 10**9
LINE_BYTES_MAX = 4 * RECORD_BYTES_MAX
"""A line that is longer does not come about by a few damaged bytes: the file is something else."""
SKIPPED_BYTES_MAX = 16 * RECORD_BYTES_MAX
"""After so much that is no batch, the rest of a file is not read."""
HEADER_START = b'{"type":"usage.offline.batch.v1",'
SIGNATURE_START = b'{"type":"usage.offline.signature.v1",'
RESERVED_START = b'{"type":"usage.offline.'
"""No event line begins with it: so the next batch is found behind a damaged one."""
_SIGNATURE = re.compile(re.escape(SIGNATURE_START) + rb'"signature":"([0-9a-f]{128})"}')
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=STRING_MAX)]
_ShortHex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}\\Z")]
_Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}\\Z")]
_FOREIGN = (
    (b"\x1f\x8b", "is compressed (gzip): unpack it first"),
    (b"PK\x03\x04", "is a zip archive: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed (zstd): unpack it first"),
    (b"\xff\xfe", "is UTF-16: it was changed on its way, transfer it as it is"),
    (b"\xfe\xff", "is UTF-16: it was changed on its way, transfer it as it is"),
    (b"\xef\xbb\xbf", "begins with a byte order mark: it was changed on its way, transfer it as it is"),
)


class BatchHeader(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="type",
    tag="usage.offline.batch.v1",
):
    """What a deployment says, and signs, about a batch.

    Batches of one spool are numbered from 1 without a gap. `previous` is the digest of the batch before it, None for the
    first; `key` names the key that signed.
    """

    deployment: _Name
    spool: _ShortHex
    sequence: Annotated[int, msgspec.Meta(ge=1, le=SEQUENCE_MAX)]
    made_at: _Name
    events: Annotated[int, msgspec.Meta(ge=1, le=BATCH_EVENTS_MAX)]
    events_sha256: _Digest
    previous: _Digest | None
    key: _ShortHex

    def name(self) -> str:
        """Return what people call the batch."""
        return f"batch {self.sequence} of {self.deployment!r} (spool {self.spool})"


class SignedBatch(NamedTuple):
    """A batch whose events are those that its header names; its signature is still to be verified."""

    line: int
    header: BatchHeader
    head: bytes
    """The header line as it stands: what is signed."""
    signature: bytes
    events: list[bytes]

    @property
    def digest(self) -> str:
        """Return what the next batch's header has as `previous`."""
        return digest_of(self.head)

    def record_value(self) -> bytes:
        """Return the events, byte for byte, as the value of one record of usage.events (R2.1)."""
        return b"[" + b",".join(self.events) + b"]"


class Damaged(NamedTuple):
    """Lines that are no batch, or not any more; the header is what they claim, if it can be read."""

    line: int
    reason: str
    header: BatchHeader | None = None


class _NotABatchError(Exception):
    """Lines are no batch; the message says why."""


def digest_of(head: bytes) -> str:
    """Return the digest of a batch, given its header line."""
    return sha256(head).hexdigest()


def events_digest(events: Iterable[bytes]) -> str:
    """Return the SHA-256 of event lines, their line ends included."""
    digest = sha256()
    for event in events:
        digest.update(event)
        digest.update(b"\n")
    return digest.hexdigest()


def encode_header(header: BatchHeader) -> bytes:
    """Return a header line, without its end."""
    return msgspec.json.encode(header)


def encode_batch(head: bytes, events: Sequence[bytes], signature: bytes) -> bytes:
    """Return the lines of a batch."""
    end = SIGNATURE_START + b'"signature":"%s"}' % signature.hex().encode()
    return b"\n".join([head, *events, end, b""])


def decode_header(line: bytes) -> BatchHeader:
    """Return the header in a line. Raises ValueError."""
    return _decode_header(line)


_decode_header = msgspec.json.Decoder(BatchHeader).decode


def record_bytes(events: int, event_bytes: int) -> int:
    """Return the size of the record that carries so many events of so many bytes in all."""
    return event_bytes + events + 1


class BatchReader:
    """Reads a file batch by batch, and no more of it than a batch; what is damaged is said, and the next one found.

    `readline` reads at most so many bytes of a line, as that of a binary file does.
    """

    def __init__(self, readline: Callable[[int], bytes]) -> None:
        self._readline = readline
        self._line = 0
        self._held: bytes | None = None
        self._ended = False
        self._end_fault: str | None = None
        """Why there is something behind the last whole line."""

    def __iter__(self) -> Iterator[SignedBatch | Damaged]:
        while (line := self._next_line()) is not None:
            at, header = self._line, None
            try:
                header = _header_in(line, at)
                yield self._rest_of(at, header, line)
            except _NotABatchError as fault:
                self._skip()
                yield Damaged(at, str(fault), header)
        if self._end_fault is not None:
            yield Damaged(self._line, self._end_fault)

    def _rest_of(self, at: int, header: BatchHeader, head: bytes) -> SignedBatch:
        events: list[bytes] = []
        size = 0
        while (line := self._next_line()) is not None and not line.startswith(RESERVED_START):
            events.append(line)
            size += len(line)
            if len(events) > header.events or record_bytes(len(events), size) > RECORD_BYTES_MAX:
                raise _NotABatchError(
                    f"has more than the {header.events} events that its header names, or more than {RECORD_BYTES_MAX} bytes"
                )
        if line is None:
            raise _NotABatchError(self._end_fault or "the file ends in the middle of this batch: copy the whole file")
        found = _SIGNATURE.fullmatch(line)
        if found is None:
            self._held = line
            raise _NotABatchError("its signature line is missing or damaged")
        if len(events) != header.events or events_digest(events) != header.events_sha256:
            raise _NotABatchError("its events are not those that were signed: changed, added or lost on the way")
        return SignedBatch(at, header, head, bytes.fromhex(found[1].decode()), events)

    def _skip(self) -> None:
        """Go to where the next batch begins."""
        skipped = 0
        while (line := self._next_line()) is not None and skipped < SKIPPED_BYTES_MAX:
            if line.startswith(HEADER_START):
                self._held = line
                return
            skipped += len(line) + 1
        self._ended, self._end_fault = True, None  # what is at the end belongs to what is skipped

    def _next_line(self) -> bytes | None:
        """Return the next line without its end; None when there is no further one that is whole."""
        if self._held is not None:
            line, self._held = self._held, None
            return line
        line = b"" if self._ended else self._readline(LINE_BYTES_MAX)
        self._line += bool(line)
        if line.endswith(b"\n"):
            return line[:-1]
        self._ended = True
        if line:
            self._end_fault = (self._line == 1 and foreign_form(line)) or (
                "the file ends in the middle of a line: copy the whole file"
                if len(line) < LINE_BYTES_MAX
                else f"a line has more than {LINE_BYTES_MAX} bytes: this is no file of batches; the rest of it was not read"
            )
        return None


def _header_in(line: bytes, at: int) -> BatchHeader:
    if not line.startswith(HEADER_START):
        raise _NotABatchError(
            (at == 1 and foreign_form(line)) or "lines outside of a signed batch: only those are imported"
        )
    if line.endswith(b"\r"):
        raise _NotABatchError("its lines end with CR LF: the file was changed on its way, transfer it as it is")
    try:
        return decode_header(line)
    except (ValueError, RecursionError) as error:
        raise _NotABatchError(f"its header cannot be read: {error}") from None


def foreign_form(start: bytes) -> str | None:
    """Return what a file is instead of batches, told by its first bytes; None when it is not plain."""
    return next((f"the file {what}" for mark, what in _FOREIGN if start.startswith(mark)), None)
