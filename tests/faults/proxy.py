"""A TCP proxy between one process and one server: it delays, cuts, and catches single messages on their way."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple

HOST = "127.0.0.1"
CHUNK_BYTES = 1 << 16
ADDRESS_FRAME_BYTES_MAX = 1 << 16
"""Answers that name the broker's address are smaller."""
PRODUCE, METADATA, FIND_COORDINATOR, END_TXN = 0, 3, 10, 26
INSERT = b"usage.usage_lines"

REFUSAL = (
    b"HTTP/1.1 500 Internal Server Error\r\nX-ClickHouse-Exception-Code: 1002\r\nContent-Type: text/plain\r\n"
    b"Connection: close\r\nContent-Length: 46\r\n\r\nCode: 1002. DB::Exception: injected by a proxy"
)


class Trap(NamedTuple):
    """Catches the next Kafka message of an API, on its way there (request) or back; `needle` must be in its request."""

    api: int
    on_request: bool
    needle: bytes
    action: Callable[[], Awaitable[bool]]
    """Says, when it is over, whether the message goes on; else its connection is cut."""


class Proxy:
    """Passes bytes on, to `target_port` on this machine. `address` is what the client is told."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.delay_s = 0.0
        """How long each message waits, in both directions."""
        self.down = False
        """Connections are refused."""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.port = 0

    @property
    def address(self) -> str:
        """Return host and port."""
        return f"{HOST}:{self.port}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut every connection and listen no more."""
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def hold(self) -> None:
        """Let nothing through, and keep it, until `release`."""
        self._flowing.clear()

    def release(self) -> None:
        """Let everything through that was held, and what follows."""
        self._flowing.set()

    def cut(self) -> None:
        """Cut every connection."""
        for connection in self._connections:
            connection.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        writers = [writer]
        try:
            if not self.down:
                back, there = await asyncio.open_connection(HOST, self._target_port)
                writers.append(there)
                await self._pass_both(reader, writer, back, there)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # either side went away, or we cut it
        finally:
            self._connections.discard(task)
            for each in writers:
                each.transport.abort()

    async def _pass_both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamReader,
        there: asyncio.StreamWriter,
    ) -> None:
        """Pass bytes on until one side has ended."""
        memory: dict[int, int] = {}
        pumps = [
            asyncio.create_task(self._requests(reader, there, memory)),
            asyncio.create_task(self._answers(back, writer, memory)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, memory: dict[int, int]
    ) -> None:
        raise NotImplementedError

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, memory: dict[int, int]
    ) -> None:
        raise NotImplementedError

    async def _wait(self) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        await self._flowing.wait()


class KafkaProxy(Proxy):
    """Knows Kafka's messages; writes its own port in place of the broker's into the answers that name it."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self._trap: Trap | None = None

    def set_trap(self, trap: Trap | None) -> None:
        """Catch one message; None takes a trap away that has not closed."""
        self._trap = trap

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, memory: dict[int, int]
    ) -> None:
        """Pass requests on. In `memory`: the API by correlation id, those whose answer is caught as -1."""
        while True:
            frame = await _frame(reader)
            api, correlation = int.from_bytes(frame[4:6]), int.from_bytes(frame[8:12])
            memory[correlation] = api
            trap = self._trap
            if trap is not None and trap.api == api and trap.needle in frame:
                if not trap.on_request:
                    memory[correlation] = -1
                elif not await self._sprung(trap):
                    return
            await self._wait()
            writer.write(frame)
            await writer.drain()

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, memory: dict[int, int]
    ) -> None:
        while True:
            frame = await _frame(reader)
            api = memory.pop(int.from_bytes(frame[4:8]), METADATA)
            trap = self._trap
            if api == -1 and trap is not None and not await self._sprung(trap):
                return
            if api in (METADATA, FIND_COORDINATOR) and len(frame) <= ADDRESS_FRAME_BYTES_MAX:
                frame = frame.replace(_address(self._target_port), _address(self.port))
            await self._wait()
            writer.write(frame)
            await writer.drain()

    async def _sprung(self, trap: Trap) -> bool:
        self._trap = None
        return await trap.action()


class HttpProxy(Proxy):
    """Passes HTTP on; may answer the next insert of lines itself once ClickHouse has stored it."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self._replies: list[bytes] = []
        self.spoiled = 0
        """How many answers were replaced."""

    def spoil_next_answer(self, reply: bytes) -> None:
        """Answer an insert with `reply` (empty: cut the connection) after ClickHouse has answered it."""
        self._replies.append(reply)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, memory: dict[int, int]
    ) -> None:
        """Pass requests on. `memory` has an entry 0 when the last request was an insert of lines."""
        while chunk := await reader.read(CHUNK_BYTES):
            if chunk.startswith(b"POST "):
                memory.clear()
            if INSERT in chunk:
                memory[0] = 1
            await self._wait()
            writer.write(chunk)
            await writer.drain()

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, memory: dict[int, int]
    ) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await self._wait()
            if memory.pop(0, 0) and self._replies:
                self.spoiled += 1
                writer.write(self._replies.pop(0))
                with contextlib.suppress(OSError):
                    await writer.drain()
                return
            writer.write(chunk)
            await writer.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """Return a whole Kafka message with its length."""
    size = await reader.readexactly(4)
    return size + await reader.readexactly(int.from_bytes(size))


def _address(port: int) -> bytes:
    return HOST.encode() + port.to_bytes(4)
