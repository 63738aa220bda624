"""Run the embedded Kafka protocol broker (`pipeline.embedded.kafka`) as a process of its own.

Why it is our own, and what it lacks, is in `docs/embedded-broker.md`; `tests/embedded/test_broker_conformance.py` holds
it to what the pipeline uses, and Apache Kafka to the same.
"""

import asyncio
import sys
import time
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

STOP_TIMEOUT_S = 15.0
"""How long a supervisor waits after SIGTERM; the broker only flushes then, as everything is in its files already."""
_RETRY_PAUSE_S = 0.1
_REQUEST_TIMEOUT_MS = 2_000


def broker_command(data_dir: Path, port: int) -> list[str]:
    """Return the command line of a broker that listens on 127.0.0.1:`port` only and keeps its data in `data_dir`.

    SIGTERM stops it; what it acknowledged outlives SIGKILL too.
    """
    return [sys.executable, "-m", "pipeline.embedded.kafka", "--data", str(data_dir), "--port", str(port)]


async def wait_for_broker(bootstrap: str, timeout_s: float) -> None:
    """Return as soon as the broker at `bootstrap` answers a metadata request.

    Raises:
        TimeoutError: it did not within `timeout_s` seconds; the message has the last failure.

    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            await _fetch_metadata(bootstrap)
        except (KafkaError, OSError) as failure:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"broker {bootstrap} not ready after {timeout_s} s: {failure!r}") from failure
        else:
            return
        await asyncio.sleep(_RETRY_PAUSE_S)


async def _fetch_metadata(bootstrap: str) -> None:
    host, _, port = bootstrap.split(",", maxsplit=1)[0].rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))  # a closed port fails here, without aiokafka's log noise
    writer.close()
    await writer.wait_closed()
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=_REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        await admin.list_topics()
    finally:
        await admin.close()
