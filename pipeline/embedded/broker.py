"""Run the embedded Kafka protocol broker: the `noida-db` binary, with nothing but its Kafka service.

What it can and cannot do is in `docs/embedded-broker.md`; `tests/embedded/test_broker_conformance.py` holds it to what
the pipeline uses.
"""

import asyncio
import stat
import time
from importlib.resources import files
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

LOOPBACK = "127.0.0.1"
STOP_TIMEOUT_S = 30.0
"""How long a supervisor waits after SIGTERM: the broker writes its whole log to disk then (about 1 s per 100 MB)."""
_RETRY_PAUSE_S = 0.1
_REQUEST_TIMEOUT_MS = 2_000


def broker_command(data_dir: Path, port: int) -> list[str]:
    """Return the command line of a broker that listens on 127.0.0.1:`port` only and keeps its data in `data_dir`.

    Stop it with SIGTERM and wait up to `STOP_TIMEOUT_S`: it saves on the way out. SIGKILL costs up to the last seconds.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    arguments = ["--data-dir", str(data_dir), "--host", LOOPBACK, "--only", "kafka", "--kafka-port", str(port)]
    return [str(_binary()), "start", *arguments]


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


def _binary() -> Path:
    binary = Path(str(files("noida_db").joinpath("noida-db")))
    if not binary.stat().st_mode & stat.S_IXUSR:  # some installers drop the executable bit of package data
        binary.chmod(0o755)
    return binary
