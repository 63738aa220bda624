"""A receiver of webhooks, and alerts on a broker."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from pipeline.codec.lines import encode_alert
from pipeline.domain.alerts import Alert
from pipeline.domain.catalog import Catalog
from pipeline.domain.records import ALERTS_TOPIC
from pipeline.notify.run import Alerts
from pipeline.notify.targets import Target
from pipeline.settings import Settings

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
WAIT_S_MAX = 20


@dataclass
class Call:
    """A request that came."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def seq(self) -> int:
        return json.loads(self.body)["data"]["seq"]


@dataclass
class Receiver:
    """Answers as it is told: a status, with headers, or None to hang."""

    answer: Callable[[int], tuple[int, str] | int | None] = lambda _: 204
    calls: list[Call] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=url-token-3141"

    async def until(self, count: int) -> list[Call]:
        """Return the calls as soon as there are so many."""
        await until(lambda: len(self.calls) >= count)
        return self.calls

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}
                self.calls.append(Call(headers, await reader.readexactly(int(headers["content-length"]))))
                answer = self.answer(len(self.calls))
                if answer is None:
                    await reader.read()
                    return
                status, more = answer if isinstance(answer, tuple) else (answer, "")
                writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: 0\r\n{more}\r\n".encode())
                await writer.drain()


@asynccontextmanager
async def receiver(
    answer: Callable[[int], tuple[int, str] | int | None] = lambda _: 204,
) -> AsyncIterator[Receiver]:
    """Listen on a free port."""
    made = Receiver(answer)
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


async def until(condition: Callable[[], Any]) -> None:
    """Wait until `condition()` holds."""
    async with asyncio.timeout(WAIT_S_MAX):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another task or process
            await asyncio.sleep(0.01)


@asynccontextmanager
async def delivering(
    settings: Settings, targets: list[Target], catalog: Catalog | None = None
) -> AsyncIterator[Alerts]:
    """Deliver to targets meanwhile, then stop in order."""
    alerts = Alerts(settings, catalog, targets)
    running = asyncio.create_task(alerts.run())
    try:
        async with asyncio.timeout(WAIT_S_MAX):
            await alerts.ready()
        yield alerts
    finally:
        alerts.stop()
        assert await running == 0


async def reach(
    kafka: str, customer: str, *numbers: int, value: bytes | None = None, partition: int = 0, **more: Any
) -> None:
    """Write alerts as the worker does: those of lines with these numbers, in one partition."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        for seq in numbers:
            alert = encode_alert(Alert(customer, "2026-11-01", "credits", "", 80, seq))
            await producer.send_and_wait(
                ALERTS_TOPIC,
                value or alert,
                key=customer.encode(),
                partition=partition,
                timestamp_ms=1_795_000_000_000,
                **more,
            )
    finally:
        await producer.stop()


def secret_file(folder: Path) -> Path:
    """Return a file with the signing secret."""
    path = folder / "secret"
    path.write_text(f"{SECRET}\n")
    return path
