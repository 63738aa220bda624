"""`usage worker`: rate usage events from Kafka."""

import logging
import os
from pathlib import Path

import click

from pipeline.cli.catalogs import load_or_explain
from pipeline.cli.options import options_for
from pipeline.observe.log import log_to_stderr
from pipeline.settings import Settings
from pipeline.stream.worker import run_worker


@click.command("worker")
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write when the worker has its partitions and their states.",
)
@options_for("kafka", "catalog", "log_level")
def worker_command(ready_file: Path | None, settings: Settings) -> None:
    """Rate usage events and grants from Kafka; write lines, dead letters and alerts back to it.

    The catalog is the version that was published last (`usage catalog publish`); the one of --catalog serves until then.

    Start as many as there are cores, up to the number of partitions. SIGTERM or Ctrl-C finishes the round at hand,
    commits and leaves the group.
    """
    log_to_stderr(settings.log_level)
    catalog = None if settings.catalog is None else load_or_explain(settings.catalog)
    code = run_worker(settings, catalog, on_ready=ready_file.touch if ready_file else None)
    logging.shutdown()
    os._exit(code)  # Faust's consumer thread may wait for a broker that is gone, and would keep the process alive
