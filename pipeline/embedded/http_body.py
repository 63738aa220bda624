"""Read ClickHouse HTTP request bodies: undo their compression, and part an INSERT from the data that follows it."""

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import lz4.frame
import zstandard

STATEMENT_BYTES_MAX = 256 * 1024
"""Where the statement of an INSERT with data must have ended (ClickHouse's own max_query_size)."""

_TOKEN = re.compile(
    rb"""(?P<skip>\s+|--[^\n]*|/\*.*?\*/)
       | (?P<quoted>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`)
       | (?P<word>\w+)
       | (?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)
_FORMAT_NAME = re.compile(rb"\s+(\w+)(?:[ \t\f]*\r?\n|[ \t\f]+(?=\S)|(?=[^\w\s]))")  # and what ends it


class UnsupportedEncodingError(ValueError):
    """A Content-Encoding that this server does not know."""


class CorruptBodyError(ValueError):
    """A body that ends within a compressed frame, or is not what its Content-Encoding says."""


class InsertWithData(NamedTuple):
    """An INSERT whose data follow it: what stands before SETTINGS, the SETTINGS, the format, where the data begin."""

    target: str
    settings: str
    format_name: str
    data_start: int


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _new_decompressor(encoding: str) -> _Decompressor:
    if encoding in {"gzip", "deflate"}:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj()
    if encoding == "lz4":
        return lz4.frame.LZ4FrameDecompressor()  # type: ignore[no-any-return]
    raise UnsupportedEncodingError(f"Unknown HTTP content encoding '{encoding}'; use gzip, deflate, zstd or lz4")


def decompress(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the plain bytes of `chunks`, which may be any number of compressed frames one after the other.

    clickhouse-connect sends one lz4 frame a block: a decoder that stops at the first frame loses all rows but 16,384.

    Raises:
        UnsupportedEncodingError: `encoding` is not known.
        CorruptBodyError: the bytes are not valid, or end in the middle of a frame.

    """
    if encoding in {"", "identity"}:
        yield from chunks
        return
    decoder = _new_decompressor(encoding)
    fresh = True
    for chunk in chunks:
        rest = chunk
        while rest:
            if decoder.eof:
                decoder = _new_decompressor(encoding)
            plain = _decode(decoder, rest, encoding)
            fresh = False
            rest = (decoder.unused_data or b"") if decoder.eof else b""
            if plain:
                yield plain
    if not (fresh or decoder.eof):
        raise CorruptBodyError(f"the body ends in the middle of a {encoding} frame")


def _decode(decoder: _Decompressor, data: bytes, encoding: str) -> bytes:
    try:
        return decoder.decompress(data)
    except (zlib.error, zstandard.ZstdError, RuntimeError) as failure:  # lz4 raises a plain RuntimeError
        raise CorruptBodyError(f"the body is not valid {encoding}: {failure}") from failure


def is_insert(text: bytes) -> bool:
    """Tell whether the first word of the statement is INSERT."""
    for token in _TOKEN.finditer(text):
        if token.lastgroup != "skip":
            return token.group().upper() == b"INSERT"
    return False


def split_insert(text: bytes) -> InsertWithData | None:
    """Find `FORMAT name` and the line break or blank after it; None when they are not there.

    Then VALUES or SELECT follow, or more bytes are needed: add a line break where the text has ended.
    """
    settings_start = None
    for token in _TOKEN.finditer(text):
        if token.lastgroup != "word":
            continue
        word = token.group().upper()
        if word in {b"VALUES", b"SELECT", b"WITH"}:
            return None
        if word == b"SETTINGS":
            settings_start = token.start()
        if word == b"FORMAT" and (name := _FORMAT_NAME.match(text, token.end())):
            border = token.start() if settings_start is None else settings_start
            target, settings = text[:border].decode(), text[border : token.start()].decode()
            return InsertWithData(target, settings, name.group(1).decode(), name.end())
    return None
