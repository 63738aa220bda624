"""Exact membership of 128-bit digests, in few bytes each: what dedupe and repeats remember by (R6.1, R6.2).

Entries of one size, each beginning with its digest, lie packed: the newest in the open segment, in the
order in which they came, all others in buckets by digest. A look-up searches one segment and one bucket by `bytes.rfind`:
where a digest was added again, the newest entry is found.
"""

from collections.abc import Callable, Iterator
from functools import cache
from struct import Struct

DIGEST_SIZE = 16
SEGMENT_ENTRIES = 32
"""The open segment is closed when it holds so many: it is searched from its beginning, and written again and again."""
_BUCKET_ENTRIES = 40
"""So many on average make the buckets be doubled: fewer take more memory, more take longer to be searched."""


@cache
def _unpacker(size: int) -> Callable[[bytes | bytearray], Iterator[tuple[bytes]]]:
    return Struct(f"{size}s").iter_unpack


class DigestTable:
    """Fixed-size entries that begin with a digest."""

    __slots__ = ("_buckets", "_count", "_mask", "_segment_bytes", "_size", "_unpack", "closed", "open")

    def __init__(self, size: int) -> None:
        self._size = size
        self._segment_bytes = size * SEGMENT_ENTRIES
        self.open = bytearray()
        """The open segment."""
        self.closed: list[bytes] = []
        """Segments closed since somebody last took them away, in order; also in the buckets."""
        self._buckets: list[bytes] = [b""]
        self._mask = 0
        """Of the hash of a digest, which says the bucket."""
        self._count = 0
        self._unpack = _unpacker(size)

    def __len__(self) -> int:
        return self._count + len(self.open) // self._size

    def __iter__(self) -> Iterator[bytes]:
        """Yield all entries, those of the open segment last."""
        for bucket in self._buckets:
            yield from self._entries(bucket)
        yield from self._entries(self.open)

    def find(self, digest: bytes) -> bytes | None:
        """Return the newest entry with a digest, None when there is none."""
        at = self.open.rfind(digest)
        found = None if at < 0 else self._entry_at(self.open, digest, at)
        if found is None and self._count:
            bucket = self._buckets[hash(digest) & self._mask]
            at = bucket.rfind(digest)
            if at >= 0:
                found = self._entry_at(bucket, digest, at)
        return found

    def _entry_at(self, packed: bytes | bytearray, digest: bytes, at: int) -> bytes | None:
        """Return the last entry with a digest that begins at an offset or before; what lies across two entries is none."""
        while at >= 0:
            if at % self._size == 0:
                return bytes(packed[at : at + self._size])
            at = packed.rfind(digest, 0, at + DIGEST_SIZE - 1)
        return None

    def add(self, entry: bytes) -> None:
        """Add an entry."""
        self.open += entry
        if len(self.open) >= self._segment_bytes:
            self.closed.append(bytes(self.open))
            self._keep(self.open)
            self.open = bytearray()

    def restore(self, segment: bytes, *, is_open: bool) -> None:
        """Take back a segment that was the open one, or a closed one."""
        if is_open:
            self.open = bytearray(segment)
        else:
            self._keep(segment)

    def forget(self, is_expired: Callable[[bytes], bool]) -> None:
        """Drop the entries that are expired."""
        kept = b"".join(entry for bucket in self._buckets for entry in self._entries(bucket) if not is_expired(entry))
        self._buckets, self._mask, self._count = [b""], 0, 0
        if kept:
            self._keep(kept)
        self.open = bytearray().join(entry for entry in self._entries(self.open) if not is_expired(entry))

    def _entries(self, packed: bytes | bytearray) -> Iterator[bytes]:
        return (entry for (entry,) in self._unpack(packed))

    def _keep(self, packed: bytes | bytearray) -> None:
        """Put entries into their buckets."""
        self._count += len(packed) // self._size
        while self._count > len(self._buckets) * _BUCKET_ENTRIES:
            self._grow()
        buckets, mask = self._buckets, self._mask
        for (entry,) in self._unpack(packed):
            buckets[hash(entry[:DIGEST_SIZE]) & mask] += entry

    def _grow(self) -> None:
        """Double the buckets: a new one for each takes the entries whose hashes have the next bit set, in order."""
        old, bit = self._buckets, len(self._buckets)
        new = []
        for index, bucket in enumerate(old):
            low: list[bytes] = []
            high: list[bytes] = []
            for (entry,) in self._unpack(bucket):
                (high if hash(entry[:DIGEST_SIZE]) & bit else low).append(entry)
            old[index] = b"".join(low)  # one by one, so that what is freed is used again
            new.append(b"".join(high))
        self._buckets = old + new
        self._mask = 2 * bit - 1
