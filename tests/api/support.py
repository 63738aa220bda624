"""A running API on a real broker, keys for it, and events to send to it."""

import asyncio
import json
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec
from aiokafka import AIOKafkaConsumer
from fastapi import FastAPI

from pipeline.access import ApiKey, Scope, UnauthenticatedError, new_key
from pipeline.access.log import write_key
from pipeline.api.app import create_app
from pipeline.api.server import address_of, listen, new_server
from pipeline.catalog import load_catalog
from pipeline.codec.records import decode_events, envelope_of, key_of
from pipeline.domain.admission import admit
from pipeline.domain.catalog import Catalog
from pipeline.domain.instants import format_instant
from pipeline.domain.records import Record
from pipeline.domain.rejects import Rejected
from pipeline.settings import Settings, load_settings
from pipeline.stream.topics import ensure_topics

PARTITIONS = 2
WAIT_S_MAX = 20
CATALOG = """\
currency: USD
platform_fee_percent: "5"
models: [{id: gpt-5-mini, provider: openai, class: standard, input: "0.25", cached_input: "0.025", output: "2.00"}]
builders: [{id: northwind, name: Northwind Ltd}, {id: brightwater, name: Brightwater Inc}]
apps: [{id: helpdesk, builder: northwind}, {id: insights, builder: brightwater}]
customers: [{id: acme, name: Acme GmbH}, {id: globex, name: Globex}]
deployments:
  - {id: dep_acme, customer: acme, app: helpdesk}
  - {id: dep_acme_insights, customer: acme, app: insights}
  - {id: dep_acme_vault, customer: acme, app: helpdesk, connectivity: air_gapped}
  - {id: dep_globex, customer: globex, app: insights}
plans:
  - {id: team, version: 1, app: helpdesk}
  - {id: deep, version: 1, app: insights}
subscriptions:
  - {customer: acme, plan: team, version: 1, start: 2026-01-01}
  - {customer: acme, plan: deep, version: 1, start: 2026-01-01}
  - {customer: globex, plan: deep, version: 1, start: 2026-01-01}
"""
OWNERS: dict[str, tuple[Scope, str | None]] = {
    "dep_acme": ("deployment", "dep_acme"),
    "dep_acme_vault": ("deployment", "dep_acme_vault"),
    "dep_globex": ("deployment", "dep_globex"),
    "acme": ("customer", "acme"),
    "globex": ("customer", "globex"),
    "northwind": ("builder", "northwind"),
    "brightwater": ("builder", "brightwater"),
    "operator": ("operator", None),
}
"""Whose keys there are: name to scope and owner."""


def now_us() -> int:
    return time.time_ns() // 1000


def usage(identity: str = "1", source: str = "dep_acme", subject: str = "acme", **data: Any) -> dict[str, Any]:
    """Return a usage event."""
    what = {"environment": "production", "workspace": "w", "feature": "f", "model": "gpt-5-mini", "unit": "ticket"}
    return {
        "specversion": "1.0",
        "type": "ai.usage.v1",
        "id": identity,
        "source": source,
        "subject": subject,
        "time": format_instant(now_us()),
        "data": what | data,
    }


def catalog_file(folder: Path) -> Path:
    """Write the catalog into a folder."""
    path = folder / "catalog.yaml"
    path.write_text(CATALOG)
    return path


