"""The table of digests against a plain dict, and the digests themselves, which are stored."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain import digests
from pipeline.domain.dedupe import content_of, identity_of, operation_of
from pipeline.domain.digests import DIGEST_SIZE, DigestTable
from pipeline.domain.events import UsageEvent
from pipeline.domain.state import IDENTITY_SIZE

FULL = UsageEvent(
    "e1", "dep", "acme", 1_794_312_000_000_000, "production", "legal", "contract-extraction", "small", "document",
    3, 18220, 7, 911, 12_300_000_000, byok=True, failed=True, operation="job-88", request_type="chat",
)  # fmt: skip
PLAIN = UsageEvent("zürich\u2028\U0001f600", "dép", "acme", -1, "p", "w", "f", "m", "u")
BITS = st.lists(st.sampled_from([b"\x00", b"\x01"]), min_size=DIGEST_SIZE, max_size=DIGEST_SIZE).map(b"".join)
"""Digests so alike that they are found across two entries."""
ALIKE = BITS | st.sampled_from([b"\x00" * DIGEST_SIZE, b"\x01" * DIGEST_SIZE, b"\x00\x01" * (DIGEST_SIZE // 2)])
STEPS = st.lists(
    st.tuples(st.just("add"), ALIKE, st.integers(0, 3))
    | st.tuples(st.just("again"), st.integers(0, 2**16), st.integers(0, 3))
    | st.tuples(st.just("forget"), st.integers(0, 3), st.none())
    | st.tuples(st.just("restore"), st.none(), st.none()),
    max_size=60,
)


class Plain:
    """What a table must be: all entries in the order in which they came."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def find(self, digest: bytes) -> bytes | None:
        return next((entry for entry in reversed(self.entries) if entry[:DIGEST_SIZE] == digest), None)


