"""`usage simulate`: what a past period would have cost under another catalog."""

import csv
import json
import logging
import signal
import sys
import threading
from datetime import datetime
from pathlib import Path

import click
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.billing.simulate import MovingError
from pipeline.catalog import CatalogError
from pipeline.cli.audit_log import LogError
from pipeline.cli.connect import clickhouse_client, one_line
from pipeline.cli.options import options_for
from pipeline.cli.simulate_run import Chosen, SimulationError, Wanted, run_simulation
from pipeline.cli.simulate_table import print_simulation
from pipeline.domain.money import parse_decimal
from pipeline.domain.resim import Simulation
from pipeline.settings import Settings

_ANCHOR_MAX = 28
_NOT_SIMULATED = 3
"""Exit code when some customers could not be simulated."""


@click.command("simulate")
@click.option(
    "--catalog",
    "catalog",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="NEW",
    help="The catalog to rate the period under: a file or a folder.",
)
@click.option(
    "--period",
    required=True,
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="The billing period, named by its first day.",
)
@click.option("--customer", "customers", multiple=True, metavar="ID", help="Only this customer; may be repeated.")
@click.option(
    "--more-than",
    "percent",
    default="10",
    show_default=True,
    metavar="PERCENT",
    help="Mark bills that grow by more than so many percent.",
)
@click.option(
    "--published",
    type=click.Path(exists=True, path_type=Path),
    metavar="OLD",
    help="The catalog in force, where billing.catalog does not have it.  [default: those that the lines name]",
)
@click.option(
    "--way",
    type=click.Choice(["auto", "lines", "log"]),
    default="auto",
    show_default=True,
    help="What to rate: lines in ClickHouse, fast; the whole log in Kafka; or lines where they say enough, else the log.",
)
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@options_for("clickhouse", "kafka")
@click.pass_context
def simulate_command(
    context: click.Context,
    catalog: Path,
    period: datetime,
    customers: tuple[str, ...],
    percent: str,
    published: Path | None,
    way: Chosen,
    form: str,
    settings: Settings,
) -> None:
    """Rate the real usage of a past period under the catalog NEW: old bill, new bill, difference.

    What was before the period stays as it was. From its start on NEW holds; a migration that NEW has and the catalog in
    force has not takes effect at that start, whatever its notice. Every amount is exact: a customer who cannot be
    simulated is named, with the reason. Exit code 3 when there is one.
    """
    if period.day > _ANCHOR_MAX:
        raise click.UsageError("--period: a billing period begins on one of the days 1 to 28")
    try:
        more_than_pico = parse_decimal(percent)
    except ValueError as error:
        raise click.UsageError(f"--more-than: {error}") from None
    wanted = Wanted(catalog, published, period.date(), tuple(dict.fromkeys(customers)), way)
    simulation = simulate(settings, wanted)
    if form == "json":
        click.echo(json.dumps(simulation.as_dict(more_than_pico), indent=1, ensure_ascii=False))
    elif form == "csv":
        _print_csv(simulation, more_than_pico)
    else:
        print_simulation(simulation, more_than_pico, percent)
    if simulation.skipped:
        context.exit(_NOT_SIMULATED)


def simulate(settings: Settings, wanted: Wanted) -> Simulation:
    """Simulate a period. Raises click.ClickException, which says what to do."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it logs, it raises too
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the processes that we start, as Ctrl-C does
    client = clickhouse_client(settings)
    try:
        return run_simulation(settings, client, wanted)
    except CatalogError as error:
        raise click.ClickException(f"the catalog cannot be used:\n{error}") from None
    except (SimulationError, LogError, MovingError) as error:
        raise click.ClickException(str(error)) from None
    except ClickHouseError as error:
        raise click.ClickException(f"ClickHouse could not answer: {one_line(error)}") from error
    except (KafkaError, TimeoutError, OSError) as error:
        raise click.ClickException(
            f"Kafka at {settings.kafka} does not answer ({one_line(error)}): grants and catalog versions are there. Say where "
            "it is with --kafka HOST:PORT or USAGE_KAFKA"
        ) from None
    finally:
        client.close()


def _print_csv(simulation: Simulation, more_than_pico: int) -> None:
    """Print a line a bill, then a line a customer that was not simulated."""
    bills = simulation.as_dict(more_than_pico)["bills"]
    paying = {(bill.customer, bill.app) for bill in simulation.paying_more_than(more_than_pico)}
    rows: list[dict[str, object]] = [
        {**bill, "pays_more": (bill["customer"], bill["app"]) in paying, "reason": ""} for bill in bills
    ]
    rows += [{"customer": each.customer, "from": "none", "reason": each.reason} for each in simulation.skipped]
    names = list(rows[0]) if bills else ["customer", "from", "reason"]
    writer = csv.DictWriter(sys.stdout, fieldnames=names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
