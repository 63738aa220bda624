"""`usage sink`: move rated lines from Kafka to ClickHouse."""

import sys
from pathlib import Path

import click
import uvloop

from pipeline.cli.options import options_for
from pipeline.observe.log import log_to_stderr
from pipeline.settings import Settings
from pipeline.sink import run_sink


@click.command("sink")
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write when the sink has its partitions.",
)
@options_for("kafka", "clickhouse", "log_level")
def sink_command(ready_file: Path | None, settings: Settings) -> None:
    """Move rated lines from the topic usage.lines to ClickHouse, until SIGTERM or Ctrl-C.

    Several sinks share the topic's partitions. While ClickHouse is away the sink waits, and loses nothing.
    """
    log_to_stderr(settings.log_level)
    sys.exit(uvloop.run(run_sink(settings, on_ready=ready_file.touch if ready_file else None)))