class Stored:
    """What somebody has taken away of a table's closed segments, to restore it from."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.segments: list[bytes] = []

    def take(self, table: DigestTable) -> None:
        self.segments += table.closed
        table.closed.clear()

    def restored(self, table: DigestTable) -> DigestTable:
        other = DigestTable(self.size)
        for segment in self.segments:
            other.restore(segment, is_open=False)
        other.restore(bytes(table.open), is_open=True)
        return other


def assert_same(table: DigestTable, plain: Plain) -> None:
    assert len(table) == len(plain.entries)
    assert bool(table) == bool(plain.entries)
    assert sorted(table) == sorted(plain.entries)
    for entry in plain.entries:
        assert table.find(entry[:DIGEST_SIZE]) == plain.find(entry[:DIGEST_SIZE])


@pytest.mark.rule("R6.1", "R6.2")
@settings(max_examples=400, deadline=None)
@given(
    STEPS,
    st.sampled_from([DIGEST_SIZE, DIGEST_SIZE + 1, IDENTITY_SIZE]),
    st.integers(1, 5),
    st.lists(ALIKE, max_size=5),
)
def test_a_table_finds_what_a_dict_finds(
    steps: list[tuple[str, Any, Any]], size: int, closes: int, absent: list[bytes]
) -> None:
    """After any additions, repetitions, forgetting and restoring, the newest entry of each digest is found, no other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "SEGMENT_ENTRIES", closes)
        patch.setattr(digests, "_BUCKET_ENTRIES", 2)
        table, plain, stored = DigestTable(size), Plain(), Stored(size)
        for step, what, tail in steps:
            if step == "add" or (step == "again" and plain.entries):
                digest = what if step == "add" else plain.entries[what % len(plain.entries)][:DIGEST_SIZE]
                entry = (digest + bytes([tail]) * size)[:size]
                table.add(entry)
                plain.entries.append(entry)
            elif step == "forget" and size > DIGEST_SIZE:
                table.forget(lambda entry, what=what: entry[-1] == what)
                plain.entries = [entry for entry in plain.entries if entry[-1] != what]
                stored.segments = [b"".join(plain.entries[: len(plain.entries) - len(table.open) // size])]
            elif step == "restore":
                table = stored.restored(table)
            stored.take(table)
        assert_same(table, plain)
        for digest in absent:
            assert table.find(digest) == plain.find(digest)


@pytest.mark.rule("R6.1")
@pytest.mark.parametrize("size", [DIGEST_SIZE, IDENTITY_SIZE])
def test_a_table_grows_over_thousands_of_entries(size: int) -> None:
    """Ten thousand entries and some of them again are all found, live and restored; others are not; half are forgotten."""
    rng = Random(size)
    table, newest, stored = DigestTable(size), {}, Stored(size)
    known: list[bytes] = []
    for _ in range(10_000):
        digest = rng.choice(known) if known and rng.random() < 0.1 else rng.randbytes(DIGEST_SIZE)
        known.append(digest)
        newest[digest] = digest + rng.randbytes(size - DIGEST_SIZE)
        table.add(newest[digest])
        stored.take(table)

    for each in (table, stored.restored(table)):
        assert len(each) == 10_000
        assert all(each.find(digest) == entry for digest, entry in newest.items())
        assert not any(each.find(rng.randbytes(DIGEST_SIZE)) for _ in range(1_000))
        each.forget(lambda entry: entry[0] < 128)
        assert all(each.find(digest) == (entry if digest[0] >= 128 else None) for digest, entry in newest.items())
        each.forget(lambda _: True)
        assert (len(each), list(each), each.find(known[0])) == (0, [], None)


@pytest.mark.rule("R6.1")
@pytest.mark.parametrize("filler", range(0, 100, 7))
def test_a_digest_that_lies_across_two_entries_is_not_found(filler: int) -> None:
    """The bytes of a digest, where they end one entry and begin the next, are no entry; nor do they hide an older one."""
    table, digest = DigestTable(IDENTITY_SIZE), bytes(range(100, 100 + DIGEST_SIZE))
    across = [b"\xff" * (IDENTITY_SIZE - 5) + digest[:5], digest[5:] + b"\xfe" * (IDENTITY_SIZE - 11)]
    inside = b"\xfd" * 7 + digest + b"\xfd" * 7
    fillers = [Random(at).randbytes(IDENTITY_SIZE) for at in range(filler)]

    for entry in (*across, inside, *fillers):
        table.add(entry)
    absent = table.find(digest)
    table = DigestTable(IDENTITY_SIZE)
    for entry in (digest + b"\xfc" * 14, *across, inside, *fillers):
        table.add(entry)

    assert (absent, table.find(digest)) == (None, digest + b"\xfc" * 14)


@pytest.mark.rule("R6.1")
def test_closed_segments_are_whole_and_in_order() -> None:
    """Each entry is in the open segment or in one that was closed, in the order in which they came."""
    table = DigestTable(DIGEST_SIZE)
    entries = [Random(at).randbytes(DIGEST_SIZE) for at in range(3 * digests.SEGMENT_ENTRIES + 5)]

    for entry in entries:
        table.add(entry)

    assert b"".join(table.closed) + table.open == b"".join(entries)
    assert [len(segment) for segment in table.closed] == [digests.SEGMENT_ENTRIES * DIGEST_SIZE] * 3


@pytest.mark.rule("R6.1")
def test_an_identity_takes_30_bytes() -> None:
    """Digest, digest of the content, and watermark: what is remembered of each event for 35 days."""
    assert IDENTITY_SIZE == 30


@pytest.mark.rule("R6.1", "R6.2")
def test_stored_digests_never_change() -> None:
    """States hold these digests: one that came out otherwise would make every resent event new, or a conflict."""
    assert identity_of(FULL).hex() == "6b97f258551d5bb487f40ebd0a630174"
    assert identity_of(PLAIN).hex() == "356a6b7ebe79cf5560b8c4e428c02fa6"
    assert content_of(FULL).hex() == "2d8833ac2227fbd4"
    assert content_of(PLAIN).hex() == "d18383964857b5e2"
    assert operation_of(FULL).hex() == "3782f9ae5def706ede094395baebb537"
