"""Run the broker: `python -m pipeline.embedded.kafka --data DIR --port N`. SIGTERM and SIGINT stop it."""

import argparse
import asyncio
import logging
import os
import signal
from pathlib import Path

import uvloop

from pipeline.embedded.kafka.server import HOST, Broker
from pipeline.observe.log import log_to_stderr

log = logging.getLogger("usage.broker")


async def _run(data_dir: Path, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = Broker(data_dir, port)
    log.info("broker ready on %s:%d, data in %s", HOST, await broker.start(), data_dir)
    await stop.wait()
    await broker.stop()
    log.info("broker stopped")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="pipeline.embedded.kafka", description="Run the embedded Kafka broker.")
    parser.add_argument("--data", type=Path, required=True, help="folder of its data")
    parser.add_argument("--port", type=int, default=9092, help="port on 127.0.0.1 (default %(default)s, 0: any)")
    arguments = parser.parse_args()
    log_to_stderr(os.environ.get("USAGE_LOG_LEVEL", "INFO"))
    uvloop.run(_run(arguments.data, arguments.port))


if __name__ == "__main__":
    main()
