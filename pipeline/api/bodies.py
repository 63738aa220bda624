"""Bodies of requests: read within limits of bytes and time, decompressed within the same."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from fastapi import Request
from starlette.requests import ClientDisconnect

from pipeline.api.problems import Problem, try_again_later

_GZIP = 16 + zlib.MAX_WBITS
_SLICE_BYTES = 64 << 10


class InFlight:
    """Counts the bytes of bodies that are held, so that no number of clients can fill the memory."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.held_bytes = 0

    def take(self, size: int) -> None:
        """Count bytes in. Raises Problem (429) when there is no room for them."""
        if self.held_bytes + size > self._bytes_max:
            raise try_again_later(429, "busy", "Too much is being taken in at once: send this again in a moment.")
        self.held_bytes += size

    def give(self, size: int) -> None:
        """Count bytes out."""
        self.held_bytes -= size

    @contextmanager
    def room(self) -> Iterator["Room"]:
        """Hold what is added inside, and let go of it at the end."""
        room = Room(self)
        try:
            yield room
        finally:
            self.give(room.size)


class Room:
    """What one request holds."""

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self.size = 0

    def add(self, size: int) -> None:
        """Hold more. Raises Problem (429)."""
        self._in_flight.take(size)
        self.size += size


async def read_body(request: Request, room: Room, *, bytes_max: int, timeout_s: float) -> bytes:
    """Return a request's body, decompressed. Raises Problem: 400, 408, 413, 415, 429."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        detail = "content-encoding: only gzip is understood, or none."
        raise Problem(415, "unsupported-media-type", detail, headers={"Accept-Encoding": "gzip"})
    _check_announced(request, bytes_max)
    body = bytearray()
    plain = _bounded(request, bytes_max) if encoding == "identity" else _gunzipped(_bounded(request, bytes_max))
    try:
        async with asyncio.timeout(timeout_s):
            async for piece in plain:
                room.add(len(piece))
                if len(body) + len(piece) > bytes_max:
                    raise _too_large(bytes_max)
                body += piece
    except TimeoutError:
        raise Problem(408, "timeout", f"The body did not come within {timeout_s:g} s.") from None
    except ClientDisconnect:
        raise Problem(400, "malformed", "The body was cut off.") from None
    return bytes(body)


def _check_announced(request: Request, bytes_max: int) -> None:
    """Refuse a body by its announced length, before any of it is read."""
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > bytes_max:
        raise _too_large(bytes_max)


async def _bounded(request: Request, bytes_max: int) -> AsyncIterator[bytes]:
    """Yield the body as it comes, up to the limit."""
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > bytes_max:
            raise _too_large(bytes_max)
        yield piece


async def _gunzipped(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what gzip holds, slice by slice, so that a bomb is stopped while it goes off."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        async for piece in pieces:
            waiting = piece
            while waiting:
                if unpacker.eof:  # a gzip file may have several members (RFC 1952)
                    unpacker = zlib.decompressobj(_GZIP)
                yield unpacker.decompress(waiting, _SLICE_BYTES)
                waiting = unpacker.unconsumed_tail or unpacker.unused_data
        yield unpacker.flush()
    except zlib.error:
        raise Problem(400, "malformed", "The body is not gzip, though its content-encoding says so.") from None
    if not unpacker.eof:
        raise Problem(400, "malformed", "The body's gzip is cut off.")


def _too_large(bytes_max: int) -> Problem:
    return Problem(
        413, "too-large", f"A body has at most {bytes_max} bytes, also when decompressed; send less at once."
    )
