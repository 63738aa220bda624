"""Files of signed batches: what is read of sound, damaged and foreign ones."""

import io
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codec.offline_batches import (
    LINE_BYTES_MAX,
    SKIPPED_BYTES_MAX,
    BatchHeader,
    BatchReader,
    Damaged,
    SignedBatch,
    digest_of,
    encode_batch,
    encode_header,
    events_digest,
)
from pipeline.codec.records import RECORD_BYTES_MAX

SIGNATURE = bytes(range(64))


def header_for(events: list[bytes], sequence: int = 1, **changes: object) -> BatchHeader:
    fields = {
        "deployment": "dep",
        "spool": "0123456789abcdef",
        "sequence": sequence,
        "made_at": "2026-11-23T12:00:00Z",
        "events": len(events),
        "events_sha256": events_digest(events),
        "previous": None if sequence == 1 else digest_of(b"before"),
        "key": "fedcba9876543210",
    }
    return BatchHeader(**(fields | changes))


def batch(*events: bytes, sequence: int = 1, **changes: object) -> bytes:
    made = list(events) or [b'{"id": "%d"}' % sequence]
    return encode_batch(encode_header(header_for(made, sequence, **changes)), made, SIGNATURE)


def read(content: bytes) -> list[SignedBatch | Damaged]:
    return list(BatchReader(io.BytesIO(content).readline))


def sequences(found: list[SignedBatch | Damaged]) -> list[int | None]:
    return [each.header.sequence if isinstance(each, SignedBatch) else None for each in found]


def reason(found: SignedBatch | Damaged) -> str:
    assert isinstance(found, Damaged)
    return found.reason


def test_reads_what_was_written():
    """Header, events and signature come back byte for byte, and events make one array."""
    events = [b'{"id": "1",  "x": "\\u00e9"}', b'{"id":"2"}']

    (found,) = read(batch(*events))

    assert isinstance(found, SignedBatch)
    assert (found.line, found.header, found.signature, found.events) == (1, header_for(events), SIGNATURE, events)
    assert found.record_value() == b'[{"id": "1",  "x": "\\u00e9"},{"id":"2"}]'
    assert found.digest == digest_of(encode_header(header_for(events)))


def test_a_file_is_batches_one_after_another():
    """Files put together with `cat` are a file; lines are counted for messages."""
    found = read(batch(sequence=1) + batch(sequence=2) + batch(sequence=3))

    assert sequences(found) == [1, 2, 3]
    assert [each.line for each in found] == [1, 4, 7]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x1f\x8b\x08\x00\n\x00", "gzip"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PK\x03\x04\n", "zip archive"),
        (b"\x28\xb5\x2f\xfd\n", "zstd"),
        (batch().decode().encode("utf-16"), "UTF-16"),
        (b"\xef\xbb\xbf" + batch(), "byte order mark"),
        (batch().replace(b"\n", b"\r\n"), "CR LF"),
        (b'{"specversion": "1.0"}\n', "outside of a signed batch"),
        (b"\n", "outside of a signed batch"),
        (b"no line end", "in the middle of a line"),
        (b"[" * 100_000 + b"\n", "outside of a signed batch"),
    ],
)
def test_a_foreign_file_is_named(content: bytes, words: str):
    """What is no file of batches gives one clear reason."""
    (found,) = read(content)

    assert words in reason(found)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(b'"sequence":2', b'"sequence":0'),
        lambda text: text.replace(b'"sequence":2', b'"sequence":"2"'),
        lambda text: text.replace(b'"sequence":2', b'"sequence":2,"more":1'),
        lambda text: text.replace(b'"sequence":2', b'"sequence":99999999999'),
        lambda text: text.replace(b'"spool":"0123456789abcdef"', b'"spool":"0123456789abcdef\\n"'),
        lambda text: text.replace(b'"deployment":"dep"', b'"deployment":"%s"' % (b"d" * 129)),
        lambda text: text.replace(b'"events":1', b'"events":0'),
        lambda text: text.replace(b'"events":1', b'"events":2'),
        lambda text: text.replace(b'"id"', b'"iD"'),
        lambda text: text.replace(b"0001", b"0001\n"),
        lambda text: text.replace(b'"signature":"00', b'"signature":"AA'),
        lambda text: text.replace(b'{"id": "2"}\n', b'{"id": "2"}\n{"id": "3"}\n'),
        lambda text: text.replace(b'{"id": "2"}\n', b""),
        lambda text: b"\n".join(text.split(b"\n")[:-2]) + b"\n",
        lambda text: text.partition(b"\n")[2],
    ],
)
def test_the_next_batch_is_found_behind_a_damaged_one(spoil: Callable[[bytes], bytes]):
    """A damaged batch is told, and its neighbours are read."""
    second = batch(sequence=2)
    damaged = spoil(second)

    found = read(batch(sequence=1) + damaged + batch(sequence=3))

    assert damaged != second
    assert sequences(found) == [1, None, 3]


@given(cut=st.integers(0, len(batch()) - 1))
@settings(max_examples=50)
def test_a_file_that_is_cut_short_has_no_half_batch(cut: int):
    """However much of the last batch is missing, it is damaged, or not there at all."""
    found = read(batch(sequence=1) + batch(sequence=2)[:cut])

    assert sequences(found) == ([1, None] if cut else [1])


def test_a_batch_is_at_most_a_record():
    """More bytes than a record may have, or more events than announced, are not gathered."""
    event = b'{"x":"%s"}' % (b"x" * (RECORD_BYTES_MAX // 4))

    found = read(batch(*[event] * 4) + batch(sequence=2))

    assert sequences(found) == [None, 2]
    assert f"{RECORD_BYTES_MAX} bytes" in reason(found[0])


def test_a_line_without_an_end_is_not_swallowed():
    """Of a line of any length no more is read than a line may have."""
    asked: list[int] = []

    def endless(size: int) -> bytes:
        asked.append(size)
        return b"x" * size

    (found,) = BatchReader(endless)

    assert "more than" in reason(found)
    assert asked == [LINE_BYTES_MAX]


def test_rubbish_without_an_end_is_left():
    """After so much that is no batch the rest is not read, and a batch in it is not imported."""
    lines_read = 0

    def endless(_: int) -> bytes:
        nonlocal lines_read
        lines_read += 1
        return b"x" * 65_535 + b"\n"

    (found,) = BatchReader(endless)

    assert "outside of a signed batch" in reason(found)
    assert lines_read * 65_536 < SKIPPED_BYTES_MAX + (1 << 20)


@given(content=st.binary(max_size=400))
@settings(max_examples=100)
def test_any_bytes_are_read_to_their_end(content: bytes):
    """No input raises, and none becomes a batch."""
    assert all(isinstance(found, Damaged) for found in read(content))