class RunningApi:
    """The API in a thread, with an event loop of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        assert settings.catalog is not None
        self.app: FastAPI = create_app(settings, load_catalog(settings.catalog))
        self._server = new_server(self.app)
        self._listening = listen("127.0.0.1", 0)
        self._thread = threading.Thread(target=self._server.run, args=([self._listening],), daemon=True)
        self.url = address_of(self._listening)
        self._client = httpx.Client(base_url=self.url, timeout=WAIT_S_MAX)

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self._server.started, "the server to start")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._server.should_exit = True
        self._thread.join(WAIT_S_MAX)
        self._listening.close()

    def ready(self) -> "RunningApi":
        """Return once requests can be served."""
        wait_until(lambda: self._client.get("/readyz").status_code == 200, "the API to be ready")
        return self

    def knows(self, token: str) -> bool:
        """Return whether a key is read, whatever may be said against it."""
        try:
            self.app.state.ring.principal(token, now_us())
        except UnauthenticatedError as error:
            return "unknown" not in str(error)
        return True

    def refuses(self, token: str) -> bool:
        """Return whether a key proves nothing."""
        try:
            self.app.state.ring.principal(token, now_us())
        except UnauthenticatedError:
            return True
        return False

    def request(self, method: str, path: str, token: str | None, content: Any, **headers: str) -> httpx.Response:
        """Send a body, JSON unless it is bytes; underscores in the headers' names stand for dashes."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            given["authorization"] = f"Bearer {token}"
        if content is not None:
            given.setdefault("content-type", "application/json")
        body = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
        with self._client.stream(method, path, content=body, headers=given) as answer:
            if answer.headers.get("content-type", "").partition(";")[0] != "text/event-stream":  # that has no end
                answer.read()
            return answer

    def stream(self, path: str, token: str, pieces: Iterable[bytes], **headers: str) -> httpx.Response:
        """Send a body of unknown length, piece by piece."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given |= {"authorization": f"Bearer {token}", "content-type": "application/json"}
        return self._client.post(path, content=iter(pieces), headers=given)

    def events(self, token: str, content: Any, **headers: str) -> httpx.Response:
        """Send events."""
        return self.request("post", "/v1/events", token, content, **headers)


def wait_until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + WAIT_S_MAX
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT_S_MAX} s for {what}"
        time.sleep(0.01)  # what is waited for happens in another thread or process


def make_topics(settings: Settings) -> None:
    asyncio.run(ensure_topics(settings))


def settings_for(kafka: str, catalog: Path, **more: Any) -> Settings:
    return load_settings(kafka=kafka, catalog=catalog, partitions=PARTITIONS, **more)


def store_key(settings: Settings, scope: Scope, owner: str | None, **more: Any) -> tuple[str, ApiKey]:
    """Make a key, write it, and return its token and itself."""
    token, key = new_key(scope, owner, now_us(), **more)
    asyncio.run(write_key(settings, key))
    return token, key


def revoke(settings: Settings, key: ApiKey) -> None:
    asyncio.run(write_key(settings, msgspec.structs.replace(key, revoked_us=now_us())))


def worker_takes(records: Sequence[Any], catalog: Catalog) -> list[str]:
    """Return the ids of the events of records, in order, all of which the worker must admit."""
    ids = []
    for record in records:
        key = key_of(record)
        for event in decode_events(record):
            assert not isinstance(event, Rejected), event
            assert event.customer == key
            admit(catalog, event, envelope_of(record, key))
            ids.append(event.id)
    return ids


def records_with(settings: Settings, topic: str, texts: Iterable[str]) -> list[Record]:
    """Return the records of a topic that hold one of the texts, once each of them is there."""
    return asyncio.run(_records_with(settings, topic, list(texts)))


async def _records_with(settings: Settings, topic: str, texts: list[str]) -> list[Record]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=settings.kafka, auto_offset_reset="earliest")
    await consumer.start()
    found: list[Record] = []
    missing = set(texts)
    try:
        async with asyncio.timeout(WAIT_S_MAX):
            while missing:
                for fetched in (await consumer.getmany(timeout_ms=100)).values():
                    for each in fetched:
                        held = {text for text in texts if text.encode() in each.value}
                        missing -= held
                        if held:
                            headers = tuple(each.headers)
                            found.append(
                                Record(
                                    topic, each.partition, each.offset, each.timestamp, each.key, each.value, headers
                                )
                            )
    finally:
        await consumer.stop()
    return found
