"""`usage keys`: make, list and revoke API keys."""

import asyncio
import json
import logging
import re
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import click
import msgspec
from aiokafka.errors import KafkaError

from pipeline.access.keys import NAME_CHARACTERS_MAX, SCOPES, ApiKey, Scope, new_key
from pipeline.access.log import KeysUnavailableError, read_keys, write_key
from pipeline.cli.catalogs import load_or_explain
from pipeline.cli.options import options_for
from pipeline.domain.catalog import Catalog
from pipeline.domain.events import check_string
from pipeline.domain.instants import DAY_US, day_start_us, format_instant, parse_instant
from pipeline.domain.rejects import Rejected
from pipeline.settings import Settings

T = TypeVar("T")
_MAY: dict[Scope, str] = {
    "deployment": "emit for deployment {owner} and read its customer's quota",
    "customer": "read the quota of customer {owner}",
    "builder": "read the quota of the customers of builder {owner}",
    "operator": "do everything",
}
_DAYS = re.compile(r"([1-9][0-9]{0,4})d", re.ASCII)


@click.group("keys")
def keys_group() -> None:
    """Make, list and revoke API keys.

    Keys are stored in the topic access.keys as hashes; `usage api` follows it, so what is changed holds at once.
    """


@keys_group.command("make")
@click.option("--scope", required=True, type=click.Choice(SCOPES), help="Who holds the key, and so what it may do.")
@click.option("--deployment", metavar="ID", help="With --scope deployment: which one.")
@click.option("--customer", metavar="ID", help="With --scope customer: which one.")
@click.option("--builder", metavar="ID", help="With --scope builder: which one.")
@click.option("--name", metavar="TEXT", help="What it is for; shown by `usage keys list`.")
@click.option("--expires", metavar="WHEN", help="When it ends: 90d, 2027-06-30 (00:00 UTC) or an RFC 3339 time.")
@options_for("kafka", "catalog")
def make_command(
    scope: Scope,
    deployment: str | None,
    customer: str | None,
    builder: str | None,
    name: str | None,
    expires: str | None,
    settings: Settings,
) -> None:
    """Make a key and print its token, this once, on standard output.

    With a catalog it is checked that the deployment, customer or builder is in it.
    """
    owner = _owner(scope, {"deployment": deployment, "customer": customer, "builder": builder})
    now_us = time.time_ns() // 1000
    expires_us = None if expires is None else _instant(expires, now_us)
    if name is not None and not (name.isprintable() and 1 <= len(name) <= NAME_CHARACTERS_MAX):
        raise click.UsageError(f"--name: 1 to {NAME_CHARACTERS_MAX} printable characters")
    if owner is not None and settings.catalog is not None:
        _check_owner(scope, owner, load_or_explain(settings.catalog))
    token, key = new_key(scope, owner, now_us, name=name, expires_us=expires_us)
    _run(settings, write_key(settings, key))
    until = "until it is revoked" if expires_us is None else f"until {format_instant(expires_us)}"
    may = _MAY[scope].format(owner=owner)
    click.echo(f"key {key.id} may {may}, {until}; its token is shown only now:", err=True)
    click.echo(token)


@keys_group.command("list")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="How to print them.")
@options_for("kafka")
def list_command(form: str, settings: Settings) -> None:
    """Show all keys, without their secrets, which nobody has."""
    now_us = time.time_ns() // 1000
    keys = sorted(_run(settings, read_keys(settings)).values(), key=lambda key: key.created_us)
    rows = [_shown(key, now_us) for key in keys]
    if form == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    columns = ("id", "state", "scope", "owner", "expires_at", "name")
    widths = {column: max([len(column), *(len(row[column] or "-") for row in rows)]) for column in columns}
    head: dict[str, str | None] = {column: column for column in columns}
    for row in [head, *rows]:
        click.echo("  ".join(f"{row[column] or '-':<{widths[column]}}" for column in columns).rstrip())


@keys_group.command("revoke")
@click.argument("key_id", metavar="ID")
@options_for("kafka")
def revoke_command(key_id: str, settings: Settings) -> None:
    """Revoke the key with this ID, as `usage keys list` shows it: from now on it is refused."""
    key = _run(settings, read_keys(settings)).get(key_id)
    if key is None:
        raise click.ClickException("there is no key with that ID: `usage keys list` shows them")  # it may be a token
    if key.revoked_us is not None:
        click.echo(f"key {key.id} was revoked at {format_instant(key.revoked_us)} already")
        return
    _run(settings, write_key(settings, msgspec.structs.replace(key, revoked_us=time.time_ns() // 1000)))
    click.echo(f"key {key.id} is revoked")


def _owner(scope: Scope, given: dict[str, str | None]) -> str | None:
    """Return the id that goes with the scope. Raises click.UsageError when it is missing, or another is given."""
    for option, value in given.items():
        if (value is not None) != (option == scope):
            raise click.UsageError(f"--scope {scope} {'needs' if option == scope else 'goes without'} --{option}")
    owner = given.get(scope)
    try:
        return None if owner is None else check_string(f"--{scope}", owner)
    except Rejected as rejected:
        raise click.UsageError(rejected.message) from None


def _check_owner(scope: Scope, owner: str, catalog: Catalog) -> None:
    known = {
        "deployment": set(catalog.deployments),
        "customer": set(catalog.customers),
        "builder": set(catalog.builders),
    }
    if owner not in known[scope]:
        raise click.ClickException(f"{scope} {owner!r} is not in the catalog: add it there first, or mind the spelling")


def _instant(text: str, now_us: int) -> int:
    """Return an instant in the future. Raises click.UsageError."""
    days = _DAYS.fullmatch(text)
    try:
        instant_us = now_us + int(days[1]) * DAY_US if days else _parse(text)
    except ValueError as error:
        raise click.UsageError(f"--expires: {error}; give 90d, 2027-06-30 or 2027-06-30T12:00:00Z") from None
    if instant_us <= now_us:
        raise click.UsageError("--expires: lies in the past")
    return instant_us


def _parse(text: str) -> int:
    return day_start_us(text) if len(text) == len("2027-06-30") else parse_instant(text)


def _shown(key: ApiKey, now_us: int) -> dict[str, str | None]:
    def time_of(instant_us: int | None) -> str | None:
        return None if instant_us is None else format_instant(instant_us)

    return {
        "id": key.id,
        "state": key.state(now_us),
        "scope": key.scope,
        "owner": key.owner,
        "name": key.name,
        "created_at": time_of(key.created_us),
        "expires_at": time_of(key.expires_us),
        "revoked_at": time_of(key.revoked_us),
    }


def _run(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    """Talk to Kafka. Raises click.ClickException, which says where it was looked for and what to do."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it logs, it raises too
    try:
        return asyncio.run(work)
    except KeysUnavailableError as error:
        raise click.ClickException(f"Kafka at {settings.kafka}: {error}") from None
    except TimeoutError:
        raise click.ClickException(
            f"Kafka at {settings.kafka} did not answer in time; are the topics there (`usage topics`)?"
        ) from None
    except (KafkaError, OSError) as error:
        raise click.ClickException(f"Kafka at {settings.kafka}: {error!r}; is it up, and is --kafka right?") from None
