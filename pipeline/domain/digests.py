"""Exact membership of 128-bit digests, in few bytes each: what dedupe and repeats remember by (R6.1, R6.2).

Entries of one size, each beginning with its digest, lie packed: the newest in the open segment, in the
order in which they came, all others in buckets by digest. A look-up searches one segment and one bucket by `bytes.rfind`:
where a digest was added again, the newest entry is found.
"""

from collections.abc import Callable, Iterator
from functools import cache
from struct import Struct

import msgspec

DIGEST_SIZE = 16
SEGMENT_ENTRIES = 32
"""The open segment is closed when it holds so many: it is searched from its beginning, and written again and again."""
_BUCKET_ENTRIES = 40
"""So many on average make the buckets be doubled: fewer take more memory, more take longer to be searched."""


@cache
def _unpacker(size: int) -> Callable[[bytes], Iterator[tuple[bytes]]]:
    return Struct(f"{size}s").iter_unpack


class DigestTable(msgspec.Struct, eq=False, gc=False):
    """Entries of `size` bytes that begin with a digest."""

    size: int
    open: bytes = b""
    """The open segment."""
    closed: list[bytes] = []
    """Segments closed since somebody last took them away, in order; also in the buckets."""
    _buckets: list[bytes] | None = None
    """A power of two of them, by the hash of the digest; None while all entries are in the open segment."""
    _count: int = 0
    """Of the entries in buckets."""

    def __len__(self) -> int:
        return self._count + len(self.open) // self.size

    def __iter__(self) -> Iterator[bytes]:
        """Yield all entries, those of the open segment last."""
        for bucket in self._buckets or ():
            yield from self._entries(bucket)
        yield from self._entries(self.open)

    def find(self, digest: bytes) -> bytes | None:
        """Return the newest entry with a digest, None when there is none."""
        packed = self.open
        at = packed.rfind(digest)
        found = None if at < 0 else self._entry_at(packed, digest, at)
        if found is None and self._buckets:
            packed = self._buckets[hash(digest) & len(self._buckets) - 1]
            at = packed.rfind(digest)
            if at >= 0:
                found = self._entry_at(packed, digest, at)
        return found

    def _entry_at(self, packed: bytes, digest: bytes, at: int) -> bytes | None:
        """Return the last entry with a digest that begins at an offset or before; what lies across two entries is none."""
        while at >= 0:
            if at % self.size == 0:
                return packed[at : at + self.size]
            at = packed.rfind(digest, 0, at + DIGEST_SIZE - 1)
        return None

    def add(self, entry: bytes) -> None:
        """Add an entry."""
        self.open += entry
        if len(self.open) >= SEGMENT_ENTRIES * self.size:
            self.closed.append(self.open)
            self._keep(self.open)
            self.open = b""

    def restore(self, segment: bytes, *, is_open: bool) -> None:
        """Take back a segment that was the open one, or a closed one."""
        if is_open:
            self.open = segment
        else:
            self._keep(segment)

    def forget(self, is_expired: Callable[[bytes], bool]) -> None:
        """Drop the entries that are expired."""
        kept = b"".join(
            entry for bucket in self._buckets or () for entry in self._entries(bucket) if not is_expired(entry)
        )
        self._buckets, self._count = None, 0
        if kept:
            self._keep(kept)
        self.open = b"".join(entry for entry in self._entries(self.open) if not is_expired(entry))

    def _entries(self, packed: bytes) -> Iterator[bytes]:
        return (entry for (entry,) in _unpacker(self.size)(packed))

    def _keep(self, packed: bytes) -> None:
        """Put entries into their buckets."""
        self._count += len(packed) // self.size
        buckets = self._buckets or [b""]
        while self._count > len(buckets) * _BUCKET_ENTRIES:
            buckets = self._doubled(buckets)
        self._buckets = buckets
        mask = len(buckets) - 1
        for (entry,) in _unpacker(self.size)(packed):
            buckets[hash(entry[:DIGEST_SIZE]) & mask] += entry

    def _doubled(self, buckets: list[bytes]) -> list[bytes]:
        """Return twice as many: a new one for each takes the entries whose hashes have the next bit set, in order."""
        bit = len(buckets)
        unpack = _unpacker(self.size)
        new = []
        for index, bucket in enumerate(buckets):
            low: list[bytes] = []
            high: list[bytes] = []
            for (entry,) in unpack(bucket):
                (high if hash(entry[:DIGEST_SIZE]) & bit else low).append(entry)
            buckets[index] = b"".join(low)  # one by one, so that what is freed is used again
            new.append(b"".join(high))
        return buckets + new
