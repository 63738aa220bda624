"""`usage catalog migrate`: from a plan that was edited in place to a new version with a migration."""

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from pipeline.catalog import CatalogError, check_published, load_catalog
from pipeline.catalog.migrate import Choice, Migrated, MigrationError, faults_of_result, migrate_catalog
from pipeline.catalog.migrate_notice import Compared, report_of
from pipeline.cli.options import options_for
from pipeline.domain.money import PICO
from pipeline.settings import Settings

_MARKED_PERCENT = 10
_NAMED_MAX = 100
"""For more customers than these everybody is simulated, which is faster than one by one."""
_DAY = click.DateTime(["%Y-%m-%d"])


@click.command("migrate")
@click.argument("old", type=click.Path(exists=True, path_type=Path))
@click.argument("new", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Where to write the catalog; must not be there yet."
)
@click.option(
    "--effective", type=_DAY, metavar="YYYY-MM-DD", help="When.  [default: the first period after the notice]"
)
@click.option("--notice-days", default=30, show_default=True, type=click.IntRange(0), help="Days of notice.")
@click.option("--customer", "customers", multiple=True, metavar="ID", help="Move only this customer; may be repeated.")
@click.option("--period", type=_DAY, metavar="YYYY-MM-DD", help="Simulate this past period, from ClickHouse and Kafka.")
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="File for the report.  [default: standard output]"
)
@click.option("--today", type=_DAY, metavar="YYYY-MM-DD", help="The day of publication.  [default: today in UTC]")
@options_for("clickhouse", "kafka")
def migrate_catalog_command(
    old: Path,
    new: Path,
    out: Path,
    effective: datetime | None,
    notice_days: int,
    customers: tuple[str, ...],
    period: datetime | None,
    report: Path | None,
    today: datetime | None,
    settings: Settings,
) -> None:
    """Turn plan terms that were edited in place into a new version with a migration (R4.3).

    OLD is the catalog as it is published, NEW the edited one; files or folders. The catalog that is written keeps the
    published version, has the edit as a new version, and a migration that leaves its customers the notice. It passes `usage
    catalog check --published OLD`; comments and layout stay. The report has a notice for each customer, and with --period
    what that period would have cost.
    """
    if out.exists():
        raise click.ClickException(f"{out} is there already; give another --out: nothing is overwritten")
    choice = Choice(
        (today or datetime.now(UTC)).date(), notice_days, effective.date() if effective else None, customers
    )
    try:
        made = migrate_catalog(old, new, choice)
        with _written(made, new, out) as draft:
            _check(made, draft, old, out, choice)
            text = _report(made, draft, old, period, settings)
            draft.rename(out)
    except CatalogError as error:
        raise click.ClickException(f"nothing was written, the catalog has faults:\n{error}") from None
    except (MigrationError, ValueError) as error:
        raise click.ClickException(f"nothing was written: {error}") from None
    except OSError as error:
        raise click.ClickException(f"nothing was written: {error.filename or out}: {error.strerror}") from None
    if report is None:
        click.echo(text)
    else:
        report.write_text(text, encoding="utf-8")
    for each in made.migrations:
        click.echo(f"{out}: added to migrations: {each.text}", err=True)


@contextmanager
def _written(made: Migrated, new: Path, out: Path) -> Iterator[Path]:
    """Write the files beside where they will be, and remove what is left of them."""
    with TemporaryDirectory(dir=out.resolve().parent, prefix=".migrate-") as folder:
        draft = Path(folder) / out.name
        if new.is_dir():
            shutil.copytree(new, draft)
        for name, text in made.files.items():
            path = draft / Path(name).relative_to(new) if new.is_dir() else draft
            path.write_text(text, encoding="utf-8")
        yield draft


def _check(made: Migrated, draft: Path, old: Path, out: Path, choice: Choice) -> None:
    """Raise CatalogError when what was written is not what was meant, or may not follow what is published."""
    faults = check_published(draft, old, choice.today) or faults_of_result(load_catalog(draft), made.migrations)
    if faults:
        raise CatalogError([each._replace(file=each.file.replace(str(draft), str(out))) for each in faults])


def _report(made: Migrated, draft: Path, old: Path, period: datetime | None, settings: Settings) -> str:
    catalog = load_catalog(draft)
    if period is None:
        return report_of(catalog, made.migrations, None, None)
    from pipeline.cli.simulate import simulate  # noqa: PLC0415 - other calls of `usage catalog` need no ClickHouse client
    from pipeline.cli.simulate_run import Wanted  # noqa: PLC0415
    from pipeline.cli.simulate_table import print_simulation  # noqa: PLC0415

    customers = tuple(sorted({name for each in made.migrations for name in each.customers}))
    chosen = customers if len(customers) <= _NAMED_MAX else ()
    simulation = simulate(settings, Wanted(draft, old, period.date(), chosen, "auto"))
    printed = io.StringIO()
    print_simulation(simulation, _MARKED_PERCENT * PICO, str(_MARKED_PERCENT), Console(file=printed))
    bills = {(bill.customer, bill.app): bill for bill in simulation.bills}
    compared = Compared(simulation.period, simulation.currency, bills)
    return report_of(catalog, made.migrations, compared, printed.getvalue())
