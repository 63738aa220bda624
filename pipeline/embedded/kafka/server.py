"""Serve connections: read a request, answer it, one at a time on each connection, as Kafka does."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from pipeline.embedded.kafka.admin_api import AdminApi
from pipeline.embedded.kafka.data_api import Address, DataApi
from pipeline.embedded.kafka.group_api import GroupApi
from pipeline.embedded.kafka.groups import Groups
from pipeline.embedded.kafka.messages import API_OF_KEY, APIS, Code
from pipeline.embedded.kafka.offsets import Offsets
from pipeline.embedded.kafka.topics import Topics
from pipeline.embedded.kafka.transaction_api import TransactionApi
from pipeline.embedded.kafka.transactions import Transactions
from pipeline.embedded.kafka.wire import Message, Reader, write

HOST = "127.0.0.1"
REQUEST_BYTES_MAX = 100 << 20
EXPIRY_PAUSE_S = 0.1
CLEANING_PAUSE_S = 1.0
_PRODUCE, _API_VERSIONS, _JOIN_GROUP = 0, 18, 11

log = logging.getLogger("usage.broker")


class Broker:
    """The broker of one folder on one port."""

    def __init__(self, folder: Path, port: int) -> None:
        """Open the folder; `port` 0 takes a free one when it starts."""
        self._topics = Topics(folder)
        self._offsets = Offsets(folder / "offsets.ndjson")
        self._transactions = Transactions(folder / "transactions.ndjson", self._topics, self._offsets)
        self._groups = Groups(folder / "groups.ndjson")
        self._port = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._handlers: dict[str, Callable[[Message, int], Awaitable[Message]]] = {}
        self._group_api = GroupApi(self._groups, self._offsets, Address(HOST, port))

    async def start(self) -> int:
        """Listen on 127.0.0.1 and return the port."""
        self._server = await asyncio.start_server(self._serve, HOST, self._port, limit=1 << 20)
        port = int(self._server.sockets[0].getsockname()[1])
        address = Address(HOST, port)
        self._group_api = GroupApi(self._groups, self._offsets, address)
        parts = (
            DataApi(self._topics, self._transactions, address),
            TransactionApi(self._transactions, self._topics),
            self._group_api,
            AdminApi(self._topics, self._offsets),
        )
        for api in APIS:
            for part in parts:
                if handler := getattr(part, api.name, None):
                    self._handlers[api.name] = handler
        self._spawn(self._expire_forever())
        self._spawn(self._clean_forever())
        return port

    async def stop(self) -> None:
        """Stop listening, break the connections off, and flush everything to the disk."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._transactions.close()
        self._groups.close()
        self._offsets.close()
        self._topics.close()

    async def _expire_forever(self) -> None:
        """Evict silent group members and abort transactions that are open for too long."""
        while True:
            await asyncio.sleep(EXPIRY_PAUSE_S)
            try:
                self._groups.expire()
                self._transactions.expire()
            except OSError:
                log.exception("could not be written, and is tried again")

    async def _clean_forever(self) -> None:
        while True:
            await asyncio.sleep(CLEANING_PAUSE_S)
            try:
                await self._topics.clean_grown()
            except OSError as failure:
                log.warning("cleaning failed, the logs stay as they are: %s", failure)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                answer = await self._answer(await _read_request(reader))
                if answer is not None:
                    writer.write(answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError) as end:
            log.debug("connection ended: %r", end)  # the client went away, or the broker stops
        except ValueError as failure:
            log.warning("connection closed: %s", failure)
        except OSError:
            log.exception("connection closed, its request failed")
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, request: memoryview) -> bytes | None:
        reader = Reader(request)
        key, version, correlation = reader.scalar("i16"), reader.scalar("i16"), reader.scalar("i32")
        client_id = reader.scalar("string") or "client"
        api = API_OF_KEY.get(key)
        if key == _API_VERSIONS:
            return _frame(correlation, _API_VERSIONS, min(version, 2) if version <= 2 else 0, _versions(version))
        if api is None or not api.oldest <= version <= api.newest:
            raise ValueError(f"{client_id} asks for version {version} of API {key}, which is not spoken here")
        message = reader.message(api.request, version)
        if key == _JOIN_GROUP:
            answer = await self._group_api.join_group(message, version, client_id)
        else:
            answer = await self._handlers[api.name](message, version)
        return None if key == _PRODUCE and message["acks"] == 0 else _frame(correlation, key, version, answer)


async def _read_request(reader: asyncio.StreamReader) -> memoryview:
    size = int.from_bytes(await reader.readexactly(4))
    if size > REQUEST_BYTES_MAX:
        raise ValueError(f"a request of {size} bytes; {REQUEST_BYTES_MAX} are possible")
    return memoryview(await reader.readexactly(size))


def _versions(version: int) -> Message:
    """List what is spoken; a client that asks in a newer version learns that first, and asks again."""
    known = [{"api_key": api.key, "min_version": api.oldest, "max_version": api.newest} for api in APIS]
    return {"error_code": Code.UNSUPPORTED_VERSION if version > 2 else Code.NONE, "api_keys": known}


def _frame(correlation: int, key: int, version: int, answer: Message) -> bytes:
    out = bytearray(4)
    out += correlation.to_bytes(4, signed=True)
    write(out, API_OF_KEY[key].answer, version, answer)
    out[:4] = (len(out) - 4).to_bytes(4)
    return bytes(out)
