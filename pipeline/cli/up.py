"""`usage up`: the whole pipeline on this machine."""

import asyncio
import json
import time
from pathlib import Path

import click
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.cli.catalogs import load_or_explain
from pipeline.cli.interrupt import cancel_on_signals
from pipeline.cli.options import options_for, required_catalog
from pipeline.embedded.process import GaveUp
from pipeline.embedded.stack import Stack, StackError
from pipeline.settings import Settings
from pipeline.sink.migrations import MigrationError
from pipeline.stream.topics import TopicError

PORT = click.IntRange(0, 65535)


@click.command("up")
@click.option(
    "--data",
    default=".usage",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the broker and ClickHouse; what is in it survives a restart.",
)
@click.option("--kafka-port", default=9092, show_default=True, type=PORT, help="Port on 127.0.0.1; 0 = any free one.")
@click.option("--clickhouse-port", default=8123, show_default=True, type=PORT, help="The same for ClickHouse.")
@click.option("--api-port", default=8080, show_default=True, type=PORT, help="The same for the HTTP API.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="How many workers.")
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, as JSON with the addresses, when all is ready.",
)
@options_for("catalog", "log_level")
def up_command(
    data: Path,
    kafka_port: int,
    clickhouse_port: int,
    api_port: int,
    workers: int,
    ready_file: Path | None,
    settings: Settings,
) -> None:
    """Run broker, ClickHouse, topics, migrations, workers, the sink and the HTTP API in the foreground, until Ctrl-C.

    The API listens on this machine only; operator.key in the data folder holds a key that may do everything.

    What dies is started again, unless it keeps dying. For a laptop, a test or a demonstration; docker-compose.yml has
    the real servers.
    """
    load_or_explain(required_catalog(settings))
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)  # of one that was killed
    stack_arguments = {
        "kafka_port": kafka_port,
        "clickhouse_port": clickhouse_port,
        "api_port": api_port,
        "workers": workers,
    }
    try:
        asyncio.run(_run(settings, data, stack_arguments, ready_file))
    except (StackError, GaveUp, TopicError, MigrationError, KafkaError, ClickHouseError, OSError) as error:
        raise click.ClickException(str(error)) from None
    finally:
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)


async def _run(settings: Settings, data: Path, stack_arguments: dict[str, int], ready_file: Path | None) -> None:
    cancel_on_signals(lambda text: _log("up", text))
    try:
        async with Stack(settings, data, log=_log_of, **stack_arguments) as stack:
            addresses = {
                "kafka": stack.settings.kafka,
                "clickhouse": stack.settings.clickhouse,
                "api": f"http://{stack.settings.api_host}:{stack.settings.api_port}",
            }
            _log(
                "up", f"ready: Kafka {addresses['kafka']}, ClickHouse {addresses['clickhouse']}, API {addresses['api']}"
            )
            _log("up", f"an operator's API key is in {data / 'operator.key'}; Ctrl-C stops all")
            if ready_file is not None:
                _write_whole(ready_file, json.dumps(addresses))
            await stack.run()
    except asyncio.CancelledError:
        _log("up", "stopped")


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody reads half of it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text + "\n")
    partial.replace(path)


def _log(name: str, text: str) -> None:
    _log_of(name, f"{time.strftime('%H:%M:%S')} INFO    {text}")


def _log_of(name: str, line: str) -> None:
    """Print a line of a process; it says itself when it was."""
    click.echo(f"{name:<10} | {line}")
