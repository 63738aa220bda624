"""Play rounds: `python -m tests.faults --rounds n --seed s`, or `make faults ROUNDS=n SEED=s`."""

import argparse
import asyncio
import contextlib
import logging
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from aiokafka.errors import KafkaError
from clickhouse_connect.driver.exceptions import ClickHouseError

from tests.faults.faults import FAULTS
from tests.faults.report import Report
from tests.faults.rig import Servers
from tests.faults.rounds import Options, Outcome, play_round


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests.faults", description="Break the pipeline on purpose, and count what comes out."
    )
    parser.add_argument("--rounds", type=int, default=10, help="how many rounds (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of the first round; the next has the next (default %(default)s)"
    )
    parser.add_argument("--broker", choices=("embedded", "apache"), default="embedded")
    parser.add_argument("--workers", type=int, choices=range(1, 5), help="workers at the begin (default: by seed)")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(FAULTS),
        default=[],
        metavar="FAULT",
        help=f"inject only these (may be repeated): {', '.join(FAULTS)}",
    )
    parser.add_argument("--faults", type=int, help="faults a round (default: 2 to 5, by seed)")
    parser.add_argument("--events", type=int, default=Options.events, help="events a round (default %(default)s)")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    return parser.parse_args()


async def _play(arguments: argparse.Namespace, folder: Path, report: Report) -> None:
    options = Options(arguments.events, arguments.workers, tuple(arguments.only), arguments.faults)
    servers = Servers(arguments.broker, folder)
    try:
        for seed in range(arguments.seed, arguments.seed + arguments.rounds):
            try:
                outcome = await play_round(servers, folder, seed, options)
            except* (OSError, KafkaError, ClickHouseError) as failures:  # a server that does not come up again, say
                outcome = Outcome(seed, arguments.workers or 0, folder=folder)
                outcome.drift.add("rounds that broke off", failures.exceptions[0])
                servers.kill()
                servers = Servers(arguments.broker, Path(tempfile.mkdtemp(dir=folder)))
            report.add(outcome)
    finally:
        servers.kill()


async def _play_until_stopped(arguments: argparse.Namespace, folder: Path, report: Report) -> None:
    playing = asyncio.create_task(_play(arguments, folder, report))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, playing.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await playing


def main() -> int:
    arguments = _arguments()
    logging.basicConfig(level=logging.CRITICAL)  # our own clients complain while the broker is dead
    report = Report(arguments)
    folder = Path(tempfile.mkdtemp(prefix="usage-faults-"))
    try:
        asyncio.run(_play_until_stopped(arguments, folder, report))
    finally:
        report.end()
        if not report.drifted:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if report.drifted or report.rounds < arguments.rounds else 0


if __name__ == "__main__":
    sys.exit(main())
