"""`usage catalog prices`: list prices of models as a change to review."""

import difflib
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

import click

from pipeline.catalog import read_catalog
from pipeline.catalog.positions import YamlFile
from pipeline.catalog.prices_edit import CURRENCY, SOURCE, ListPrice, with_prices
from pipeline.catalog.rows import rows_of
from pipeline.cli.options import options_for, required_catalog
from pipeline.settings import Settings


@click.command("prices")
@click.option(
    "--from", "source", type=click.Choice([SOURCE]), default=SOURCE, show_default=True, help="The price list."
)
@click.option(
    "--models",
    required=True,
    metavar="ID,...",
    help="Models of the catalog. ID=PROVIDER/MODEL for one that is listed under another name.",
)
@click.option("--write", is_flag=True, help="Change the catalog file. Without it the change is only shown.")
@click.option("--today", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="Prices of which day.")
@options_for("catalog")
def prices_command(source: str, models: str, write: bool, today: datetime | None, settings: Settings) -> None:
    """Show, as a diff, what list prices would change in the catalog's `models`, with source, version and date.

    Offline: the prices are those of the installed genai-prices. A price that a catalog cannot say is refused (by time of
    day) or taken at its base with a comment (by length of the prompt). Exit code 1 when a model is not known.
    """
    path = required_catalog(settings)
    files, faults = read_catalog(path)
    if faults:
        raise click.ClickException("the catalog has faults:\n" + "\n".join(map(str, faults)))
    currency = next(file.root["currency"] for file in files if "currency" in file.root)
    if currency != CURRENCY:
        raise click.ClickException(
            f"{source} lists prices in {CURRENCY}, the catalog is in {currency}: nothing is converted"
        )
    found = _found(models, files, (today or datetime.now(UTC)).date())
    changed = _changed(files, found)
    if not changed:
        click.echo("every price is as listed: nothing changes", err=True)
    for file, (before, after) in changed.items():
        diff = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), file, file)
        click.echo("".join(diff), nl=False)
        if write:
            _replace(Path(file), after)
            click.echo(f"{file}: written", err=True)
    if changed and not write:
        click.echo("nothing is written; --write does it", err=True)


def _found(models: str, files: list[YamlFile], day: date) -> list[ListPrice]:
    from pipeline.catalog.prices import PriceError, list_price, parse_wanted  # noqa: PLC0415 - the list takes a while to load

    providers = {row.text("id"): row.text("provider") for row in rows_of(files, "models")}
    found, unknown = [], []
    for text in filter(None, map(str.strip, models.split(","))):
        wanted = parse_wanted(text)
        try:
            found.append(list_price(wanted, providers.get(wanted.id), day))
        except PriceError as error:
            unknown.append(str(error))
    if unknown:
        raise click.ClickException("nothing was changed:\n" + "\n".join(unknown))
    return found


def _changed(files: list[YamlFile], found: list[ListPrice]) -> dict[str, tuple[str, str]]:
    """Return the files that change, before and after; new models go to the last file that has some."""
    owners = {row.text("id"): row.file.name for row in rows_of(files, "models")}
    home = list(owners.values())[-1] if owners else files[0].name
    changed = {}
    for name in dict.fromkeys([*owners.values(), home]):
        before = Path(name).read_text(encoding="utf-8")
        try:
            after = with_prices(before, name, [price for price in found if owners.get(price.id, home) == name])
        except ValueError as error:
            raise click.ClickException(f"nothing was changed: {error}") from None
        if after != before:
            changed[name] = (before, after)
    return changed


def _replace(path: Path, text: str) -> None:
    """Replace a file as a whole, its mode kept, once its new text is a sound one on its own."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    draft = Path(file.name)
    draft.chmod(path.stat().st_mode)
    draft.replace(path)
